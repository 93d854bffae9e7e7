"""Makes orders.json: permutations of PyTorch, numpy and datasets that lightbox_core::seed has to repeat.

    python make.py    # made with torch 2.11.0, numpy 2.4.6, datasets 5.2.0

Long ones are kept as the SHA-256 of their little-endian 64-bit integers.
"""
import hashlib, json, os
import datasets, numpy as np, torch

SEEDS = [0, 1, 42, 43, 2**31, 2**32 - 1, 2**32, 2**32 + 42, 123456789012345678, 2**63 - 1]
SIZES = [0, 1, 2, 3, 5, 13, 32, 624, 625, 1000, 65537, 1000003]

def row(seed, n, order, **more):
    order = np.asarray(order, dtype="<i8")
    assert sorted(order.tolist()) == list(range(n))
    r = {"seed": seed, "n": n, **more}
    return {**r, "order": order.tolist()} if n <= 32 else {**r, "sha256": hashlib.sha256(order.tobytes()).hexdigest()}

def torch_order(seed, n):
    g = torch.Generator(); g.manual_seed(seed)
    return torch.randperm(n, generator=g).numpy()

def examples(n):
    yield from ({"i": i} for i in range(n))

def buffer_order(seed, n, buffer, epoch):
    stream = datasets.IterableDataset.from_generator(examples, gen_kwargs={"n": n}).shuffle(seed=seed, buffer_size=buffer)
    stream.set_epoch(epoch)
    return [example["i"] for example in stream]

pairs = [(s, n) for s in SEEDS for n in SIZES if n < 1000 or s in (42, 2**32)]
out = {
    "versions": {"torch": torch.__version__, "numpy": np.__version__, "datasets": datasets.__version__},
    "torch_randperm": [row(s, n, torch_order(s, n)) for s, n in pairs],
    "numpy_permutation": [row(s, n, np.random.default_rng(s).permutation(n)) for s, n in pairs + [(2**64 - 1, 13)]],
    "buffer_shuffle": [row(s, n, buffer_order(s, n, b, e), buffer=b, epoch=e) for s in (0, 42, 2**32 + 42) for n, b in
                       [(0, 4), (1, 4), (3, 4), (4, 4), (5, 4), (13, 4), (30, 7), (32, 1), (1000, 64), (50000, 16384)] for e in (0, 1, 3)],
}
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "orders.json")
with open(path, "w") as f:
    f.write("{\n\"versions\": " + json.dumps(out["versions"]) + ",\n")
    f.write(",\n".join(f'"{k}": [\n' + ",\n".join(json.dumps(r) for r in out[k]) + "\n]" for k in ("torch_randperm", "numpy_permutation", "buffer_shuffle")) + "\n}\n")
