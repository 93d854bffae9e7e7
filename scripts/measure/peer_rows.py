"""Rows of a parquet file in a random order, with the bytes of their pictures, as Python reads them: what
crates/core/examples/random_rows.rs is compared with. Prints the same line.

    peer_rows.py arrow  PARQUET ROWS.json    # datasets: the file copied to an Arrow cache once, which is then mapped
    peer_rows.py parquet PARQUET ROWS.json   # pyarrow: the row group of each row is read; the last one is kept
"""
import hashlib
import json
import sys
import tempfile
import time

way, path, rows = sys.argv[1], sys.argv[2], json.load(open(sys.argv[3]))
digest, total = hashlib.sha256(), 0


def take(picture: bytes, caption: str):
    global total
    total += len(picture)
    digest.update(picture)
    digest.update(caption.encode())


start = time.perf_counter()
if way == "arrow":
    from datasets import Dataset, Image
    cache = tempfile.TemporaryDirectory()
    table = Dataset.from_parquet(path, cache_dir=cache.name).cast_column("image", Image(decode=False))
    opened, cpu = time.perf_counter(), time.process_time()
    for i in rows:
        row = table[i]
        take(row["image"]["bytes"], row["caption"])
else:
    import pyarrow.parquet as pq
    file = pq.ParquetFile(path)
    starts = [0]
    for g in range(file.metadata.num_row_groups):
        starts.append(starts[-1] + file.metadata.row_group(g).num_rows)
    held, group = None, None
    opened, cpu = time.perf_counter(), time.process_time()
    for i in rows:
        g = next(g for g in range(len(starts) - 1) if starts[g + 1] > i)
        if g != held:
            held, group = g, file.read_row_group(g, columns=["image", "caption"])
        row = group.slice(i - starts[g], 1).to_pylist()[0]
        take(row["image"]["bytes"], row["caption"])
print(json.dumps({"rows": len(rows), "open_s": opened - start, "wall_s": time.perf_counter() - opened,
                  "cpu_s": time.process_time() - cpu, "bytes": total, "sha256": digest.hexdigest()}))
