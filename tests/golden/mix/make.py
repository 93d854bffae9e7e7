"""Makes orders.json: which sample of which data set comes when, as `datasets.interleave_datasets` has it, which LLaMA-Factory
calls for `mix_strategy` and `interleave_probs`.

    python make.py    # made with datasets 5.2.0, numpy 2.4.6

An order holds indices into the sets one after the other; long ones are kept as the SHA-256 of their little-endian 64-bit integers.
"""
import hashlib
import json
from pathlib import Path

import datasets
import numpy as np

STRATEGIES = {"interleave_under": "first_exhausted", "interleave_over": "all_exhausted", "interleave_once": "all_exhausted_without_replacement"}
CASES = [([3, 4, 5], None), ([3, 4, 3], None), ([5, 1], None), ([7], None), ([3, 4, 5], [0.5, 0.25, 0.25]), ([3, 4, 5], [0.1, 0.2, 0.7]),
         ([1, 9], [0.9, 0.1]), ([2000, 300, 70], [0.8, 0.15, 0.05]), ([70, 300, 2000], [0.3, 0.3, 0.4]), ([5, 5], [1 / 3, 2 / 3])]


def order(lengths, probabilities, seed, strategy):
    starts = np.cumsum([0, *lengths])
    sets = [datasets.Dataset.from_dict({"i": list(range(start, start + n))}) for start, n in zip(starts, lengths)]
    if len(sets) == 1:
        return sets[0]["i"][:]  # LLaMA-Factory does not mix one set
    return datasets.interleave_datasets(sets, probabilities=probabilities, seed=seed, stopping_strategy=strategy)["i"][:]


rows = []
for name, strategy in STRATEGIES.items():
    for lengths, probabilities in CASES:
        for seed in (42, 0) if probabilities else (42,):
            found = np.asarray(order(lengths, probabilities, seed, strategy), dtype="<i8")
            row = {"strategy": name, "lengths": lengths, "probs": probabilities or [], "seed": seed, "n": len(found)}
            short = len(found) <= 40
            rows.append({**row, "order": found.tolist()} if short else {**row, "sha256": hashlib.sha256(found.tobytes()).hexdigest()})
text = ",\n".join(json.dumps(row) for row in rows)
versions = json.dumps({"datasets": datasets.__version__, "numpy": np.__version__})
(Path(__file__).parent / "orders.json").write_text(f'{{"versions": {versions},\n"orders": [\n{text}\n]}}\n')
