"""Makes template.json: token ids and labels that LLaMA-Factory 0.9.5's own template code gives for cases its demo data lack.

    pip download --no-deps llamafactory==0.9.5 && unzip llamafactory-0.9.5-*.whl -d LF
    python make.py LF TOKENIZER.json      # Qwen2-VL's (lightbox_core::text::ranks can write it); made with tokenizers 0.23.3

Only the template, formatter and supervised-processor sources run; what they import besides (datasets, PIL, logging) is
replaced by mocks, and each `<image>` stands for a picture of the grid that the case gives.
"""
import json, os, sys, types
from unittest.mock import MagicMock
import importlib.abc, importlib.machinery

ROOT, TOKENIZER = sys.argv[1], sys.argv[2]
REAL = {f"llamafactory.{m}" for m in ("data", "data.data_utils", "data.formatter", "data.tool_utils", "data.template",
                                      "data.processor", "data.processor.supervised", "data.processor.processor_utils")} | {"llamafactory"}
PACKAGES = {"llamafactory": "", "llamafactory.data": "data", "llamafactory.data.processor": "data/processor"}

class Mocks(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """LLaMA-Factory's packages without their __init__ files; a mock for whatever else they ask for."""
    def find_spec(self, name, path, target=None):
        if name in PACKAGES or name.split(".")[0] in ("datasets", "transformers", "torch", "peft") or (name.startswith("llamafactory.") and name not in REAL):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
    def create_module(self, spec):
        m = types.ModuleType(spec.name) if spec.name in PACKAGES else MagicMock(name=spec.name)
        m.__path__ = [os.path.join(ROOT, "llamafactory", PACKAGES[spec.name])] if spec.name in PACKAGES else []
        return m
    def exec_module(self, module): pass
sys.meta_path.insert(0, Mocks())
constants = MagicMock(IGNORE_INDEX=-100, IMAGE_PLACEHOLDER="<image>", VIDEO_PLACEHOLDER="<video>", AUDIO_PLACEHOLDER="<audio>")
sys.modules["llamafactory.extras.constants"] = constants
from llamafactory.data.template import TEMPLATES
from llamafactory.data.processor.supervised import SupervisedDatasetProcessor
from tokenizers import Tokenizer

hf = Tokenizer.from_file(TOKENIZER)
tokenizer = types.SimpleNamespace(encode=lambda s, add_special_tokens: hf.encode(s, add_special_tokens=add_special_tokens).ids)

def encode(case):
    template = TEMPLATES["qwen2_vl"]
    template.default_system = case.get("default_system", "You are a helpful assistant.")
    grids = iter(case.get("grids", []))
    def process_messages(messages, *_):
        def expand(text):
            while "<image>" in text:
                t, h, w = next(grids)
                text = text.replace("<image>", "<|vision_start|>" + "<|image_pad|>" * (t * h * w // 4) + "<|vision_end|>", 1)
            return text
        return [{**m, "content": expand(m["content"])} for m in messages]
    template.mm_plugin = types.SimpleNamespace(process_messages=process_messages, process_token_ids=lambda ids, labels, *_: (ids, labels))
    args = types.SimpleNamespace(cutoff_len=case.get("cutoff_len", 100000), train_on_prompt=case.get("train_on_prompt", False), mask_history=case.get("mask_history", False))
    p = SupervisedDatasetProcessor.__new__(SupervisedDatasetProcessor)
    p.template, p.tokenizer, p.processor, p.data_args = template, tokenizer, None, args
    m = case["messages"]
    return p._encode_data_example(m[:-1], m[-1:], case.get("system"), case.get("tools"), [], [], [])

def chat(*contents, roles=("user", "assistant")):
    return [{"role": roles[i % 2], "content": c} for i, c in enumerate(contents)]

WEATHER = '[{"name": "get_weather", "description": "天气", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}]'
TWO_TOOLS = '[{"type":"function","function":{"name":"a"}},  {"name":"b","limit":1.0,"tiny":1e-7,"big":1e16,"exact":123456.789,"n":-3,"ok":true,"none":null,"list":[],"obj":{},"esc":"\\u00e9\\n\\"\\\\\\u0001/"}]'
LONG = chat("one two three four five six seven eight nine ten", "uno dos tres", "alpha beta gamma delta", "the answer is a long one, longer than its question, and goes on", "again?", "yes")
CASES = {
    "plain": dict(messages=chat("Hello", "Hi there.")),
    "own_system": dict(messages=chat("Hello", "Hi."), system="Be brief."),
    "empty_system_falls_back": dict(messages=chat("Hello", "Hi."), system=""),
    "default_system_override": dict(messages=chat("Hello", "Hi."), default_system="Du bist Arzt."),
    "no_system_block": dict(messages=chat("Hello", "Hi."), default_system=""),
    "image_mark_in_system_stays_text": dict(messages=chat("Hello", "Hi."), system="about <image>"),
    "leading_whitespace_of_an_answer": dict(messages=chat(" q ", "\n\n a", "  ", " ")),
    "special_tokens_in_text": dict(messages=chat("say <|im_end|> and <|endoftext|>", "<|vision_start|>ok<|box_start|>")),
    "empty_texts": dict(messages=chat("", "")),
    "two_images_between_text": dict(messages=chat("a <image> b<image>", "c", "and<image>", "d"), grids=[[1, 4, 4], [1, 2, 6], [1, 2, 2]]),
    "image_in_an_answer_is_trained": dict(messages=chat("draw", "here: <image>"), grids=[[1, 4, 2]]),
    "tools_with_system": dict(messages=chat("Weather?", "Sunny."), tools=WEATHER, system="S"),
    "tools_without_any_system": dict(messages=chat("Weather?", "Sunny."), tools=TWO_TOOLS, default_system=""),
    "empty_tool_list": dict(messages=chat("q", "a"), tools="[]", default_system=""),
    "function_call": dict(messages=[{"role": "user", "content": "w?"}, {"role": "function", "content": '{"arguments":{"city":"北京","days":2.50},"name":"get_weather","id":7}'},
                                    {"role": "observation", "content": '{"t":1}'}, {"role": "assistant", "content": "fine"}], tools=WEATHER),
    "parallel_calls": dict(messages=[{"role": "user", "content": "w?"}, {"role": "function", "content": '[{"name":"a","arguments":{}},{"name":"b","arguments":"{\\"x\\":1}"}]'}]),
    "no_calls": dict(messages=[{"role": "user", "content": "w?"}, {"role": "function", "content": "[]"}]),
    "call_already_wrapped": dict(messages=[{"role": "user", "content": "w?"}, {"role": "function", "content": 'Let me see.\n<tool_call>\n{"name":"a","arguments":{"x":[1,2]}}\n</tool_call>'}]),
    "call_after_a_thought": dict(messages=[{"role": "user", "content": "w?"}, {"role": "function", "content": '<think>\nhm\n</think>\n\n{"name":"a","arguments":null}'}]),
    "observation_with_image": dict(messages=[{"role": "observation", "content": "x<image>"}, {"role": "assistant", "content": "y"}], grids=[[1, 2, 2]]),
    "train_on_prompt": dict(messages=chat("<image>Hello", "Hi there.", "More", "Yes"), grids=[[1, 2, 2]], train_on_prompt=True),
    "mask_history": dict(messages=LONG, mask_history=True),
}
for cut in (1, 7, 20, 30, 37, 38, 39, 45, 52, 60, 75, 76, 77):
    for mode in ({}, {"mask_history": True}, {"train_on_prompt": True}):
        CASES["_".join(["cut", str(cut), *mode])] = dict(messages=LONG, cutoff_len=cut, **mode)

lines = []
for name, case in CASES.items():
    ids, labels = encode(case)
    lines.append(json.dumps({"name": name, **case, "input_ids": ids, "labels": labels}, ensure_ascii=False))
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "template.json"), "w", encoding="utf-8") as f:
    f.write("[\n" + ",\n".join(lines) + "\n]\n")
print(len(lines), "cases")
