"""Whether a data set can be trained on, as a careful person checks it in Python: the JSON is read, every conversation looked at,
every picture decoded to its end. What `lightbox data check` is compared with.

    peer_check.py DATASET_DIR NAME
"""
import json
import sys
from pathlib import Path

from PIL import Image

folder, name = Path(sys.argv[1]), sys.argv[2]
entry = json.loads((folder / "dataset_info.json").read_text())[name]
good = 0
for row in json.loads((folder / entry["file_name"]).read_text()):
    roles = [turn["role"] for turn in row["messages"]]
    marks = sum(turn["content"].count("<image>") for turn in row["messages"])
    fine = roles == ["user", "assistant"] and marks == len(row["images"]) and row["messages"][-1]["content"].strip()
    for path in row["images"]:
        try:
            with Image.open(folder / path) as image:
                image.load()
        except OSError:
            fine = False
    good += bool(fine)
print(json.dumps({"good": good}))
