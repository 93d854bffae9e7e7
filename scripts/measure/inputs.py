"""Models, pictures and data sets for measurements, made on the spot from a seed: nothing is downloaded."""
import io
import json
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from timing import REPO

TOKENIZER = REPO / "assets" / "demo-model"
QUESTION = "Please describe this image."
WORDS = ("the image shows a small large bright dark region in the left right upper lower part of brain which may suggest "
         "lesion normal tissue and no sign of change near the border").split()


@dataclass
class Size:
    """The sizes of a Qwen2-VL; everything else is as in the published models."""
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vocab: int
    vision_dim: int
    vision_layers: int
    vision_heads: int
    picture: int  # side in pixels of the square pictures it is measured with


QWEN2_VL_2B = Size(1536, 28, 12, 2, 8960, 151936, 1280, 32, 16, 512)
MEDIUM = Size(256, 4, 8, 2, 1024, 8192, 256, 4, 4, 512)
TINY = Size(64, 2, 4, 2, 176, 1152, 64, 2, 4, 112)


def make_model(folder: Path, size: Size, dtype: str, device: str, seed: int = 1) -> Path:
    """Random weights (normal, 0.02) in a model folder of the Hub's flat layout, with the tokenizer of the demo model."""
    import torch
    from transformers import AutoConfig, Qwen2VLForConditionalGeneration
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    folder.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.json", "generation_config.json", "preprocessor_config.json"):
        shutil.copy(TOKENIZER / name, folder / name)
    config = json.loads((TOKENIZER / "config.json").read_text())
    sixteenth = size.hidden // size.heads // 16  # M-RoPE: of half a head 1/4 for time, 3/8 for height, 3/8 for width
    config.update(hidden_size=size.hidden, num_hidden_layers=size.layers, max_window_layers=size.layers, num_attention_heads=size.heads,
                  num_key_value_heads=size.kv_heads, intermediate_size=size.intermediate, vocab_size=size.vocab, tie_word_embeddings=True,
                  max_position_embeddings=32768, sliding_window=32768, initializer_range=0.02, rope_theta=1e6, torch_dtype=dtype,
                  rope_scaling={"type": "mrope", "mrope_section": [2 * sixteenth, 3 * sixteenth, 3 * sixteenth]})
    config["vision_config"].update(depth=size.vision_layers, embed_dim=size.vision_dim, num_heads=size.vision_heads, hidden_size=size.hidden,
                                   initializer_range=0.02)
    text = json.dumps(config, indent=2)
    (folder / "config.json").write_text(text)
    torch.manual_seed(seed)
    torch.set_default_dtype(getattr(torch, dtype))
    with torch.device(device):
        model = Qwen2VLForConditionalGeneration(AutoConfig.from_pretrained(folder))
    torch.set_default_dtype(torch.float32)
    # Logits of 0 for what the tokenizer does not have: Lightbox never chooses such a token, transformers may.
    with torch.no_grad():
        model.get_input_embeddings().weight[tokens_of(folder / "tokenizer.json"):] = 0
    model.save_pretrained(folder)
    (folder / "config.json").write_text(text)  # the flat layout again: save_pretrained writes its own
    return folder


def tokens_of(tokenizer: Path) -> int:
    """One more than the greatest token id."""
    told = json.loads(tokenizer.read_text())
    return 1 + max([*told["model"]["vocab"].values(), *(token["id"] for token in told["added_tokens"])])


def make_adapter(folder: Path, model: Path, seed: int = 2) -> Path:
    """A LoRA adapter by PEFT, rank 8 on all linear layers of the language model, A and B both random: with the usual B = 0
    the first step would not tell a wrong A from a right one."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2VLForConditionalGeneration

    torch.manual_seed(seed)
    base = Qwen2VLForConditionalGeneration.from_pretrained(model, dtype="auto")
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    wrapped = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    wrapped.save_pretrained(folder)
    return folder


def picture(side: int, rng: np.random.Generator) -> Image.Image:
    """A smooth random picture with a little grain: as a JPEG about as large as a slice of a scan."""
    coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    grain = rng.normal(0, 6, (side, side, 1))
    return Image.fromarray(np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8))


def jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80)
    return out.getvalue()


def caption(rng: random.Random) -> str:
    """Two sentences of random words; lengths vary, so that batches are padded as real ones are."""
    sentences = (" ".join(rng.choices(WORDS, k=rng.randint(12, 30))).capitalize() + "." for _ in range(2))
    return " ".join(sentences)


def make_dataset(folder: Path, name: str, n: int, side: int, seed: int = 3) -> Path:
    """`n` sharegpt conversations with one JPEG each, and the dataset_info.json that names them."""
    rng, text = np.random.default_rng(seed), random.Random(seed)
    (folder / "images").mkdir(parents=True)
    rows = []
    for i in range(n):
        path = f"images/{i:04}.jpg"
        (folder / path).write_bytes(jpeg(picture(side, rng)))
        rows.append({"messages": [{"role": "user", "content": "<image>" + QUESTION}, {"role": "assistant", "content": caption(text)}],
                     "images": [path]})
    (folder / f"{name}.json").write_text(json.dumps(rows, indent=2))
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    entry = {"file_name": f"{name}.json", "formatting": "sharegpt", "columns": {"messages": "messages", "images": "images"}, "tags": tags}
    (folder / "dataset_info.json").write_text(json.dumps({name: entry}, indent=2))
    return folder


def make_parquet(path: Path, n: int, side: int, seed: int = 4) -> Path:
    """`n` rows of MedTrinity's layout (image with bytes and path, id, caption) as `datasets` wrote them in 2024: snappy,
    row groups of 100. Two hundred different pictures in turn."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, text = np.random.default_rng(seed), random.Random(seed)
    pictures = [jpeg(picture(side, rng)) for _ in range(min(n, 200))]
    ids = [f"{i:08x}-1b5c-11ef-8929-000066532cad" for i in range(n)]
    features = {"image": {"_type": "Image"}, "id": {"dtype": "string", "_type": "Value"}, "caption": {"dtype": "string", "_type": "Value"}}
    schema = pa.schema({"image": pa.struct({"bytes": pa.binary(), "path": pa.string()}), "id": pa.string(), "caption": pa.string()},
                       metadata={"huggingface": json.dumps({"info": {"features": features}})})
    images = [{"bytes": pictures[i % len(pictures)], "path": f"{ids[i]}.jpg"} for i in range(n)]
    table = pa.table({"image": images, "id": ids, "caption": [caption(text) for _ in range(n)]}, schema=schema)
    pq.write_table(table, path, row_group_size=100, compression="snappy")
    return path


def make_profile(path: Path, model: Path, adapter: Path, dataset_dir: Path, dataset: str, device: str, **keys) -> Path:
    """A training profile in LLaMA-Factory's keys; YAML is a superset of JSON."""
    profile = {"model_name_or_path": str(model), "adapter_name_or_path": str(adapter), "stage": "sft", "do_train": True,
               "finetuning_type": "lora", "lora_target": "all", "lora_rank": 8, "template": "qwen2_vl", "dataset_dir": str(dataset_dir),
               "dataset": dataset, "cutoff_len": 1024, "optim": "adamw_torch", "learning_rate": 1e-3, "lr_scheduler_type": "constant",
               "logging_steps": 1, "save_strategy": "no", "device": device, **keys}
    path.write_text(json.dumps(profile, indent=2))
    return path
