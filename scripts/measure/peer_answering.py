"""transformers' generate over data sets' questions, in batches: peer_answering.py MODEL DTYPE DEVICE BATCH RUNS

RUNS is JSON: by name, a data set's file, a number of samples, and of new tokens. Prints one line of JSON: by name, seconds (on the
CPU: of the processor) and tokens, each with reading and preparing the pictures; and all answers. The first batch, which warms up, is
not timed.
"""
import json
import sys
import time
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoProcessor, Qwen2VLForConditionalGeneration

torch.backends.cudnn.allow_tf32 = False


@torch.no_grad()
def main():
    model, dtype, device, batch, runs = sys.argv[1:]
    clock = time.process_time if device == "cpu" else time.perf_counter
    batch, runs = int(batch), json.loads(runs)
    net = Qwen2VLForConditionalGeneration.from_pretrained(model, dtype={"f32": torch.float32, "bf16": torch.bfloat16}[dtype]).to(device).eval()
    processor = AutoProcessor.from_pretrained(model)
    processor.tokenizer.padding_side = "left"

    def answer(dataset, chosen, n):
        images = [Image.open(dataset.parent / sample["images"][0]).convert("RGB") for sample in chosen]
        texts = []
        for sample in chosen:
            content = [{"type": "image"}, {"type": "text", "text": sample["messages"][0]["content"].replace("<image>", "")}]
            texts.append(processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False))
        inputs = processor(text=texts, images=images, return_tensors="pt", padding=True).to(device)
        out = net.generate(**inputs, max_new_tokens=n, do_sample=False, temperature=None, top_p=None, top_k=None)
        return out[:, inputs["input_ids"].shape[1]:].tolist()  # to the host: this waits for the GPU

    ends = net.generation_config.eos_token_id
    ends = {ends} if isinstance(ends, int) else set(ends)

    def said(row):
        """Tokens up to the one that ends the answer; the rest is padding."""
        return next((i + 1 for i, token in enumerate(row) if token in ends), len(row))

    seconds, tokens, texts = {}, {}, []
    for name, (dataset, count, n) in {"warm": runs["one"], **runs}.items():
        dataset = Path(dataset)
        samples = json.loads(dataset.read_text())[:count]
        start, rows = clock(), []
        for i in range(0, count, batch):
            rows += answer(dataset, samples[i:i + batch], n)
        if name != "warm":
            seconds[name], tokens[name] = clock() - start, sum(map(said, rows))
            texts += [processor.tokenizer.decode(row[:said(row)], skip_special_tokens=True) for row in rows]
    print(json.dumps({"seconds": seconds, "tokens": tokens, "texts": texts}))


main()
