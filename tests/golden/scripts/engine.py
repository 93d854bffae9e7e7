"""Makes the engine's goldens again from their stored inputs: tests/golden/tiny-{tied,untied}.

    python tests/golden/scripts/engine.py OUT      writes the same tree under OUT
    python tests/golden/scripts/engine.py --check  compares what comes out with what is stored, and prints the distance

Python 3.11, torch 2.11.0, transformers 5.17.0, peft 0.21.2 (`make reference`). The stored ones were made on a CPU with
AVX512, one thread, scaled-dot-product attention (tests/golden/META.json). On another CPU fp32 differs by about 1e-6 of the
maximum, bf16 by up to 3 %.

The inputs (input_ids, position_ids, image_grid_thw, uint8 patches, messages) are kept in the files; the models in
tests/golden/models are random weights in the published layout: tiny-tied like 2B (tied, bf16), tiny-untied like 7B (fp32).
"""
import json
import sys
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import Qwen2VLForConditionalGeneration

GOLDEN = Path(__file__).resolve().parent.parent
CASES = ["text_en", "text_zh", "img_28", "multiturn"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]) * 255
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]) * 255


def load(name, dtype):
    folder = GOLDEN / "models" / name
    return Qwen2VLForConditionalGeneration.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa").eval()


def inputs(model, stored):
    x = {"input_ids": stored["input_ids"], "attention_mask": stored.get("attention_mask", torch.ones_like(stored["input_ids"]))}
    if "image_grid_thw" in stored:
        x["image_grid_thw"] = stored["image_grid_thw"]
        x["mm_token_type_ids"] = (x["input_ids"] == model.config.image_token_id).long()
        if "patches_u8" in stored:
            u8 = stored["patches_u8"].view(-1, 3, 14, 14).float()
            one = (u8 - MEAN[:, None, None]) / STD[:, None, None]
            x["pixel_values"] = one[:, :, None].expand(-1, -1, 2, -1, -1).reshape(-1, 1176)
        else:
            x["pixel_values"] = stored["pixel_values"]
    return x


@torch.no_grad()
def forward(name, case):
    """Picture features, logits, loss over all tokens, greedy tokens with the margins of each decision."""
    stored = load_file(GOLDEN / name / f"{case}.safetensors")
    info = json.loads((GOLDEN / name / f"{case}.json").read_text())
    for tag, dtype in DTYPES.items():
        model = load(name, dtype)
        x = inputs(model, stored)
        model.model.rope_deltas = None
        out = model(**x, labels=x["input_ids"], output_hidden_states=True)
        logits = out.logits[0]
        key = f"{tag}.logits" if f"{tag}.logits" in stored else f"{tag}.logits_last8"
        stored[key] = (logits if key.endswith("logits") else logits[-8:]).contiguous()
        if f"{tag}.image_embeds" in stored:
            features = model.get_image_features(x["pixel_values"], x["image_grid_thw"]).pooler_output
            stored[f"{tag}.image_embeds"] = torch.cat(list(features)).contiguous()
        if f"{tag}.hidden.0" in stored:
            for i, h in enumerate(out.hidden_states):
                stored[f"{tag}.hidden.{i}"] = h[0].contiguous()
        info[f"{tag}.loss_all"] = out.loss.item()
        for suffix, options in {"greedy32": {}, "greedy32_rep1.2": {"repetition_penalty": 1.2}}.items():
            model.model.rope_deltas = None
            new = model.generate(**x, max_new_tokens=32, do_sample=False, eos_token_id=None, temperature=None, top_p=None, top_k=None,
                                 return_dict_in_generate=True, output_logits=True, **options)
            info[f"{tag}.{suffix}"] = new.sequences[0, x["input_ids"].shape[1]:].tolist()
            if not options:
                best = torch.stack(new.logits, 1)[0].float().topk(2, -1).values
                info[f"{tag}.greedy32_margin"] = [round(v, 5) for v in (best[:, 0] - best[:, 1]).tolist()]
    return stored, info


def lora(name, tag, dtype):
    """Gradients of a PEFT adapter at step 0 and its tensors after three steps of torch.optim.AdamW."""
    batch = load_file(GOLDEN / name / "lora" / "batch.safetensors")
    model = PeftModel.from_pretrained(load(name, dtype), GOLDEN / name / "lora" / "adapter_init", is_trainable=True)
    x = inputs(model, batch) | {"labels": batch["labels"]}
    parameters = {n.replace(".default", ""): p for n, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-3, weight_decay=0.01)
    losses, grads = [], None
    for _ in range(3):
        loss = model(**x).loss
        optimizer.zero_grad()
        loss.backward()
        grads = grads or {n: p.grad.clone() for n, p in parameters.items()}
        optimizer.step()
        losses.append(loss.item())
    return grads, {n: p.detach().clone() for n, p in parameters.items()}, losses


def distance(a, b):
    return ((a.double() - b.double()).abs().max() / b.double().abs().max().clamp_min(1e-30)).item()


def main():
    torch.set_num_threads(1)
    check = sys.argv[1] == "--check"
    for name in ("tiny-tied", "tiny-untied"):
        for case in CASES:
            tensors, info = forward(name, case)
            if check:
                old = load_file(GOLDEN / name / f"{case}.safetensors")
                worst = max((distance(v, old[k]), k) for k, v in tensors.items() if k.startswith(("fp32", "bf16")))
                old_info = json.loads((GOLDEN / name / f"{case}.json").read_text())
                same = sum(info[k] == old_info[k] for k in info if k.split(".", 1)[-1] in ("greedy32", "greedy32_rep1.2"))
                print(f"{name} {case}: {worst[0]:.1e} of the maximum ({worst[1]}), {same} of 4 token lists equal")
            else:
                out = Path(sys.argv[1]) / name
                out.mkdir(parents=True, exist_ok=True)
                save_file(tensors, out / f"{case}.safetensors")
                (out / f"{case}.json").write_text(json.dumps(info, ensure_ascii=False, indent=2) + "\n")
        for tag, dtype in {"fp32": torch.float32, "bf16_lora_fp32": torch.bfloat16}.items():
            stored = GOLDEN / name / "lora" / f"{tag}.grads.safetensors"
            if not stored.exists():
                continue
            grads, after, losses = lora(name, tag, dtype)
            if check:
                old_grads, old_after = load_file(stored), load_file(str(stored).replace("grads", "params_after3"))
                print(f"{name} lora {tag}: gradients {max(distance(grads[k], old_grads[k]) for k in grads):.1e}, "
                      f"after three steps {max(distance(after[k], old_after[k]) for k in after):.1e}, losses {losses}")
            else:
                out = Path(sys.argv[1]) / name / "lora"
                out.mkdir(parents=True, exist_ok=True)
                save_file(grads, out / stored.name)
                save_file(after, out / stored.name.replace("grads", "params_after3"))


if __name__ == "__main__":
    main()
