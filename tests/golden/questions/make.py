"""Makes choices.json: which wording of a set each sample is asked, by the rule of crates/core/src/data/questions, written
down a second time. Data sets that were made by it must come out the same with every later version.

    python make.py    # the standard library alone

number = the first 8 bytes (little-endian) of SHA-256 over "lightbox seed 1", the seed, the length of the purpose, the purpose,
and, for a sample without an id, its row; numbers are little-endian u64. Purpose: "question of ID", or "question".
"""
import hashlib
import json
from pathlib import Path


def number(seed, row, name, purpose="question"):
    purpose = (f"{purpose} of {name}" if name is not None else purpose).encode()
    digest = hashlib.sha256(b"lightbox seed 1" + seed.to_bytes(8, "little") + len(purpose).to_bytes(8, "little") + purpose)
    if name is None:
        digest.update(row.to_bytes(8, "little"))
    return int.from_bytes(digest.digest()[:8], "little")


def draw(weights, seed, row, name):
    left = (number(seed, row, name) >> 11) / 2**53 * sum(weights)
    for i, weight in enumerate(weights):
        if left < weight:
            return i
        left -= weight
    return len(weights) - 1


IDS = ["8031efe0-1b5c-11ef-8929-000066532cad", "seg_train_558_a_2-right lung.nii-105.jpg", "左肺", "0", " "]
rows = []
for weights in ([1.0], [1.0, 1.0], [1.0] * 8, [3.0, 1.0], [0.25, 0.5, 1e-6, 10.0]):
    for seed in (0, 42, 2**64 - 1):
        rows.append({"weights": weights, "seed": seed, "rows": [draw(weights, seed, row, None) for row in range(60)],
                     "ids": {name: draw(weights, seed, 0, name) for name in IDS}})
Path(__file__).with_name("choices.json").write_text(json.dumps({"choices": rows}, indent=None, ensure_ascii=False).replace('}}, {', '}},\n{') + "\n")
