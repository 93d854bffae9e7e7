"""Pictures through Pillow and Qwen2VLImageProcessor: what crates/core/examples/preprocess.rs is compared with.

    peer_preprocess.py MODEL REPEAT FILES…
"""
import io
import json
import sys
import time
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoImageProcessor

model, repeat, files = sys.argv[1], int(sys.argv[2]), [Path(f).read_bytes() for f in sys.argv[3:]]
torch.set_num_threads(1)
processor = AutoImageProcessor.from_pretrained(model)


def prepare(data: bytes) -> torch.Tensor:
    return processor(images=[Image.open(io.BytesIO(data)).convert("RGB")], return_tensors="pt")["pixel_values"]


checksum = sum(prepare(data).sum(dtype=torch.float64).item() for data in files)  # warm-up, and for the comparison of the pixels
wall, cpu = time.perf_counter(), time.process_time()
for _ in range(repeat):
    for data in files:
        prepare(data)
n = repeat * len(files)
print(json.dumps({"images": n, "wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "checksum": checksum}))
