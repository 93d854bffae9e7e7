"""The usual way from a MedTrinity parquet to training conversations, as tutorials write it for LLaMA-Factory: `datasets`
decodes each picture, Pillow encodes it again, one list in memory, one json.dump at the end.

    tutorial_convert.py PARQUET OUT
"""
import json
import sys
from pathlib import Path

from datasets import load_dataset

parquet, out = sys.argv[1], Path(sys.argv[2])
images = out / "mllm_data"
images.mkdir(parents=True)
rows = []
for item in load_dataset("parquet", data_files=parquet, split="train", cache_dir=str(out / "cache")):
    path = images / f"{item['id']}.jpg"
    item["image"].save(path)
    rows.append({"messages": [{"content": "<image>图片中的诊断结果是怎样？", "role": "user"}, {"content": item["caption"], "role": "assistant"}],
                 "images": [f"mllm_data/{path.name}"]})
with open(images / "mllm_data.json", "w", encoding="utf-8") as file:
    json.dump(rows, file, ensure_ascii=False, indent=4)
