"""similarity.json: BLEU-4 and ROUGE of pairs, with the libraries that LLaMA-Factory's ComputeSimilarity calls, called as
it calls them. llamafactory.json has pairs that went through LLaMA-Factory 0.9.5 itself; this script must agree with it.

    pip install nltk==3.10.4 jieba==0.42.1 rouge_chinese==1.0.3 && python make.py
"""
import json
import random

import jieba
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from rouge_chinese import Rouge


def similarity(predict, label):
    hypothesis, reference = list(jieba.cut(predict)), list(jieba.cut(label))
    if len(" ".join(hypothesis).split()) == 0 or len(" ".join(reference).split()) == 0:
        scores = {"rouge-1": 0.0, "rouge-2": 0.0, "rouge-l": 0.0}
    else:
        found = Rouge().get_scores(" ".join(hypothesis), " ".join(reference))[0]
        scores = {k: round(v["f"] * 100, 4) for k, v in found.items()}
    bleu = sentence_bleu([list(label)], list(predict), smoothing_function=SmoothingFunction().method3)
    return scores | {"bleu-4": round(bleu * 100, 4)}


for row in json.load(open("llamafactory.json")):
    for key, value in similarity(row["predict"], row["label"]).items():
        assert value == row[key], (row, key, value)

GIVEN = [
    ("", ""), ("", "\n"), (" ", "a\n"), ("a", "a"), ("a", "b"), ("图", "图"), ("图", "画\n"), ("a", ""), ("aaaa", "aaa"),
    ("Yes.", "Yes, there is.\n"), ("CT", "MRI"), ("T2加权像", "T2 加权像显示左侧额叶高信号。\n"),
    ("什么？没有。真的！", "什么？没有！\n"), ("他说：“没有。”然后走了。", "他说：“有。”然后走了。\n"),
    ("等等……不对", "等等……对\n"), ("wait...... no", "wait...... yes\n"), ("a\n\nb\n", "a\n\n b\n"), ("a\tb\rc\u3000d", "a b c d\n"),
    ("\x1c\x1d a", "a\n"), ("What? No? Yes?", "What? Yes? No?\n"), ("??", "?\n"), ("？？？", "？？\n"),
    ("🩺 head CT 🧠", "🩺 CT of the head 🧠\n"), ("é", "e\u0301\n"), ("ＣＴ扫描", "CT扫描\n"), ("日本語のテキスト", "日本語テキスト\n"),
    ("한국어 문장", "한국어 문장입니다\n"), ("C++ & R&D 50% foo_bar a-b #1", "C++ R&D 50% foo-bar #1\n"), ("3.5 cm x 2.1cm", "3.5cm x 2.1 cm\n"),
    ("南京市长江大桥", "南京市 长江大桥\n"), ("他来到了网易杭研大厦", "他来到网易杭州研究大厦\n"), ("小明硕士毕业于中国科学院计算所", "小明毕业于中科院计算所\n"),
    ("颅脑CT平扫示左侧基底节区高密度影，大小约3.2×2.1cm。", "头颅CT平扫：左侧基底节区见片状高密度影，约3.2cm×2.0cm，周围水肿。\n"),
    ("双肺纹理增多，未见实质性病变。心影不大。", "双肺纹理清晰，心影大小正常。\n"),
    ("The image is a CT scan.", "The image is a CT scan of the chest showing a nodule in the right upper lobe.\n"),
    ("v1.2.3 3.5x a--b a-b_+c 5%-3 U.S. e.g. x_1.5%", "v1.2.3 3.5 x a-b U.S.A. x_1.5\n"), ("腹部B超示胆囊结石", "B超：胆囊结石\n"), ("𠀀𠀁㐀㐁鿿龥", "𠀁㐁\n"),
    ("a\r\nb\r\n\nc", "a\nb\n"), ("T恤 AA制 卡拉OK C++ .NET", "T恤衫 卡拉OK\n"), ("“？”他", "？”他\n"), ("………… ……a", "……\n"), ("........x", ".......x\n"),
    ("x" * 3, "x" * 300), ("x" * 300, "x" * 3),
]
ENGLISH = "the a of is in on left right upper lower lobe scan CT MRI image shows no lesion mass hemorrhage contrast brain chest abdomen small large normal with and . , ;".split()
CHINESE = "图像 显示 左侧 右侧 额叶 高密度 影 病灶 正常 未见 异常 肺 肝脏 结节 增强 扫描 大小 约 的 为 与 。 ， ？ ！ ……".split()


def text(words, rng, n, join):
    return join.join(rng.choice(words) for _ in range(n))


rng = random.Random(20261126)
pairs = list(GIVEN)
for n in [1, 2, 3, 4, 5, 8, 13, 21, 34, 55, 89, 300]:
    for words, join in [(ENGLISH, " "), (CHINESE, ""), (ENGLISH + CHINESE, ""), (ENGLISH + CHINESE, " ")]:
        for _ in range(1 if n > 50 else 3):
            m = max(1, n + rng.randint(-2, 3))
            pairs.append((text(words, rng, n, join), text(words, rng, m, join) + rng.choice(["", "\n"])))
# Characters that stand together by chance: words that the dictionary has by accident, and names that only the HMM finds.
COMMON = "的一是不了在人有我他这中大来上个国和也子时道出而要于就下得可你年生自会那后能对着事其里所去行过家十用发天如然作方成者多日都三小军二无同么经法当起与好看学进种将还分此心前面又定见只主没公从"
for n in [5, 10, 20, 40, 80]:
    for _ in range(8):
        a = "".join(rng.choice(COMMON) for _ in range(n))
        b = "".join(c if rng.random() < 0.7 else rng.choice(COMMON) for c in a)
        pairs.append((a, b + "\n"))

rows = [{"predict": p, "label": l, **similarity(p, l), "words": list(jieba.cut(p))} for p, l in pairs]
with open("similarity.json", "w", encoding="utf-8") as out:
    out.write("[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]\n")
