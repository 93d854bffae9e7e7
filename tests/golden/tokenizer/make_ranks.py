"""Makes qwen2_vl.ranks.gz: the tokens of Qwen2-VL's tokenizer as raw bytes, in rank order, each behind one length byte.

    pip download --no-deps dashscope==2.0.2 && unzip dashscope-2.0.2-*.whl
    python make_ranks.py dashscope/resources/qwen.tiktoken
"""
import base64, gzip, hashlib, os, sys

source = open(sys.argv[1], "rb").read()
assert hashlib.sha256(source).hexdigest() == "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186", "another qwen.tiktoken than the one of dashscope 2.0.2"
ranks = {}
for line in source.splitlines():
    if line.strip():
        token, rank = line.split()
        ranks[int(rank)] = base64.b64decode(token)
assert sorted(ranks) == list(range(151643)) and max(map(len, ranks.values())) < 256
packed = b"".join(bytes([len(ranks[r])]) + ranks[r] for r in range(len(ranks)))
out = os.path.join(os.path.dirname(os.path.abspath(__file__)), "qwen2_vl.ranks.gz")
with open(out, "wb") as f:
    f.write(gzip.compress(packed, 9, mtime=0))
print(len(packed), os.path.getsize(out))
