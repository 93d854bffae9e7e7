"""Learning rates of transformers' schedules, for crates/core/src/runs/schedule.rs.

Made with transformers 5.17.0, torch 2.11.0:  python tests/golden/schedules.py > tests/golden/schedules.json
Each case: type, base rate, total steps, warm-up steps, kwargs, and the rate of every update.
"""
import json
import warnings

import torch
from transformers.optimization import get_scheduler

warnings.simplefilter("ignore")  # stepping the schedule without the optimizer

LR = 5e-5
CASES = [
    ("linear", {}),
    ("cosine", {}),
    ("cosine", {"num_cycles": 1.5}),
    ("cosine_with_restarts", {}),
    ("cosine_with_restarts", {"num_cycles": 3}),
    ("polynomial", {}),
    ("polynomial", {"power": 2.5, "lr_end": 1e-6}),
    ("constant", {}),
    ("constant_with_warmup", {}),
    ("inverse_sqrt", {}),
    ("inverse_sqrt", {"timescale": 7}),
    ("cosine_with_min_lr", {"min_lr": 5e-6}),
    ("cosine_with_min_lr", {"min_lr_rate": 0.2, "num_cycles": 0.75}),
    ("cosine_warmup_with_min_lr", {"min_lr_rate": 0.1}),
    ("cosine_warmup_with_min_lr", {"min_lr": 1e-6, "warmup_lr_rate": 0.05}),
    ("warmup_stable_decay", {}),
    ("warmup_stable_decay", {"decay_type": "linear", "min_lr_ratio": 0.1}),
    ("warmup_stable_decay", {"decay_type": "1-sqrt", "warmup_type": "1-sqrt"}),
    ("warmup_stable_decay", {"num_stable_steps": 4, "num_decay_steps": 6, "warmup_type": "cosine", "num_cycles": 0.25}),
]


def rates(kind, total, warmup, kwargs):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    if kind == "warmup_stable_decay":  # LLaMA-Factory's defaults: train/trainer_utils.py, create_custom_scheduler
        stable = (total - warmup) // 3
        kwargs = {"num_stable_steps": stable, "num_decay_steps": total - warmup - stable} | kwargs
    scheduler = get_scheduler(kind, optimizer, warmup, total, kwargs)
    result = []
    for _ in range(total):
        result.append(scheduler.get_last_lr()[0])
        scheduler.step()
    return result


print("[")
rows = [
    json.dumps({"type": kind, "total": total, "warmup": warmup, "kwargs": kwargs, "lr": rates(kind, total, warmup, kwargs)})
    for kind, kwargs in CASES
    for total, warmup in [(20, 0), (20, 5), (9, 2), (1, 0)]
]
print(",\n".join(rows))
print("]")
