"""`make gpu-check`: does Lightbox compute on this GPU what transformers + PEFT compute, how fast, in how much memory?

1. Parity: a medium-sized Qwen2-VL, fp32 and bf16: loss of every sample, the losses of ten LoRA updates from the same
   adapter, greedy tokens.
2. Full size: a Qwen2-VL-2B with random weights in bf16: LoRA updates of 2 x 8 samples with a 512 x 512 picture each, and
   greedy decoding; seconds, tokens per second and peak memory.
3. Answers: the same size beside transformers' generate, one question and batches of eight (answering.py).

It needs the built programs, this repository, and a Python with torch 2.11, transformers and PEFT: no network. Everything is
made on the spot; the 2B model takes 5 GB of disk while it runs. A difference beyond its bound makes the exit status 1.
"""
import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import answering
import inputs
import timing
from lightbox import Lightbox, logged_losses, slug
from timing import REPO, GpuMemory, number, run

HERE = Path(__file__).resolve().parent
# Losses are about ln(vocabulary) = 9. fp32 differs by the order of summation, bf16 by the rounding of each operation.
LOSS_BOUND = {"f32": 1e-4, "bf16": 2e-2}
GREEDY_TOKENS = 32


@dataclass
class Case:
    """A model with its adapter and data, and both programs that run it."""
    lightbox: Lightbox
    folder: Path
    model: Path
    adapter: Path
    data: Path
    encoded: Path
    dtype: str

    @classmethod
    def make(cls, lightbox: Lightbox, folder: Path, size: inputs.Size, dtype: str, samples: int) -> "Case":
        model = inputs.make_model(folder / "model", size, {"f32": "float32", "bf16": "bfloat16"}[dtype], lightbox.device)
        adapter = inputs.make_adapter(folder / "adapter", model)
        data = inputs.make_dataset(folder / "data", "check", samples, size.picture)
        encoded = folder / "encoded.jsonl"
        encoded.write_text(run(lightbox.encode(model, data, "check"), folder / "encode.log", lightbox.env).stdout)
        return cls(lightbox, folder, model, adapter, data, encoded, dtype)

    def peer(self, task: str, *more) -> tuple[dict, int]:
        """A task of peer.py: its line of JSON, and the peak memory of the GPU in bytes."""
        command = [sys.executable, str(HERE / "peer.py"), task, "--model", self.model, "--adapter", self.adapter, "--dtype", self.dtype,
                   "--device", self.lightbox.device, "--encoded", self.encoded, "--dataset", self.data / "check.json", *more]
        with self.memory() as memory:
            usage = run([str(part) for part in command], self.folder / f"peer-{task}.log")
        return usage.last_json(), memory.peak

    def ours(self, name: str, command: list[str]) -> tuple[timing.Usage, int]:
        with self.memory() as memory:
            usage = run(command, self.folder / f"ours-{name}.log", self.lightbox.env)
        return usage, memory.peak

    def memory(self) -> GpuMemory:
        return GpuMemory(self.lightbox.device != "cpu")

    def train(self, steps: int, batch: int, accumulate: int) -> tuple[Path, float, int]:
        """Our run: its folder, wall seconds, peak memory."""
        out = self.folder / f"run-{steps}"
        profile = inputs.make_profile(self.folder / "profile.yaml", self.model, self.adapter, self.data, "check", self.lightbox.device,
                                      bf16=self.dtype == "bf16", per_device_train_batch_size=batch, gradient_accumulation_steps=accumulate)
        usage, memory = self.ours("train", self.lightbox.train(profile, max_steps=steps, output_dir=out))
        return out, usage.wall, memory

    def chat(self, new_tokens: int) -> tuple[dict, int]:
        command = self.lightbox.chat(self.model, self.adapter, self.image(), inputs.QUESTION, self.dtype, new_tokens)
        usage, memory = self.ours("chat", command)
        return usage.last_json(), memory

    def generate(self, new_tokens: int) -> tuple[dict, int]:
        return self.peer("generate", "--image", self.image(), "--prompt", inputs.QUESTION, "--new-tokens", new_tokens)

    def image(self) -> Path:
        return self.data / "images" / "0000.jpg"


def parity(case: Case) -> list[list]:
    """Rows: what, dtype, difference, bound, verdict."""
    bound = LOSS_BOUND[case.dtype]

    usage, _ = case.ours("score", case.lightbox.score(case.model, case.adapter, case.data, "check", case.dtype))
    ours = {r["index"]: r for r in map(json.loads, usage.stdout.splitlines()) if "index" in r}
    theirs = {r["index"]: r for r in case.peer("score")[0]["rows"]}
    if ours.keys() != theirs.keys() or any(ours[i]["n_target_tokens"] != theirs[i]["n_target_tokens"] for i in ours):
        raise SystemExit(f"score: other samples or other numbers of target tokens; see {case.folder}")
    score = max(abs(ours[i]["loss_sum"] - theirs[i]["loss_sum"]) / theirs[i]["n_target_tokens"] for i in ours)

    run_folder, _, _ = case.train(10, 2, 2)
    reference, _ = case.peer("train", "--batch", 2, "--accumulate", 2, "--steps", 10, "--checkpointing")
    train = max(abs(a - b) for a, b in zip(logged_losses(run_folder), reference["losses"], strict=True))

    (a, _), (b, _) = case.chat(GREEDY_TOKENS), case.generate(GREEDY_TOKENS)
    if a["prompt_tokens"] != b["prompt_tokens"]:
        raise SystemExit(f"chat: a prompt of {a['prompt_tokens']} tokens, transformers has {b['prompt_tokens']}; see {case.folder}")
    equal = next((i for i, (x, y) in enumerate(zip(a["token_ids"], b["token_ids"])) if x != y), min(len(a["token_ids"]), len(b["token_ids"])))
    # In bf16 two logits may be a rounding apart, and from the first other token on all others may differ: shown, not judged.
    tokens_verdict = "ok" if equal == len(b["token_ids"]) else "FAIL" if case.dtype == "f32" else "see note"

    def judged(difference):
        return [f"{difference:.1e}", f"{bound:.0e}", "ok" if difference <= bound else "FAIL"]

    return [["loss of a sample", case.dtype, *judged(score)],
            ["loss of 10 LoRA updates", case.dtype, *judged(train)],
            ["greedy tokens", case.dtype, f"first {equal} of {len(b['token_ids'])} equal", "", tokens_verdict]]


