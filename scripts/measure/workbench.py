#!/usr/bin/env python3
"""The workbench as a terminal sees it: time to the first frame, memory, bytes over a quiet and over a busy screen.

    workbench.py --bin target/release [--save] [--runs 20]

Everything is measured from outside, in a pseudo-terminal of 200x60 that answers like xterm; `htop` and `btop`, where they
are installed, run in the same minutes for comparison. Frame times are measured inside: `cargo run --release --example frames`.
"""
import argparse
import datetime
import fcntl
import json
import os
import platform
import pty
import select
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

COLUMNS, LINES = 200, 60
SCREENS = ["data", "train", "runs", "chat", "models"]


class Program:
    def __init__(self, command, env, cwd):
        self.began = time.monotonic()
        self.bytes = 0
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 2000, 1200))
            os.chdir(cwd)
            os.execvpe(command[0], command, env)

    def read(self, seconds):
        ready, _, _ = select.select([self.master], [], [], max(seconds, 0))
        if not ready:
            return b""
        try:
            data = os.read(self.master, 1 << 16)
        except OSError:
            return b""
        if b"\x1b[c" in data:
            os.write(self.master, b"\x1b[?62;22c")
        self.bytes += len(data)
        return data

    def until(self, text, most=20.0):
        """Seconds from the start until `text` came."""
        seen, end = b"", time.monotonic() + most
        while time.monotonic() < end:
            seen += self.read(0.05)
            if text in seen:
                return time.monotonic() - self.began
        raise SystemExit(f"{text!r} did not come; the last bytes were {seen[-300:]!r}")

    def for_seconds(self, seconds):
        """Bytes that came, and the CPU seconds that were used."""
        before, cpu, end = self.bytes, self.cpu(), time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.read(left)
        return self.bytes - before, self.cpu() - cpu

    def cpu(self):
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss(self):
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024

    def keys(self, text):
        os.write(self.master, text.encode())

    def close(self):
        os.kill(self.pid, signal.SIGTERM)
        try:
            while os.read(self.master, 1 << 16):
                pass
        except OSError:
            pass
        os.close(self.master)
        os.waitpid(self.pid, 0)


def median(values):
    return statistics.median(values)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=Path("target/release"))
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--work", type=Path, help="folder with lightbox-demo/ [default: made]")
    parser.add_argument("--save", action="store_true", help="also write docs/benchmarks/DATE-workbench.md")
    args = parser.parse_args()
    program, engine = (str((args.bin / name).resolve()) for name in ("lightbox", "lightbox-fake-engine"))
    work = args.work or Path(tempfile.mkdtemp())
    env = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8", "LIGHTBOX_STATE": str(work / "bench-state"),
           "LIGHTBOX_ENGINE": engine}
    env.pop("SSH_CONNECTION", None)
    if not (work / "lightbox-demo" / "data").exists():
        subprocess.run([program, "demo", "--headless", "--prepare", "--quick"], cwd=work, env=env, check=True)
    rows = []

    def row(name, value, unit, target=None):
        rows.append({"name": name, "value": round(value, 2), "unit": unit, "target": target})
        print(f"{name:<52} {value:>10.2f} {unit}" + (f"   (target {target})" if target else ""), flush=True)

    peers = [name for name in ("htop", "btop") if shutil.which(name)]
    firsts = {name: [] for name in SCREENS + peers}
    for _ in range(args.runs):  # in turns, so that a busy moment of the machine strikes all alike
        for screen in SCREENS:
            p = Program([program, "--screen", screen], env, work)
            firsts[screen].append(1000 * p.until(b"Models"))
            p.close()
        for peer in peers:
            p = Program([peer], env, work)
            firsts[peer].append(1000 * p.until(b"\x1b[?1049h" if peer == "btop" else b"Tasks"))
            p.close()
    for name, values in firsts.items():
        row(f"first frame, {name}", median(values), "ms", "50" if name in SCREENS else None)

    for screen in SCREENS:
        p = Program([program, "--screen", screen], env, work)
        p.until(b"Models")
        p.for_seconds(3)
        sent, cpu = p.for_seconds(args.seconds)
        row(f"quiet screen, {screen}: sent", sent / args.seconds, "bytes/s", "0")
        row(f"quiet screen, {screen}: CPU", 100 * cpu / args.seconds, "%")
        row(f"quiet screen, {screen}: memory", p.rss(), "MB", "60 without pictures")
        p.close()
    for peer in peers:
        p = Program([peer], env, work)
        p.for_seconds(3)
        sent, cpu = p.for_seconds(args.seconds)
        row(f"{peer}: sent", sent / args.seconds, "bytes/s")
        row(f"{peer}: memory", p.rss(), "MB")
        p.close()

    busy = {**env, "LIGHTBOX_FAKE_STEP_MS": "50"}
    run = work / "busy-run"
    shutil.rmtree(run, ignore_errors=True)
    started = subprocess.run([program, "train", "lightbox-demo/demo.yaml", f"output_dir={run}", "max_steps=1000000", "--detach"],
                             cwd=work, env=busy, capture_output=True, text=True)
    if started.returncode:
        raise SystemExit(started.stderr)
    try:
        for over_ssh in (False, True):
            where = {**busy, "SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22"} if over_ssh else busy
            p = Program([program, "--screen", "runs"], where, work)
            attach = 1000 * p.until(b"busy-run")
            p.for_seconds(3)
            sent, cpu = p.for_seconds(args.seconds)
            name = "run of 20 updates a second" + (", over SSH" if over_ssh else "")
            row(f"{name}: attached after", attach, "ms", "1000")
            row(f"{name}: sent", sent / args.seconds, "bytes/s")
            row(f"{name}: CPU", 100 * cpu / args.seconds, "%")
            p.close()
    finally:
        subprocess.run([program, "runs", "stop", str(run)], cwd=work, env=busy, capture_output=True)

    example = args.bin / "examples" / "frames"  # `cargo test --release --workspace --no-run` leaves it there
    frame_command = [str(example)] if example.exists() else ["cargo", "run", "--release", "--quiet", "--example", "frames", "--"]
    frames = subprocess.run([*frame_command, "--json"], capture_output=True, text=True)
    if frames.returncode == 0:
        for line in frames.stdout.splitlines():
            one = json.loads(line)
            row(one["name"], one["value"], one["unit"], one.get("target"))
    else:
        print(frames.stderr, file=sys.stderr)

    if args.save:
        today = datetime.date.today().isoformat()
        lines = [f"# The workbench in a terminal of {COLUMNS}x{LINES}, {today}", "",
                 f"`scripts/measure/workbench.py --save`, medians of {args.runs} starts in turns; {platform.machine()}, {os.cpu_count()} cores, no GPU.", "",
                 "| figure | measured | | target |", "|---|---:|---|---|"]
        lines += [f"| {r['name']} | {r['value']:g} | {r['unit']} | {r['target'] or ''} |" for r in rows]
        path = Path("docs/benchmarks") / f"{today}-workbench.md"
        path.write_text("\n".join(lines) + "\n")
        print(path)


if __name__ == "__main__":
    main()
