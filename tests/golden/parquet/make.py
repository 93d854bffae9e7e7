"""Makes the parquet files beside this script, and what Python's own json module makes of them.

Made with datasets 5.2.0, pyarrow and Pillow as META.json says. Run: python make.py
medtrinity.parquet   MedTrinity's layout as `datasets` writes it: Image feature, id, caption
sharegpt.parquet     messages as a list of structs, List(Image), the text as large_string
tutorial.json        what the tutorial's script would write for medtrinity.parquet: json.dump(rows, indent=4, ensure_ascii=False)
"""
import io, json, os, sys
import datasets, PIL, pyarrow as pa, pyarrow.parquet as pq
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Pil

here = os.path.dirname(os.path.abspath(__file__))
os.chdir(here)  # `datasets` looks for outside.png when it writes

def picture(fmt, size, shift):
    image = Pil.new("RGB", size)
    image.putdata([((x * 5 + shift) % 256, (y * 7) % 256, (x * y) % 256) for y in range(size[1]) for x in range(size[0])])
    out = io.BytesIO()
    image.save(out, fmt)
    return out.getvalue()

jpeg, png = picture("JPEG", (60, 40), 0), picture("PNG", (32, 32), 90)
with open(os.path.join(here, "outside.png"), "wb") as f:
    f.write(picture("PNG", (28, 56), 30))

rows = {
    "image": [{"bytes": jpeg, "path": "a.jpg"}, {"bytes": png, "path": None}, {"bytes": None, "path": "outside.png"}],
    "id": ["8031efe0-1b5c-11ef-8929-000066532cad", "seg_train_558_a_2-right lung.nii-105", "8031efe0-1b5c-11ef-8929-000066532cad"],
    "caption": ["A CT slice of the head.\nThe region of interest occupies 4.1% of the area.", "图像显示\t\"右肺\"，\\ 未见异常 \u007f\u0001。", "Émile's \U0001F9E0 scan"],
}
features = Features({"image": Image(), "id": Value("string"), "caption": Value("string")})
Dataset.from_dict(rows, features=features).to_parquet(os.path.join(here, "medtrinity.parquet"))

names = ["8031efe0-1b5c-11ef-8929-000066532cad.jpg", None, "8031efe0-1b5c-11ef-8929-000066532cad-2.png"]
import hashlib
names[1] = "seg_train_558_a_2-right_lung.nii-105-" + hashlib.sha256(rows["id"][1].encode()).hexdigest()[:8] + ".png"
out = []
for name, caption in zip(names, rows["caption"]):
    out.append({"messages": [{"content": "<image>图片中的诊断结果是怎样？", "role": "user"}, {"content": caption, "role": "assistant"}], "images": ["mllm_data/" + name]})
with open(os.path.join(here, "tutorial.json"), "w", encoding="utf-8") as f:
    json.dump(out, f, indent=4, ensure_ascii=False)

talk = {
    "messages": [
        [{"role": "user", "content": "<image><image>Compare."}, {"role": "assistant", "content": "The second is larger."}],
        [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "Bye"}, {"role": "assistant", "content": "Bye"}],
    ],
    "images": [[{"bytes": jpeg, "path": None}, {"bytes": png, "path": "b.png"}], []],
}
features = Features({"messages": List({"role": Value("large_string"), "content": Value("large_string")}), "images": List(Image())})
Dataset.from_dict(talk, features=features).to_parquet(os.path.join(here, "sharegpt.parquet"))

with open(os.path.join(here, "META.json"), "w") as f:
    json.dump({"python": sys.version.split()[0], "datasets": datasets.__version__, "pyarrow": pa.__version__, "pillow": PIL.__version__}, f, indent=1)
for name in ("medtrinity.parquet", "sharegpt.parquet"):
    print(pq.ParquetFile(os.path.join(here, name)).schema_arrow.remove_metadata())
