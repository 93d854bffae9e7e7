"""Loads an exported model folder with transformers and writes the logits of one prompt, for comparison with ours.

usage: check_export.py DIR INPUT.safetensors OUTPUT.safetensors
INPUT holds input_ids, attention_mask, pixel_values, image_grid_thw; OUTPUT gets `logits`. Every tensor must be found
and used, with the dtype that config.json announces, and tokenizer and processor must know the chat template.
"""
import json
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, AutoTokenizer, Qwen2VLForConditionalGeneration

folder, source, target = sys.argv[1:]
torch.set_num_threads(1)
announced = json.load(open(f"{folder}/config.json"))["torch_dtype"]
model, info = Qwen2VLForConditionalGeneration.from_pretrained(folder, dtype="auto", output_loading_info=True)
assert not any(info[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
assert model.dtype == getattr(torch, announced), (model.dtype, announced)

conversation = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}]
texts = [
    tool.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
    for tool in (AutoTokenizer.from_pretrained(folder), AutoProcessor.from_pretrained(folder))
]
assert texts[0] == texts[1] and "<|vision_start|><|image_pad|><|vision_end|>What?" in texts[0], texts

x = load_file(source)
x["mm_token_type_ids"] = (x["input_ids"] == model.config.image_token_id).long()
with torch.no_grad():
    save_file({"logits": model.float().eval()(**x).logits.contiguous()}, target)
print(f"{sum(1 for _ in model.parameters())} parameters, transformers loads it")
