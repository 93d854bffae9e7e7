"""transformers' generate over a data set's questions, in batches: peer_answering.py MODEL BENCH.json DTYPE DEVICE BATCH NEW_TOKENS

Prints one line of JSON: seconds (on the CPU: of the processor) and tokens of (batches, new tokens), each with reading and preparing the pictures, and the
answers of the longest run. The first batch, which warms up, is not timed.
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
    model, dataset, dtype, device, batch, new_tokens = sys.argv[1:]
    clock = time.process_time if device == "cpu" else time.perf_counter
    batch, new_tokens, dataset = int(batch), int(new_tokens), Path(dataset)
    net = Qwen2VLForConditionalGeneration.from_pretrained(model, dtype={"f32": torch.float32, "bf16": torch.bfloat16}[dtype]).to(device).eval()
    processor = AutoProcessor.from_pretrained(model)
    processor.tokenizer.padding_side = "left"
    samples = json.loads(dataset.read_text())

    def answer(chosen, n):
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

    answer(samples[:batch], 4)
    seconds, tokens, texts = [], [], []
    for n in (1, new_tokens):
        for batches in (1, 3):
            start, rows = clock(), []
            for i in range(batches):
                rows += answer(samples[i * batch:(i + 1) * batch], n)
            seconds.append((batches, n, clock() - start))
            tokens.append((batches, n, sum(map(said, rows))))
            texts = [processor.tokenizer.decode(row[:said(row)], skip_special_tokens=True) for row in rows]
    print(json.dumps({"seconds": seconds, "tokens": tokens, "texts": texts}))


main()
