"""Captions in parquet and pictures in tar.zst archives become parquet files with the pictures inside: `lightbox data pack` beside
the script that one would write in Python (pyarrow, tarfile), in one run.

    scripts/measure/packing.py --bin target/release [--save]

Rows are shuffled against the archives, and every second one has no picture, as in MedTrinity-25M's 25M_full. Both sides get warm
files and store pictures as they are; only Lightbox looks whether each is whole, and waits until its files are on the disk.
"""
import argparse
import io
import random
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import inputs
import timing
from lightbox import Lightbox
from timing import REPO, alternate, number, run

ARCHIVES = 2
PEER = '''
import sys, tarfile
import pyarrow as pa, pyarrow.parquet as pq
rows, out, *archives = sys.argv[1:]
table = pq.read_table(rows)
known = {name: i for i, name in enumerate(table["file_name"].to_pylist())}
caption, source = table["caption"].to_pylist(), table["source"].to_pylist()
image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
schema = pa.schema({"image": image, "file_name": pa.string(), "caption": pa.string(), "source": pa.string()})
waiting = []
with pq.ParquetWriter(out, schema, compression="snappy", write_page_index=True, use_dictionary=["file_name", "caption", "source"]) as writer:
    def write():
        writer.write_table(pa.Table.from_pylist(waiting, schema=schema))
        waiting.clear()
    for archive in archives:
        with pa.CompressedInputStream(pa.OSFile(archive), "zstd") as file, tarfile.open(fileobj=file, mode="r|") as tar:
            for member in tar:
                name = member.name.rsplit("/", 1)[-1]
                i = known.get(name) if member.isfile() else None
                if i is not None:
                    bytes_ = tar.extractfile(member).read()
                    waiting.append({"image": {"bytes": bytes_, "path": name}, "file_name": name, "caption": caption[i], "source": source[i]})
                    if len(waiting) == 1000:
                        write()
    write()
'''


def make(work: Path, pictures: int, rows: int) -> tuple[Path, list[Path]]:
    rng, text = np.random.default_rng(5), random.Random(5)
    some = [inputs.jpeg(inputs.picture(512, rng)) for _ in range(200)]
    names = [f"seg_train_{i}_a_2-right lung.nii-105.jpg" for i in range(pictures)]
    archives = []
    for a in range(ARCHIVES):
        archives.append(work / f"{a}.tar.zst")
        with pa.CompressedOutputStream(pa.OSFile(str(archives[-1]), "wb"), "zstd") as file, tarfile.open(fileobj=file, mode="w|") as tar:
            for i in range(a, pictures, ARCHIVES):
                member = tarfile.TarInfo(f"deep/folder/{names[i]}")
                member.size = len(some[i % 200])
                tar.addfile(member, io.BytesIO(some[i % 200]))
    all_names = names + [f"gone-{i}.jpg" for i in range(rows - pictures)]
    text.shuffle(all_names)
    captions = [inputs.caption(text) for _ in range(500)]
    table = pa.table({"file_name": all_names, "caption": [captions[i % 500] + f" {i}" for i in range(rows)], "source": ["brats"] * rows})
    path = work / "train-00000-of-00001.parquet"
    pq.write_table(table, path)
    return path, archives


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=REPO / "target" / "release", help="folder of the built programs")
    parser.add_argument("--pictures", type=int, default=30_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--save", action="store_true", help="write docs/benchmarks/DATE-packing.md, too")
    args = parser.parse_args()
    lightbox = Lightbox(args.bin.resolve())
    with tempfile.TemporaryDirectory(prefix="lightbox-packing-") as temp:
        work = Path(temp)
        rows, archives = make(work, args.pictures, args.rows)
        (work / "peer.py").write_text(PEER)
        mine = [lightbox.program, "data", "pack", str(rows), "--archives", *map(str, archives), "--out", str(work / "out"), "--overwrite", "--json"]
        peers = [sys.executable, str(work / "peer.py"), str(rows), str(work / "peer.parquet"), *map(str, archives)]
        ours, peer = alternate(lambda: run(mine, work / "ours.log", lightbox.env), lambda: run(peers, work / "peer.log"), args.rounds)
        packed = ours[-1].last_json()["packed"]
        made = pq.ParquetFile(work / "peer.parquet").metadata.num_rows
        if not packed == made == args.pictures:
            raise SystemExit(f"packed {packed} and {made} of {args.pictures}")
        megabytes = sum(path.stat().st_size for path in archives) / 2**20
        results = [timing.row("wall", "s", [u.wall for u in ours], [u.wall for u in peer]), timing.row("processor", "s", [u.cpu for u in ours], [u.cpu for u in peer]),
                   timing.row("peak memory", "MiB", [u.peak / 2**20 for u in ours], [u.peak / 2**20 for u in peer])]
    table = timing.table(["what", "unit", "Lightbox", "Python", "ratio"], [[r["name"], r["unit"], number(r["ours"]), number(r["peer"]), f"{r['ratio']:.2f}"] for r in results])
    body = f"{args.pictures} pictures of 512 x 512 ({megabytes:.0f} MiB) in {ARCHIVES} archives, {args.rows} rows; medians of {args.rounds} runs.\n\n{table}\n\n"
    body += f"Lightbox: {args.pictures / results[0]['ours']:.0f} pictures a second."
    print(body)
    if args.save:
        print("in", timing.save_report("packing", "Joining captions and archives", "scripts/measure/packing.py --save", body))


if __name__ == "__main__":
    main()
