"""Answers beside transformers' generate, in one run: time to the first token, tokens per second, peak memory, for one question
and for a batch of eight.

    scripts/measure/answering.py --bin target/release [--save]      a model of 150 million random weights, on the CPU

On a GPU `scripts/gpu-check` does the same with a Qwen2-VL-2B. A question is a picture of 512 x 512 and a sentence. What is
timed begins with reading the picture. Every figure is the difference of one and of three batches, so that starting, loading
and warming up count for neither side; tokens are greedy, and it is told how often both sides agree. On the CPU both compute in
one thread, and seconds are those of the processor: what else goes on on the machine counts less.
"""
import argparse
import json
import sys
import tempfile
from pathlib import Path

import inputs
import timing
from lightbox import Lightbox
from timing import REPO, GpuMemory, alternate, number, run

HERE = Path(__file__).resolve().parent
# Between a model that fits into the processor's cache and one that takes minutes: 150 million weights.
SMALL = inputs.Size(768, 12, 12, 2, 3072, 32768, 512, 8, 8, 512)
BATCHES = (1, 8)


def figures(seconds: dict, tokens: dict, new_tokens: int, batch: int) -> dict:
    """From the times of (batches, new tokens): the first token of a batch, and tokens per second after it."""
    first = (seconds[3, 1] - seconds[1, 1]) / 2
    whole = (seconds[3, new_tokens] - seconds[1, new_tokens]) / 2
    decoded = (tokens[3, new_tokens] - tokens[1, new_tokens]) / 2 - batch
    return {"first": first, "rate": decoded / (whole - first)}


def ours(lightbox: Lightbox, model: Path, data: Path, work: Path, dtype: str, batch: int, new_tokens: int) -> dict:
    seconds, tokens, memory, texts = {}, {}, 0, []
    for n in (1, new_tokens):
        for batches in (1, 3):
            command = lightbox.predict(model, data, "bench", batches * batch, batch, n, dtype, work / "answers.jsonl")
            with GpuMemory(lightbox.device != "cpu") as gpu:
                usage = run(command, work / "ours.log", lightbox.env)
            told = usage.last_json()
            seconds[batches, n] = usage.cpu if lightbox.device == "cpu" else told["seconds"]
            tokens[batches, n] = told["tokens"]
            memory = max(memory, gpu.peak if gpu.enabled else usage.peak)
            texts = [json.loads(line)["predict"] for line in (work / "answers.jsonl").read_text().splitlines()]
    return {**figures(seconds, tokens, new_tokens, batch), "memory": memory, "texts": texts}


def peer(device: str, model: Path, data: Path, work: Path, dtype: str, batch: int, new_tokens: int) -> dict:
    command = [sys.executable, str(HERE / "peer_answering.py"), str(model), str(data / "bench.json"), dtype, device, str(batch), str(new_tokens)]
    with GpuMemory(device != "cpu") as gpu:
        usage = run(command, work / "peer.log")
    told = usage.last_json()
    keyed = {name: {(b, n): value for b, n, value in told[name]} for name in ("seconds", "tokens")}
    memory = gpu.peak if gpu.enabled else usage.peak
    return {**figures(keyed["seconds"], keyed["tokens"], new_tokens, batch), "memory": memory, "texts": told["texts"]}


def measure(lightbox: Lightbox, work: Path, size: inputs.Size, dtype: str, new_tokens: int, rounds: int) -> list[dict]:
    """Rows as timing.row makes them."""
    work.mkdir(parents=True, exist_ok=True)
    model = inputs.make_model(work / "model", size, {"f32": "float32", "bf16": "bfloat16"}[dtype], lightbox.device)
    data = inputs.make_dataset(work / "data", "bench", 3 * max(BATCHES), size.picture)
    rows = []
    for batch in BATCHES:
        a, b = alternate(lambda: ours(lightbox, model, data, work, dtype, batch, new_tokens),
                         lambda: peer(lightbox.device, model, data, work, dtype, batch, new_tokens), rounds)
        equal = sum(x == y for x, y in zip(a[-1]["texts"], b[-1]["texts"], strict=True))
        note = f"{equal} of {len(a[-1]['texts'])} answers of {new_tokens} tokens are equal in batches of {batch}."
        for name, unit, key, scale in (("time to the first token", "s", "first", 1), ("tokens per second", "1/s", "rate", 1),
                                       ("peak memory", "GiB", "memory", 2**-30)):
            rows.append(timing.row(f"{name}, batch of {batch}", unit, [scale * x[key] for x in a], [scale * x[key] for x in b], agreement=note))
    return rows


def report(rows: list[dict]) -> str:
    table = timing.table(["what", "unit", "Lightbox", "transformers", "ratio"],
                         [[r["name"], r["unit"], number(r["ours"]), number(r["peer"]), f"{r['ratio']:.2f}"] for r in rows])
    return table + "\n\n" + "\n".join(sorted({r["agreement"] for r in rows}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=REPO / "target" / "release", help="folder of the built programs")
    parser.add_argument("--tiny", action="store_true", help="a tiny model: a trial of this script")
    parser.add_argument("--new-tokens", type=int, default=33)
    parser.add_argument("--rounds", type=int, default=3, help="how often each side runs")
    parser.add_argument("--save", action="store_true", help="write docs/benchmarks/DATE-answering-cpu.md, too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lightbox-answering-") as work:
        rows = measure(Lightbox(args.bin.resolve()), Path(work), inputs.TINY if args.tiny else SMALL, "f32", args.new_tokens, args.rounds)
    body = report(rows)
    print(body)
    if args.save:
        print("in", timing.save_report("answering-cpu", "Answers beside transformers, on a CPU", "scripts/measure/answering.py --save", body))


if __name__ == "__main__":
    main()
