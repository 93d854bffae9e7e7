"""The command lines of Lightbox that the measurements use: all of them here, so that a change of an option is one line."""
import json
import os
import re
import subprocess
from pathlib import Path


class Lightbox:
    """The built programs of `folder`, run on `device` ("cpu" or "cuda:0")."""

    def __init__(self, folder: Path, device: str = "cpu", libtorch: Path | None = None):
        self.program = str(folder / "lightbox")
        self.preprocess_bench = str(folder / "examples" / "preprocess")
        self.random_rows_bench = str(folder / "examples" / "random_rows")
        self.device = device
        self.env = dict(os.environ)
        if libtorch is not None:  # binaries that were built elsewhere: the libtorch of this machine's Python
            self.env["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [str(libtorch), os.environ.get("LD_LIBRARY_PATH")]))

    def convert(self, parquet: Path, out: Path) -> list[str]:
        return [self.program, "data", "convert", str(parquet), "--out", str(out)]

    def check(self, dataset_dir: Path, dataset: str) -> list[str]:
        return [self.program, "data", "check", "--dataset-dir", str(dataset_dir), "--dataset", dataset, "--json"]

    def encode(self, model: Path, dataset_dir: Path, dataset: str) -> list[str]:
        return [self.program, "data", "encode", "--model", str(model), "--dataset-dir", str(dataset_dir), "--dataset", dataset, "--json"]

    def train(self, profile: Path, **overrides) -> list[str]:
        return [self.program, "train", "--foreground", str(profile), *(f"{key}={value}" for key, value in overrides.items())]

    def score(self, model: Path, adapter: Path, dataset_dir: Path, dataset: str, dtype: str) -> list[str]:
        return [self.program, "score", "--model", str(model), "--adapter", str(adapter), "--dataset-dir", str(dataset_dir),
                "--dataset", dataset, "--dtype", dtype, "--device", self.device, "--json"]

    def chat(self, model: Path, adapter: Path, image: Path, prompt: str, dtype: str, max_new_tokens: int) -> list[str]:
        return [self.program, "chat", "--model", str(model), "--adapter", str(adapter), "--image", str(image), "--prompt", prompt,
                "--greedy", "--max-new-tokens", str(max_new_tokens), "--dtype", dtype, "--device", self.device, "--json"]

    def predict(self, model: Path, dataset_dir: Path, dataset: str, samples: int, batch: int, new_tokens: int, dtype: str, out: Path) -> list[str]:
        return [self.program, "predict", "--model", str(model), "--dataset-dir", str(dataset_dir), "--dataset", dataset, "--max-samples",
                str(samples), "--batch-size", str(batch), "--greedy", "--max-new-tokens", str(new_tokens), "--dtype", dtype, "--device",
                self.device, "--no-loss", "--fresh", "--json", "--output", str(out)]

    def preprocess(self, model: Path, files: list[Path], repeat: int) -> list[str]:
        return [self.preprocess_bench, str(model), str(repeat), *map(str, files)]

    def json_lines(self, command: list[str]) -> list[dict]:
        """Runs a command with --json and returns its lines. Its errors are shown and end the measurement."""
        result = subprocess.run(command, env=self.env, stdout=subprocess.PIPE, text=True)
        if result.returncode != 0:
            raise SystemExit(f"exit code {result.returncode}: {' '.join(command)}")
        return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


def logged_losses(run: Path) -> list[float]:
    """The loss of each logged step of a run folder (LLaMA-Factory's trainer_log.jsonl)."""
    rows = (json.loads(line) for line in (run / "trainer_log.jsonl").read_text().splitlines())
    return [row["loss"] for row in rows if "loss" in row]


def dataset_name(converted: Path) -> str:
    """The one data set that a dataset_info.json names."""
    (name,) = json.loads((converted / "dataset_info.json").read_text())
    return name


def slug(text: str) -> str:
    """A file-name part: lower case, digits, dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
