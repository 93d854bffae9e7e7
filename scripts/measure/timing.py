"""Clocks, the machine's description, and files of results."""
import datetime
import json
import os
import platform
import statistics
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]


@dataclass
class Usage:
    """What a finished process took: `cpu` is user + system seconds of it and its children, `peak` the most memory in bytes
    that it held itself (VmHWM; files that it maps count)."""
    wall: float
    cpu: float
    stdout: str
    peak: int = 0

    def last_json(self) -> dict:
        lines = [line for line in self.stdout.splitlines() if line.startswith("{")]
        return json.loads(lines[-1])


def run(command: list[str], log: Path, env: dict | None = None) -> Usage:
    """Runs a command to its end, its stderr in `log`. A failure shows the end of the log and stops everything."""
    start = time.perf_counter()
    with open(log, "w") as err:
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=err, text=True)
        watch = PeakMemory(process.pid)
        stdout = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        tail = "\n".join((stdout + log.read_text()).splitlines()[-20:])
        raise SystemExit(f"{tail}\nexit code {process.returncode}: {' '.join(map(str, command))} (log: {log})")
    return Usage(wall, usage.ru_utime + usage.ru_stime, stdout, watch.peak)


class PeakMemory(threading.Thread):
    """The most memory of a process, or of the largest that it starts, until it ends. Not wait4's ru_maxrss: that begins with
    what the parent held when it forked."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.pid, self.peak = pid, 0
        self.start()

    def run(self):
        while held := [peak_of(pid) for pid in family(self.pid)]:
            self.peak = max(self.peak, *held)
            time.sleep(0.02)


def family(pid: int) -> list[int]:
    """A process and all that it started, as far as they are alive."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
        children = [int(child) for task in tasks for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
    except OSError:
        return []  # it has ended
    return [pid, *(member for child in children for member in family(child))]


def peak_of(pid: int) -> int:
    """The most memory of a process so far, in bytes."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return max((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), default=0)


def alternate(ours, peer, rounds: int) -> tuple[list, list]:
    """Calls ours, peer, ours, peer …, so that a disturbance of the machine hits both sides alike."""
    results = ([], [])
    for _ in range(rounds):
        results[0].append(ours())
        results[1].append(peer())
    return results


def each(benches: dict, only: str | None, rounds: int) -> list[dict]:
    """The rows of all benches, or of one; each gets a folder of its own."""
    rows = []
    for name, bench in benches.items():
        if only in (None, name):
            print(f"{name}: {rounds} rounds of ours and theirs …", flush=True)
            with tempfile.TemporaryDirectory(prefix=f"lightbox-{name}-") as work:
                rows += bench(Path(work))
    return rows


def row(name: str, unit: str, ours: list[float], peer: list[float], **more) -> dict:
    """A row of results: medians, and their ratio (below 1: we take less)."""
    a, b = statistics.median(ours), statistics.median(peer)
    return {"name": name, "ours": a, "peer": b, "ratio": a / b, "unit": unit, "ours_all": ours, "peer_all": peer, **more}


class GpuMemory:
    """The most memory in use on GPU 0 while the block ran, in bytes: as the driver sees it, for any program alike."""

    QUERY = ["nvidia-smi", "-i", "0", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]

    def __init__(self, enabled: bool):
        self.enabled, self.peak, self._stop = enabled, 0, threading.Event()

    def _used(self) -> int:
        return int(subprocess.run(self.QUERY, capture_output=True, text=True, check=True).stdout) * 2**20

    def _watch(self):
        while not self._stop.wait(0.2):
            self.peak = max(self.peak, self._used())

    def __enter__(self):
        if self.enabled:
            self.baseline = self._used()
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_):
        if self.enabled:
            self._stop.set()
            self._thread.join()
            self.peak = max(0, self.peak - self.baseline)


def machine() -> str:
    """The processor, its cores, the memory and the GPU, in one line."""
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpu = gpu_name()
    return f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GiB" + (f", {gpu}" if gpu else "")


def gpu_name() -> str | None:
    """Name, memory and driver of GPU 0."""
    query = ["nvidia-smi", "-i", "0", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def versions() -> str:
    import peft
    import torch
    import transformers
    return f"torch {torch.__version__}, transformers {transformers.__version__}, PEFT {peft.__version__}, Python {platform.python_version()}"


def commit() -> str:
    result = subprocess.run(["git", "-C", str(REPO), "describe", "--always", "--dirty"], capture_output=True, text=True)
    return result.stdout.strip() or "unknown commit"


def table(header: list[str], rows: list[list]) -> str:
    """A Markdown table; columns are padded so that it reads well in a terminal, too."""
    cells = [header, *[[str(cell) for cell in r] for r in rows]]
    widths = [max(len(r[i]) for r in cells) for i in range(len(header))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(r, widths)) + " |" for r in cells]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)


def number(x: float) -> str:
    """Three significant digits, thousands without an exponent."""
    return f"{x:.0f}" if abs(x) >= 1000 else f"{x:.3g}"


def save_report(name: str, title: str, command: str, body: str) -> Path:
    """docs/benchmarks/DATE-NAME.md"""
    date = datetime.date.today().isoformat()
    path = REPO / "docs" / "benchmarks" / f"{date}-{name}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# {title}\n\n{date}, commit {commit()}\n\nCommand: `{command}`\nMachine: {machine()}\nReference: {versions()}\n\n{body}\n")
    return path
