"""Merging an adapter into a model of 7 billion weights: time and memory.

    scripts/measure/exporting.py --bin target/release [--save]

Needs 35 GB of disk. The base is a Qwen2-VL-7B whose weights are holes in files (all zero), which take no disk to make and are
read like any others. Memory is what the process holds for itself (RssAnon); pages of the model's files that the kernel keeps
as long as nobody needs the place are counted apart.
"""
import argparse
import json
import math
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import timing
from inputs import TOKENIZER
from lightbox import Lightbox
from timing import REPO, number

HIDDEN, LAYERS, HEADS, KV_HEADS, INTERMEDIATE, VOCAB, VISION, VISION_LAYERS = 3584, 28, 28, 4, 18944, 152064, 1280, 32
HEAD = HIDDEN // HEADS
RANK = 8
LINEARS = {"self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (KV_HEADS * HEAD, HIDDEN), "self_attn.v_proj": (KV_HEADS * HEAD, HIDDEN),
           "self_attn.o_proj": (HIDDEN, HIDDEN), "mlp.gate_proj": (INTERMEDIATE, HIDDEN), "mlp.up_proj": (INTERMEDIATE, HIDDEN),
           "mlp.down_proj": (HIDDEN, INTERMEDIATE)}


def base_tensors() -> dict[str, tuple]:
    """Names and shapes of Qwen2-VL-7B-Instruct."""
    tensors = {"model.embed_tokens.weight": (VOCAB, HIDDEN), "model.norm.weight": (HIDDEN,), "lm_head.weight": (VOCAB, HIDDEN),
               "visual.patch_embed.proj.weight": (VISION, 3, 2, 14, 14), "visual.merger.ln_q.weight": (VISION,),
               "visual.merger.ln_q.bias": (VISION,), "visual.merger.mlp.0.weight": (4 * VISION, 4 * VISION),
               "visual.merger.mlp.0.bias": (4 * VISION,), "visual.merger.mlp.2.weight": (HIDDEN, 4 * VISION), "visual.merger.mlp.2.bias": (HIDDEN,)}
    for i in range(LAYERS):
        for name, shape in LINEARS.items():
            tensors[f"model.layers.{i}.{name}.weight"] = shape
        for name in "qkv":
            tensors[f"model.layers.{i}.self_attn.{name}_proj.bias"] = (LINEARS[f"self_attn.{name}_proj"][0],)
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"model.layers.{i}.{name}.weight"] = (HIDDEN,)
    for i in range(VISION_LAYERS):
        block = {"norm1": (VISION,), "norm2": (VISION,), "attn.qkv": (3 * VISION, VISION), "attn.proj": (VISION, VISION),
                 "mlp.fc1": (4 * VISION, VISION), "mlp.fc2": (VISION, 4 * VISION)}
        for name, shape in block.items():
            tensors[f"visual.blocks.{i}.{name}.weight"] = shape
            tensors[f"visual.blocks.{i}.{name}.bias"] = shape[:1]
    return tensors


def holes(path: Path, tensors: dict[str, tuple], dtype: str, size: int) -> int:
    """A safetensors file of zeros that takes no disk."""
    header, end = {}, 0
    for name, shape in tensors.items():
        length = math.prod(shape) * size
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + length]}
        end += length
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return end


def make(work: Path) -> tuple[Path, Path, int]:
    model, adapter = work / "model", work / "adapter"
    model.mkdir()
    adapter.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.json", "generation_config.json", "preprocessor_config.json"):
        shutil.copy(TOKENIZER / name, model / name)
    config = json.loads((TOKENIZER / "config.json").read_text())
    config.update(hidden_size=HIDDEN, num_hidden_layers=LAYERS, max_window_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=KV_HEADS,
                  intermediate_size=INTERMEDIATE, vocab_size=VOCAB, tie_word_embeddings=False, max_position_embeddings=32768, torch_dtype="bfloat16",
                  rope_scaling={"type": "mrope", "mrope_section": [16, 24, 24]})
    config["vision_config"].update(depth=VISION_LAYERS, embed_dim=VISION, num_heads=16, hidden_size=HIDDEN)
    (model / "config.json").write_text(json.dumps(config, indent=2))
    size = holes(model / "model.safetensors", base_tensors(), "BF16", 2)
    pairs = {}
    for i in range(LAYERS):
        for name, (rows, columns) in LINEARS.items():
            at = f"base_model.model.model.layers.{i}.{name}"
            pairs[f"{at}.lora_A.weight"], pairs[f"{at}.lora_B.weight"] = (RANK, columns), (rows, RANK)
    holes(adapter / "adapter_model.safetensors", pairs, "F32", 4)
    targets = [name.split(".")[1] for name in LINEARS]
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": 16,
        "lora_dropout": 0.0, "target_modules": targets, "bias": "none", "base_model_name_or_path": str(model)}))
    return model, adapter, size


def held(pid: int) -> dict:
    """RssAnon and RssFile of a process and all that it started, in bytes."""
    sums = {"RssAnon": 0, "RssFile": 0}
    for member in timing.family(pid):
        try:
            lines = Path(f"/proc/{member}/status").read_text().splitlines()
        except OSError:
            continue  # it has ended
        for key, _, value in (line.partition(":") for line in lines):
            if key in sums:
                sums[key] += 1024 * int(value.split()[0])
    return sums


def watched(command: list[str], env: dict) -> dict:
    """Seconds, and the most of RssAnon and RssFile in bytes."""
    start, most = time.perf_counter(), {"RssAnon": 0, "RssFile": 0}
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        for key, now in held(process.pid).items():
            most[key] = max(most[key], now)
        time.sleep(0.01)
    if process.returncode != 0:
        raise SystemExit(f"exit code {process.returncode}: {' '.join(command)}")
    return {"seconds": time.perf_counter() - start, **most}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=REPO / "target" / "release", help="folder of the built programs")
    parser.add_argument("--work", type=Path, help="a folder on the disk to use [default: the system's for temporary files]")
    parser.add_argument("--save", action="store_true", help="write docs/benchmarks/DATE-exporting-cpu.md, too")
    args = parser.parse_args()
    lightbox = Lightbox(args.bin.resolve())
    with tempfile.TemporaryDirectory(prefix="lightbox-exporting-", dir=args.work) as work:
        model, adapter, size = make(Path(work))
        rows = []
        for dtype in ("bf16", "f32"):
            out = Path(work) / dtype
            command = [lightbox.program, "export", "--model", str(model), "--adapter", str(adapter), "--out", str(out), "--dtype", dtype]
            told = watched(command, lightbox.env)
            written = sum(path.stat().st_size for path in out.iterdir())
            rows.append([dtype, number(written / 2**30), number(told["seconds"]), number(told["RssAnon"] / 2**30), number(told["RssFile"] / 2**30)])
            shutil.rmtree(out)
    body = f"Base: {size / 2**30:.1f} GiB in bf16, one file; adapter of rank {RANK} on all linear layers of the language model.\n\n"
    body += timing.table(["to", "written, GiB", "seconds", "own memory at most, GiB", "pages of files at most, GiB"], rows)
    print(body)
    if args.save:
        print("in", timing.save_report("exporting-cpu", "Export of a 7B model, on a CPU", "scripts/measure/exporting.py --save", body))


if __name__ == "__main__":
    main()
