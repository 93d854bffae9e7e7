"""Makes tests/golden/tables/min_p.safetensors with transformers' own processors, from the scores of logits_processors.safetensors.

    python tests/golden/scripts/min_p.py      torch 2.11.0, transformers 5.17.0 (`make reference`)
"""
from pathlib import Path

from safetensors.torch import load_file, save_file
from transformers.generation.logits_process import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

TABLES = Path(__file__).resolve().parent.parent / "tables"
stored = load_file(TABLES / "logits_processors.safetensors")
scores, ids = stored["scores"], stored["input_ids"]


def through(x, *processors):
    for processor in processors:  # in the order of generation/utils.py `_get_logits_processor`
        x = processor(ids, x)
    return x


save_file({
    "minp0.1_only": through(scores, MinPLogitsWarper(0.1)),
    "ties_minp1": through(stored["ties"], MinPLogitsWarper(1.0)),
    "temp1.7_topk30_topp0.95_minp0.05.probs":
        through(scores, TemperatureLogitsWarper(1.7), TopKLogitsWarper(30), TopPLogitsWarper(0.95), MinPLogitsWarper(0.05)).softmax(-1),
    "temp0.5_minp0.2.probs": through(scores, TemperatureLogitsWarper(0.5), MinPLogitsWarper(0.2)).softmax(-1),
}, TABLES / "min_p.safetensors")
