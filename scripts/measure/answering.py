"""Answers beside transformers' generate, in one run: time to the first token, tokens per second, peak memory, for one question
and for a batch of eight.

    scripts/measure/answering.py --bin target/release [--save]      a model of 150 million random weights, on the CPU

On a GPU `scripts/gpu-check` does the same with a Qwen2-VL-2B. A question is a picture and a sentence. The time to the first
token is that of a batch of pictures of 512 x 512, from reading them on: the difference of three batches and one, so that starting,
loading and warming up count for neither side. Tokens per second after it are those of small pictures, which leave most of the time to
the tokens: the difference of many tokens and one. Tokens are greedy, and it is told how often both sides agree. On the CPU both
compute in one thread, and seconds are those of the processor: what else goes on on the machine counts less.
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


def runs(batch: int, new_tokens: int) -> dict:
    """What each side runs: (data set, samples, new tokens) by name."""
    return {"one": ("large", batch, 1), "three": ("large", 3 * batch, 1), "short": ("small", batch, 1), "long": ("small", batch, new_tokens)}


def figures(seconds: dict, tokens: dict) -> dict:
    """The first token of a batch of large pictures, and tokens per second after it."""
    first = (seconds["three"] - seconds["one"]) / 2
    return {"first": first, "rate": (tokens["long"] - tokens["short"]) / (seconds["long"] - seconds["short"])}


def ours(lightbox: Lightbox, model: Path, data: Path, work: Path, dtype: str, batch: int, new_tokens: int) -> dict:
    seconds, tokens, memory, texts = {}, {}, 0, []
    for name, (pictures, samples, n) in runs(batch, new_tokens).items():
        command = lightbox.predict(model, data / pictures, "bench", samples, batch, n, dtype, work / "answers.jsonl")
        with GpuMemory(lightbox.device != "cpu") as gpu:
            usage = run(command, work / "ours.log", lightbox.env)
        told = usage.last_json()
        seconds[name] = usage.cpu if lightbox.device == "cpu" else told["seconds"]
        tokens[name] = told["tokens"]
        memory = max(memory, gpu.peak if gpu.enabled else usage.peak)
        texts += [json.loads(line)["predict"] for line in (work / "answers.jsonl").read_text().splitlines()]
    return {**figures(seconds, tokens), "memory": memory, "texts": texts}


def peer(device: str, model: Path, data: Path, work: Path, dtype: str, batch: int, new_tokens: int) -> dict:
    asked = json.dumps({name: (str(data / pictures / "bench.json"), samples, n) for name, (pictures, samples, n) in runs(batch, new_tokens).items()})
    command = [sys.executable, str(HERE / "peer_answering.py"), str(model), dtype, device, str(batch), asked]
    with GpuMemory(device != "cpu") as gpu:
        usage = run(command, work / "peer.log")
    told = usage.last_json()
    memory = gpu.peak if gpu.enabled else usage.peak
    return {**figures(told["seconds"], told["tokens"]), "memory": memory, "texts": told["texts"]}


def measure(lightbox: Lightbox, work: Path, size: inputs.Size, dtype: str, new_tokens: int, rounds: int) -> list[dict]:
    """Rows as timing.row makes them."""
    work.mkdir(parents=True, exist_ok=True)
    model = inputs.make_model(work / "model", size, {"f32": "float32", "bf16": "bfloat16"}[dtype], lightbox.device)
    data = work / "data"
    inputs.make_dataset(data / "large", "bench", 3 * max(BATCHES), size.picture)
    inputs.make_dataset(data / "small", "bench", max(BATCHES), size.picture // 4)
    rows = []
    for batch in BATCHES:
        a, b = alternate(lambda: ours(lightbox, model, data, work, dtype, batch, new_tokens),
                         lambda: peer(lightbox.device, model, data, work, dtype, batch, new_tokens), rounds)
        equal = sum(x == y for x, y in zip(a[-1]["texts"], b[-1]["texts"], strict=True))
        note = f"{equal} of {len(a[-1]['texts'])} answers of 1 and {new_tokens} tokens are equal in batches of {batch}."
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
    parser.add_argument("--new-tokens", type=int, default=65)
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
