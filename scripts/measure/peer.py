"""transformers + PEFT doing what Lightbox does, on the token ids that `lightbox data encode` printed.

A program of its own, so that its time, memory and libraries are measured apart:

    peer.py train    --model M --adapter A --encoded FILE --dataset FILE --batch 2 --accumulate 8 --steps 10
    peer.py score    --model M --adapter A --encoded FILE --dataset FILE
    peer.py generate --model M --adapter A --image F --prompt T --new-tokens 64

Each prints one line of JSON. Pictures go through Qwen2VLImageProcessor while training, as in LLaMA-Factory.
"""
import argparse
import json
import time
from contextlib import nullcontext
from pathlib import Path

import torch
from peft import PeftModel
from PIL import Image
from transformers import AutoProcessor, Qwen2VLForConditionalGeneration


# As in Lightbox: fp32 is fp32, in convolutions too (PyTorch's default lets cuDNN round them to TF32).
torch.backends.cudnn.allow_tf32 = False


class Peer:
    def __init__(self, args):
        self.device, self.bf16 = torch.device(args.device), args.dtype == "bf16"
        dtype = torch.bfloat16 if self.bf16 else torch.float32
        base = Qwen2VLForConditionalGeneration.from_pretrained(args.model, dtype=dtype).to(self.device)
        self.model = PeftModel.from_pretrained(base, str(args.adapter), is_trainable=args.task == "train")
        self.processor = AutoProcessor.from_pretrained(args.model)
        self.image_token = base.config.image_token_id

    def autocast(self):
        """LLaMA-Factory's `bf16: true`."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else nullcontext()

    def batch(self, samples: list[dict]) -> dict:
        """Samples padded on the right to the longest, pictures prepared."""
        longest = max(len(s["input_ids"]) for s in samples)

        def pad(key, value):
            return torch.tensor([s[key] + [value] * (longest - len(s[key])) for s in samples], device=self.device)

        ids = pad("input_ids", self.processor.tokenizer.pad_token_id)
        mask = torch.tensor([[1] * len(s["input_ids"]) + [0] * (longest - len(s["input_ids"])) for s in samples], device=self.device)
        images = [Image.open(path).convert("RGB") for s in samples for path in s["images"]]
        pixels = self.processor.image_processor(images=images, return_tensors="pt").to(self.device)
        return {"input_ids": ids, "labels": pad("labels", -100), "attention_mask": mask,
                "mm_token_type_ids": (ids == self.image_token).int(), **pixels}

    def synchronize(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def peak_memory(self) -> int:
        return torch.cuda.max_memory_reserved() if self.device.type == "cuda" else 0


def read_samples(encoded: Path, dataset: Path) -> list[dict]:
    """The lines of `data encode --json` with the pictures' files of the data set."""
    rows = json.loads(dataset.read_text())
    samples = [json.loads(line) for line in encoded.read_text().splitlines() if line.startswith('{"index"')]
    return [{**s, "images": [dataset.parent / path for path in rows[s["index"]]["images"]]} for s in samples]


def train(args) -> dict:
    """AdamW at a constant learning rate, clipping at 1, LLaMA-Factory's sample order; the mean of each update's losses."""
    peer = Peer(args)
    peer.model.train()
    if args.checkpointing:
        peer.model.gradient_checkpointing_enable()
        peer.model.enable_input_require_grads()
    parameters = [p for p in peer.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=args.lr, weight_decay=0.0)
    samples = read_samples(args.encoded, args.dataset)
    window = args.batch * args.accumulate
    losses, seconds, tokens, order, epoch = [], [], 0, [], 0
    for _ in range(args.steps):
        while len(order) < window:
            order += torch.randperm(len(samples), generator=torch.Generator().manual_seed(42 + epoch)).tolist()
            epoch += 1
        chosen, order = order[:window], order[window:]
        start, total = time.perf_counter(), torch.zeros((), device=peer.device)
        for i in range(0, window, args.batch):
            batch = peer.batch([samples[k] for k in chosen[i:i + args.batch]])
            tokens += int(batch["attention_mask"].sum())
            with peer.autocast():
                loss = peer.model(**batch, use_cache=False).loss / args.accumulate
            loss.backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(total.item())
        seconds.append(time.perf_counter() - start)
    return {"losses": losses, "step_seconds": seconds, "tokens": tokens, "peak_memory": peer.peak_memory()}


@torch.no_grad()
def score(args) -> dict:
    """Summed loss and number of target tokens of each sample, one at a time (no padding)."""
    peer = Peer(args)
    peer.model.eval()
    rows = []
    for sample in read_samples(args.encoded, args.dataset):
        batch = peer.batch([sample])
        targets = int((batch["labels"][:, 1:] != -100).sum())
        rows.append({"index": sample["index"], "loss_sum": peer.model(**batch).loss.item() * targets, "n_target_tokens": targets})
    return {"rows": rows}


@torch.no_grad()
def generate(args) -> dict:
    """Greedy; the first run warms up, the second is timed."""
    peer = Peer(args)
    peer.model.eval()
    message = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": args.prompt}]}]
    text = peer.processor.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
    inputs = peer.processor(text=[text], images=[Image.open(args.image).convert("RGB")], return_tensors="pt").to(peer.device)
    options = dict(do_sample=False, temperature=None, top_p=None, top_k=None)

    def answer(new_tokens):
        peer.synchronize()
        start = time.perf_counter()
        out = peer.model.generate(**inputs, max_new_tokens=new_tokens, **options)[0, inputs["input_ids"].shape[1]:].tolist()
        return out, time.perf_counter() - start

    answer(4)
    _, prefill = answer(1)
    ids, seconds = answer(args.new_tokens)
    rate = (len(ids) - 1) / (seconds - prefill) if len(ids) > 1 else 0.0
    return {"token_ids": ids, "prompt_tokens": inputs["input_ids"].shape[1], "tokens_per_second": rate, "peak_memory": peer.peak_memory()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = {"train": train, "score": score, "generate": generate}
    parser.add_argument("task", choices=tasks)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--encoded", type=Path, help="what `lightbox data encode --json` printed")
    parser.add_argument("--dataset", type=Path, help="the sharegpt file, for the pictures")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--image", type=Path)
    parser.add_argument("--prompt")
    parser.add_argument("--new-tokens", type=int, default=64)
    args = parser.parse_args()
    print(json.dumps(tasks[args.task](args)))


if __name__ == "__main__":
    main()
