"""`make bench`: Lightbox beside transformers + PEFT and the tutorial's script, on this machine, in one run.

Each comparison gives both sides the same inputs, alternates ours, theirs, ours, theirs …, and reports medians. `ratio` is
ours / theirs: below 1 Lightbox takes less. Results go to target/bench.json, with --save also to docs/benchmarks/.
"""
import argparse
import json
import shutil
import statistics
import sys
from pathlib import Path

import inputs
import timing
from lightbox import Lightbox, logged_losses
from timing import REPO, alternate, row, run

HERE = Path(__file__).resolve().parent


def train_step(lightbox: Lightbox, work: Path, rounds: int, steps: tuple[int, int]) -> list[dict]:
    """One LoRA update of a medium-sized Qwen2-VL (11 million parameters), two pictures of 512 x 512: from the difference of
    a long and a short run, so that starting up and loading count for neither side."""
    model = inputs.make_model(work / "model", inputs.MEDIUM, "float32", "cpu")
    adapter = inputs.make_adapter(work / "adapter", model)
    data = inputs.make_dataset(work / "data", "bench", 32, inputs.MEDIUM.picture)
    profile = inputs.make_profile(work / "profile.yaml", model, adapter, data, "bench", "cpu", per_device_train_batch_size=2,
                                  disable_gradient_checkpointing=True)
    encoded = work / "encoded.jsonl"
    encoded.write_text(run(lightbox.encode(model, data, "bench"), work / "encode.log").stdout)
    peer_losses = []

    def ours(n):
        folder = work / f"run-{n}"
        shutil.rmtree(folder, ignore_errors=True)
        return run(lightbox.train(profile, max_steps=n, output_dir=folder), work / "ours.log")

    def peer(n):
        usage = run([sys.executable, str(HERE / "peer.py"), "train", "--model", str(model), "--adapter", str(adapter), "--encoded",
                     str(encoded), "--dataset", str(data / "bench.json"), "--steps", str(n)], work / "peer.log")
        peer_losses[:] = usage.last_json()["losses"]
        return usage

    def per_step(side):
        short, long = side(steps[0]), side(steps[1])
        return [(b - a) / (steps[1] - steps[0]) for a, b in ((short.wall, long.wall), (short.cpu, long.cpu))]

    a, b = alternate(lambda: per_step(ours), lambda: per_step(peer), rounds)
    difference = max(abs(x - y) for x, y in zip(logged_losses(work / f"run-{steps[1]}"), peer_losses, strict=True))
    return [row(f"train step, {what}", "s", [x[i] for x in a], [x[i] for x in b], agreement=f"Training: largest difference of a loss {difference:.1e}.")
            for i, what in enumerate(("wall", "CPU"))]


def preprocess(lightbox: Lightbox, work: Path, rounds: int, repeat: int) -> list[dict]:
    """JPEG to patches, 512 x 512, one thread, warmed up."""
    model = inputs.TOKENIZER
    data = inputs.make_dataset(work / "data", "bench", 20, 512)
    files = sorted((data / "images").iterdir())

    def ours():
        return run(lightbox.preprocess(model, files, repeat), work / "ours.log").last_json()

    def peer():
        command = [sys.executable, str(HERE / "peer_preprocess.py"), str(model), str(repeat), *map(str, files)]
        return run(command, work / "peer.log").last_json()

    a, b = alternate(ours, peer, rounds)
    difference = abs(a[0]["checksum"] - b[0]["checksum"]) / abs(b[0]["checksum"])
    return [row(f"preprocess a JPEG of 512x512, {what}", "ms", [1e3 * x[key] / x["images"] for x in a], [1e3 * x[key] / x["images"] for x in b],
                agreement=f"Preprocessing: relative difference of the sum of all values {difference:.1e}.") for what, key in (("wall", "wall_s"), ("CPU", "cpu_s"))]


def convert(lightbox: Lightbox, work: Path, rounds: int, n: int) -> list[dict]:
    """MedTrinity's parquet to training conversations: whole programs, per 1,000 pictures, each into a new folder."""
    parquet = inputs.make_parquet(work / "med.parquet", n, 512)

    def fresh(command):
        out = work / "out"
        usage = run(command(out), work / "convert.log")
        found = sum(path.suffix == ".jpg" for path in out.rglob("*"))
        if found != n:
            raise SystemExit(f"{' '.join(command(out))} wrote {found} of {n} pictures")
        shutil.rmtree(out)
        return usage

    a, b = alternate(lambda: fresh(lambda out: lightbox.convert(parquet, out)),
                     lambda: fresh(lambda out: [sys.executable, str(HERE / "tutorial_convert.py"), str(parquet), str(out)]), rounds)
    return [row(f"convert 1,000 pictures, {what}", "s", [1e3 * getattr(x, key) / n for x in a], [1e3 * getattr(x, key) / n for x in b])
            for what, key in (("wall", "wall"), ("CPU", "cpu"))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=REPO / "target" / "release", help="folder of the built programs")
    parser.add_argument("--only", choices=["train", "preprocess", "convert"])
    parser.add_argument("--rounds", type=int, default=3, help="how often each side runs")
    parser.add_argument("--save", action="store_true", help="write docs/benchmarks/DATE-cpu.md, too")
    args = parser.parse_args()
    lightbox = Lightbox(args.bin.resolve())
    benches = {"preprocess": lambda work: preprocess(lightbox, work, args.rounds, 10),
               "convert": lambda work: convert(lightbox, work, args.rounds, 2000),
               "train": lambda work: train_step(lightbox, work, args.rounds, (4, 24))}
    rows = timing.each(benches, args.only, args.rounds)
    context = {"machine": timing.machine(), "reference": timing.versions(), "commit": timing.commit()}
    path = REPO / "target" / "bench.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([{**r, **context} for r in rows], indent=1))

    def spread(values):
        return f"{timing.number(statistics.median(values))} ({timing.number(min(values))} to {timing.number(max(values))})"

    table = timing.table(["what", "unit", "Lightbox", "reference", "ratio"],
                         [[r["name"], r["unit"], spread(r["ours_all"]), spread(r["peer_all"]), f"{r['ratio']:.2f}"] for r in rows])
    notes = ("Medians (and range) over the rounds; ratio below 1: Lightbox takes less. One thread on both sides.\n"
             + "".join(sorted({r["agreement"] + "\n" for r in rows if "agreement" in r})))
    print(f"\n{table}\n\n{notes}\nin {path}")
    if args.save:
        print("in", timing.save_report("cpu", "Beside transformers + PEFT, on a CPU", "make bench SAVE=1", f"{table}\n\n{notes}"))


if __name__ == "__main__":
    main()