def speed(case: Case, steps: tuple[int, int], batch: int, accumulate: int, new_tokens: int) -> list[list]:
    """Rows: what, ours, transformers + PEFT, ratio ours / theirs."""
    (_, short, _), (_, long, our_memory) = (case.train(n, batch, accumulate) for n in steps)
    our_step = (long - short) / (steps[1] - steps[0])  # loading the model cancels out
    reference, memory = case.peer("train", "--batch", batch, "--accumulate", accumulate, "--steps", steps[1], "--checkpointing")
    their_step = statistics.median(reference["step_seconds"][steps[0]:])
    tokens = reference["tokens"] / steps[1]
    rows = [["LoRA update, s", our_step, their_step], ["tokens/s while training", tokens / our_step, tokens / their_step],
            ["peak memory while training, GiB", our_memory / 2**30, memory / 2**30]]

    (ours, our_memory), (theirs, memory) = case.chat(new_tokens), case.generate(new_tokens)
    rows += [["tokens/s while answering", ours["timing"]["tokens_per_second"], theirs["tokens_per_second"]],
             ["peak memory while answering, GiB", our_memory / 2**30, memory / 2**30]]
    return [[what, number(a), number(b), f"{a / b:.2f}" if b else "-"] for what, a, b in rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=REPO / "target" / "release", help="folder of the built programs")
    parser.add_argument("--cpu", action="store_true", help="run on the CPU: a trial of this script")
    parser.add_argument("--tiny", action="store_true", help="tiny models in place of the medium and the full-sized one")
    parser.add_argument("--only", choices=["parity", "speed", "answers"])
    parser.add_argument("--keep", type=Path, help="work in this folder and leave everything there")
    args = parser.parse_args()
    gpu = None if args.cpu else timing.gpu_name()
    if not args.cpu and gpu is None:
        raise SystemExit("No NVIDIA GPU answers (nvidia-smi); --cpu --tiny tries this script without one.")
    import torch
    lightbox = Lightbox(args.bin.resolve(), "cpu" if args.cpu else "cuda:0", Path(torch.__file__).parent / "lib")
    print(f"{timing.machine()}\n{timing.versions()}\n", flush=True)

    sections = []
    with tempfile.TemporaryDirectory(prefix="lightbox-gpu-check-") as scratch:
        work = args.keep or Path(scratch)
        if args.only in (None, "parity"):
            rows = []
            for dtype in ("f32", "bf16"):
                print(f"parity, {dtype} …", flush=True)
                rows += parity(Case.make(lightbox, work / f"parity-{dtype}", inputs.TINY if args.tiny else inputs.MEDIUM, dtype, 8))
            sections.append(("Parity", timing.table(["what", "dtype", "largest difference", "bound", "verdict"], rows)))
        if args.only in (None, "speed"):
            print("speed and memory …", flush=True)
            dtype = "f32" if args.cpu else "bf16"
            case = Case.make(lightbox, work / "speed", inputs.TINY if args.tiny else inputs.QWEN2_VL_2B, dtype, 32)
            rows = speed(case, (1, 3), 2, 2, 16) if args.tiny else speed(case, (2, 8), 2, 8, 128)
            title = f"{'A tiny Qwen2-VL' if args.tiny else 'Qwen2-VL-2B, random weights'}, {dtype}"
            sections.append((title, timing.table(["what", "Lightbox", "transformers + PEFT", "ratio"], rows)))
        if args.only in (None, "answers"):
            print("answers …", flush=True)
            size, dtype = (inputs.TINY if args.tiny else inputs.QWEN2_VL_2B), ("f32" if args.cpu else "bf16")
            rows = answering.measure(lightbox, work / "answers", size, dtype, *((9, 1) if args.tiny else (129, 3)))
            sections.append((f"Answers, {dtype}, without an adapter", answering.report(rows)))
    body = "\n\n".join(f"## {title}\n\n{table}" for title, table in sections) + (
        "\n\nBoth sides start from the same adapter, with gradient checkpointing, on the same token ids and picture files. Memory is the "
        "driver's figure for the whole process. In bf16 a greedy answer may part from the other where two logits are one rounding apart.")
    print(f"\n{body}")
    if gpu and not args.tiny:
        print("\nin", timing.save_report(f"gpu-{slug(gpu.split(',')[0])}", f"Beside transformers + PEFT, on {gpu.split(',')[0]}", "make gpu-check", body))
    if "FAIL" in body:
        raise SystemExit("A difference is beyond its bound.")


if __name__ == "__main__":
    main()
