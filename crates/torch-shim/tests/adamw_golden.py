"""Prints the constants of tests/shim.rs: fp32 bits of the parameters after three steps of clipping and torch.optim.AdamW.

Made with torch 2.11.0 on a CPU: python adamw_golden.py
"""
import torch

SHAPES = [(2, 3), (5,)]


def values(multiplier: int, offset: int) -> list[torch.Tensor]:
    """Fractions with few bits, so that Rust makes the same numbers exactly."""
    out, i = [], 0
    for shape in SHAPES:
        n = torch.Size(shape).numel()
        out.append(torch.tensor([((k * multiplier + offset) % 64 - 32) / 32 for k in range(i, i + n)]).reshape(shape))
        i += n
    return out


for fused in (False, True):
    params = [torch.nn.Parameter(p) for p in values(37, 5)]
    optimizer = torch.optim.AdamW(params, lr=1e-2, weight_decay=0.1, foreach=False, fused=fused)
    for step in (1, 2, 3):
        for p, g in zip(params, values(53, 29 * step)):
            p.grad = g
        norm = torch.nn.utils.clip_grad_norm_(params, 0.7)
        optimizer.step()
    bits = torch.cat([p.detach().flatten() for p in params]).view(torch.int32).tolist()
    print("fused" if fused else "plain", ", ".join(f"0x{b & 0xFFFFFFFF:08x}" for b in bits))
    print("last norm", f"0x{norm.view(torch.int32).item():08x}")
