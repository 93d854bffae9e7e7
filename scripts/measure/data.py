"""The data commands beside Python, on this machine, in one run: rows of parquet in a random order, token ids and labels, checking,
converting.

    cargo build --release -p lightbox-core --example random_rows
    scripts/measure/data.py --bin target/release [--llamafactory PYTHON] [--save]

Both sides get the same warm files and alternate. Token ids, labels and the bytes of pictures are compared, and a difference ends the
measurement. `--llamafactory` names a Python that has llamafactory 0.9.5; without it its template is written down in Python, with the
pictures and tokens by transformers. `--tiny` tries the script in a minute; its numbers say nothing.
"""
import argparse
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import inputs
import timing
from lightbox import Lightbox
from timing import REPO, alternate, number, row, run

HERE = Path(__file__).resolve().parent


@dataclass
class Amounts:
    parquet: int  # rows
    random: int  # of them read
    slow: int  # read where every row costs a row group of 100 MB
    encode: int  # samples
    check: int  # samples
    convert: int  # rows


FULL, TINY = Amounts(5000, 1000, 50, 500, 1000, 5000), Amounts(300, 60, 20, 20, 20, 200)


def new_style(old: Path, new: Path) -> Path:
    """The same rows as `datasets` writes them today: row groups of 100 MB, a page index, pictures uncompressed."""
    from datasets import Dataset
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    with tempfile.TemporaryDirectory(dir=old.parent) as cache:
        Dataset.from_parquet(str(old), cache_dir=cache).to_parquet(str(new))
    return new


def same(ours, theirs, what: str):
    if ours != theirs:
        raise SystemExit(f"{what} differ; nothing was measured")


