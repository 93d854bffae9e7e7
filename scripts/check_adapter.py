"""Loads a LoRA adapter with transformers + PEFT and writes the logits of one prompt, for comparison with ours.

usage: check_adapter.py MODEL ADAPTER INPUT.safetensors OUTPUT.safetensors
INPUT holds input_ids, attention_mask, pixel_values, image_grid_thw; OUTPUT gets `logits`. Every tensor of the adapter
must be used: PEFT itself only warns about one that is not, and runs the base model.
"""
import sys
import warnings

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import Qwen2VLForConditionalGeneration

model_dir, adapter_dir, source, target = sys.argv[1:]
torch.set_num_threads(1)
warnings.simplefilter("error")  # a tensor that finds no module is a warning
base = Qwen2VLForConditionalGeneration.from_pretrained(model_dir, dtype=torch.float32)
model = PeftModel.from_pretrained(base, adapter_dir).eval()
stored = load_file(f"{adapter_dir}/adapter_model.safetensors")
used = {name.replace(".default", ""): p for name, p in model.named_parameters() if "lora_" in name}
assert used.keys() == stored.keys(), used.keys() ^ stored.keys()
for name, p in used.items():
    assert torch.equal(p, stored[name]), name
x = load_file(source)
x["mm_token_type_ids"] = (x["input_ids"] == base.config.image_token_id).long()
with torch.no_grad():
    save_file({"logits": model(**x).logits.contiguous()}, target)
print(f"{len(stored)} tensors used, peft loads it")
