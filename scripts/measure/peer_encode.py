"""A data set to token ids and labels, as `lightbox data encode` does it, by others. Ids go to OUT, a line of JSON a sample; times,
without imports and loading, to standard output.

    peer_encode.py llamafactory MODEL DATASET_DIR NAME OUT    # LLaMA-Factory's own preprocessing; its interpreter runs this
    peer_encode.py transformers MODEL DATASET_DIR NAME OUT    # its template written down here, pictures and tokens by transformers
"""
import json
import sys
import tempfile
import time
from pathlib import Path

way, model, dataset_dir, name, out = sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4], sys.argv[5]


def llamafactory():
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_tokenizer

    scratch = tempfile.mkdtemp()
    model_args, data_args, training_args, *_ = get_train_args(dict(
        stage="sft", do_train=True, model_name_or_path=model, finetuning_type="lora", template="qwen2_vl", dataset_dir=str(dataset_dir),
        media_dir=str(dataset_dir), dataset=name, cutoff_len=2048, output_dir=scratch, overwrite_cache=True, report_to="none", use_cpu=True))
    loaded = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(loaded["tokenizer"], data_args)
    clock = clocks()
    dataset = get_dataset(template, model_args, data_args, training_args, stage="sft", **loaded)["train_dataset"]
    took = clock()
    return [{"input_ids": sample["input_ids"], "labels": sample["labels"]} for sample in dataset], took


def transformers():
    from PIL import Image
    from transformers import AutoImageProcessor, AutoTokenizer

    tokenizer, processor = AutoTokenizer.from_pretrained(model), AutoImageProcessor.from_pretrained(model)
    system = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    clock = clocks()
    entry = json.loads((dataset_dir / "dataset_info.json").read_text())[name]
    samples = []
    for row in json.loads((dataset_dir / entry["file_name"]).read_text()):
        # As LLaMA-Factory does it: the picture is made into patches to know how many tokens it takes.
        images = [Image.open(dataset_dir / path).convert("RGB") for path in row["images"]]
        grids = processor(images=images, return_tensors="np")["image_grid_thw"]
        question, answer = (turn["content"] for turn in row["messages"])
        for grid in grids:
            pads = "<|image_pad|>" * int(grid.prod() // 4)
            question = question.replace("<image>", f"<|vision_start|>{pads}<|vision_end|>", 1)
        asked = tokenizer.encode(f"{system}<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n")
        answered = tokenizer.encode(f"{answer}<|im_end|>\n")
        samples.append({"input_ids": asked + answered, "labels": [-100] * len(asked) + answered})
    return samples, clock()


def clocks():
    wall, cpu = time.perf_counter(), time.process_time()
    return lambda: {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


made, took = {"llamafactory": llamafactory, "transformers": transformers}[way]()
with open(out, "w") as file:
    file.writelines(json.dumps(sample) + "\n" for sample in made)
print(json.dumps({"samples": len(made), **took}))