def random_rows(lightbox: Lightbox, work: Path, rounds: int, n: Amounts) -> list[dict]:
    """1,000 rows, each with its caption and the bytes of its picture. Times are within the programs, without opening."""
    old = inputs.make_parquet(work / "old.parquet", n.parquet, 512)
    styles = {"row groups of 100, snappy, no page index": old, "row groups of 100 MB, page index": new_style(old, work / "new.parquet")}
    rows = random.Random(6).sample(range(n.parquet), n.random)
    results = []
    for style, parquet in styles.items():
        groups = 1 + (parquet == old) * (n.parquet // 100)
        for peer_name, way in (("datasets, Arrow", "arrow"), ("pyarrow", "parquet")):
            some = rows if way == "arrow" or groups > 1 else rows[:n.slow]
            (work / "rows.json").write_text(json.dumps(some))
            where = [str(parquet), str(work / "rows.json")]
            ours, peer = alternate(lambda: run([lightbox.random_rows_bench, *where], work / "ours.log"),
                                   lambda: run([sys.executable, str(HERE / "peer_rows.py"), way, *where], work / "peer.log"), rounds)
            a, b = [[usage.last_json() for usage in side] for side in (ours, peer)]
            same(a[0]["sha256"], b[0]["sha256"], "the rows' pictures and captions")
            name = f"a row of {style}"
            results += [row(f"{name}, {what}", "ms", [1e3 * x[key] / len(some) for x in a], [1e3 * x[key] / len(some) for x in b], beside=peer_name)
                        for what, key in (("wall", "wall_s"), ("CPU", "cpu_s"))]
            results.append(row(f"opening that file ({len(some)} rows are then read)", "ms", [1e3 * x["open_s"] for x in a], [1e3 * x["open_s"] for x in b],
                               beside=peer_name))
            results.append(memory("that program", ours, peer, peer_name))
    return results


def memory(what: str, ours: list, peer: list, beside: str) -> dict:
    return row(f"{what}, peak memory", "MiB", [u.peak / 2**20 for u in ours], [u.peak / 2**20 for u in peer], beside=beside)


def encode(lightbox: Lightbox, work: Path, rounds: int, n: Amounts, llamafactory: str | None) -> list[dict]:
    """Ours is the whole program, the peer's time is without imports and loading the tokenizer."""
    data = inputs.make_dataset(work / "data", "bench", n.encode, 512)
    way = "llamafactory" if llamafactory else "transformers"
    out = work / "ids.jsonl"
    command = [llamafactory or sys.executable, str(HERE / "peer_encode.py"), way, str(inputs.TOKENIZER), str(data), "bench", str(out)]
    ours, peer = alternate(lambda: run(lightbox.encode(inputs.TOKENIZER, data, "bench"), work / "ours.log"), lambda: run(command, work / "peer.log"), rounds)
    keys = ("input_ids", "labels")
    theirs = [{key: sample[key] for key in keys} for sample in map(json.loads, out.read_text().splitlines())]
    same([{key: sample[key] for key in keys} for sample in map(json.loads, ours[-1].stdout.splitlines())], theirs, "token ids or labels")
    b = [usage.last_json() for usage in peer]
    beside = "LLaMA-Factory" if llamafactory else "transformers"
    return [row(f"encode a sample of one picture, {what}", "ms", [1e3 * getattr(u, key) / n.encode for u in ours], [1e3 * x[f"{key}_s"] / n.encode for x in b],
                beside=beside) for what, key in (("wall", "wall"), ("CPU", "cpu"))] + [memory("encoding", ours, peer, beside)]


def check(lightbox: Lightbox, work: Path, rounds: int, n: Amounts) -> list[dict]:
    """Whole programs; Lightbox takes all cores."""
    data = inputs.make_dataset(work / "data", "bench", n.check, 512)
    ours, peer = alternate(lambda: run(lightbox.check(data, "bench"), work / "ours.log"),
                           lambda: run([sys.executable, str(HERE / "peer_check.py"), str(data), "bench"], work / "peer.log"), rounds)
    same(ours[0].last_json()["good"], peer[0].last_json()["good"], "the numbers of good samples")
    return [row(f"check a sample of one picture, {what}", "ms", [1e3 * getattr(u, key) / n.check for u in ours], [1e3 * getattr(u, key) / n.check for u in peer],
                beside="json, Pillow") for what, key in (("wall", "wall"), ("CPU", "cpu"))] + [memory("checking", ours, peer, "json, Pillow")]


def convert(lightbox: Lightbox, work: Path, rounds: int, n: Amounts) -> list[dict]:
    """Whole programs, each into a new folder; and a bare loop that writes the same files, which is what the file system allows."""
    parquet = inputs.make_parquet(work / "med.parquet", n.convert, 512)

    def fresh(command):
        out = work / "out"
        usage = run(command(out), work / "convert.log")
        same(sum(path.suffix == ".jpg" for path in out.rglob("*")), n.convert, "the numbers of pictures")
        shutil.rmtree(out)
        return usage

    ours, peer = alternate(lambda: fresh(lambda out: lightbox.convert(parquet, out)),
                           lambda: fresh(lambda out: [sys.executable, str(HERE / "tutorial_convert.py"), str(parquet), str(out)]), rounds)
    kept = work / "kept"
    run(lightbox.convert(parquet, kept), work / "convert.log")
    pictures = [path.read_bytes() for path in kept.rglob("*.jpg")]
    megabytes = sum(map(len, pictures)) / 1e6
    shutil.rmtree(kept)
    limit = [bare(work / "bare", pictures) for _ in range(rounds)]
    rate = statistics.median(u.wall for u in ours)
    note = (f"Converting: {n.convert / rate:.0f} pictures a second, {megabytes / rate:.0f} MB a second; "
            f"the bare loop {n.convert / statistics.median(limit):.0f} and {megabytes / statistics.median(limit):.0f}.")
    per = [row(f"convert 1,000 pictures, {what}", "s", [1e3 * getattr(u, key) / n.convert for u in ours], [1e3 * getattr(u, key) / n.convert for u in peer],
               beside="the tutorial's script") for what, key in (("wall", "wall"), ("CPU", "cpu"))]
    return per + [memory("converting", ours, peer, "the tutorial's script"),
                  row("convert 1,000 pictures, wall", "s", [1e3 * u.wall / n.convert for u in ours], [1e3 * t / n.convert for t in limit],
                      beside="open, write, close", note=note)]


def bare(folder: Path, pictures: list[bytes]) -> float:
    """Seconds for writing the pictures and nothing else; at the end they are on the disk, as ours are."""
    folder.mkdir()
    start = time.perf_counter()
    for i, picture in enumerate(pictures):
        with open(folder / f"{i:08}.jpg", "wb", buffering=0) as file:
            file.write(picture)
    os.sync()
    took = time.perf_counter() - start
    shutil.rmtree(folder)
    return took


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=REPO / "target" / "release", help="folder of the built programs")
    parser.add_argument("--llamafactory", metavar="PYTHON", help="a Python that has llamafactory 0.9.5")
    parser.add_argument("--only", choices=["rows", "encode", "check", "convert"])
    parser.add_argument("--rounds", type=int, default=3, help="how often each side runs")
    parser.add_argument("--tiny", action="store_true", help="a few samples: tries the script")
    parser.add_argument("--save", action="store_true", help="write docs/benchmarks/DATE-data.md, too")
    args = parser.parse_args()
    lightbox, n = Lightbox(args.bin.resolve()), TINY if args.tiny else FULL
    benches = {"rows": lambda work: random_rows(lightbox, work, args.rounds, n),
               "encode": lambda work: encode(lightbox, work, args.rounds, n, args.llamafactory),
               "check": lambda work: check(lightbox, work, args.rounds, n),
               "convert": lambda work: convert(lightbox, work, args.rounds, n)}
    rows = timing.each(benches, args.only, args.rounds)
    table = timing.table(["what", "unit", "Lightbox", "beside", "reference", "ratio"],
                         [[r["name"], r["unit"], number(r["ours"]), r["beside"], number(r["peer"]), f"{r['ratio']:.3g}"] for r in rows])
    notes = [f"Medians of {args.rounds} rounds; ratio below 1: Lightbox takes less. Pictures are JPEGs of 512 x 512, files warm. What was read, the token",
             "ids and the labels were equal on both sides. Rows: times are within the programs, of a row. Encoding: ours is the whole program, the",
             "reference's time is without imports and loading. Checking and converting: whole programs; Lightbox checks on all cores.",
             *(r["note"] for r in rows if "note" in r)]
    body = f"{table}\n\n" + "\n".join(notes)
    print(f"\n{body}")
    if args.save:
        print("in", timing.save_report("data", "The data commands beside Python", "scripts/measure/data.py --save", body))


if __name__ == "__main__":
    main()
