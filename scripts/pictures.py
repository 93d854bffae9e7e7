#!/usr/bin/env python3
"""Pictures of every screen of the workbench, from the real program in a pseudo-terminal.

    pictures.py --bin target/release --out docs/images [--only runs] [--work DIR]

Needs Pillow and pyte, and the fonts that terminal-picture.py names. The demo's content is made in DIR (a temporary folder)
unless it is there already.
"""
import argparse
import fcntl
import importlib.util
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

import pyte
from PIL import ImageFont

spec = importlib.util.spec_from_file_location("terminal_picture", Path(__file__).with_name("terminal-picture.py"))
picture = importlib.util.module_from_spec(spec)
spec.loader.exec_module(picture)

KEYS = {"enter": "\r", "esc": "\x1b", "tab": "\t", "space": " ", "down": "\x1b[B", "up": "\x1b[A", "left": "\x1b[D", "right": "\x1b[C",
        "pgdn": "\x1b[6~", "ctrl-p": "\x10", "F5": "\x1b[15~", "F8": "\x1b[19~", "F9": "\x1b[20~"}


class Terminal:
    """The workbench in a pseudo-terminal; answers the one question that every terminal answers."""

    def __init__(self, command, columns, lines, env, cwd):
        self.screen = pyte.Screen(columns, lines)
        self.stream = pyte.ByteStream(self.screen)
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execvpe(command[0], command, env)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, columns * 10, lines * 20))

    def read(self, seconds):
        """Whether anything came within so many seconds."""
        ready, _, _ = select.select([self.master], [], [], seconds)
        if not ready:
            return False
        data = os.read(self.master, 1 << 16)
        if b"\x1b[c" in data:
            os.write(self.master, b"\x1b[?62;22c")
        self.stream.feed(data)
        return True

    def settle(self, quiet=0.7, most=20):
        end = time.monotonic() + most
        while time.monotonic() < end and self.read(quiet):
            pass

    def wait(self, text, most=180):
        end = time.monotonic() + most
        while time.monotonic() < end:
            if any(text in line for line in self.screen.display):
                return
            self.read(0.5)
        raise SystemExit(f"{text!r} did not appear:\n" + "\n".join(self.screen.display))

    def keys(self, words):
        for word in words:
            if word.startswith("wait:"):
                self.wait(word.removeprefix("wait:"))
            elif word.startswith("sleep:"):
                self.settle(most=float(word.removeprefix("sleep:")), quiet=float(word.removeprefix("sleep:")))
            else:
                os.write(self.master, KEYS.get(word, word).encode())
                self.settle()

    def close(self):
        os.kill(self.pid, signal.SIGTERM)
        os.close(self.master)
        os.waitpid(self.pid, 0)


# name, columns, lines, screen, keys before the picture is taken
SHOTS = [
    ("data", 140, 40, "data", ["sleep:2", "down", "down", "sleep:2"]),
    ("train", 140, 40, "train", ["sleep:2"]),
    ("runs", 140, 40, "runs", ["sleep:3"]),
    ("chat", 140, 40, "chat", ["sleep:2"]),
    ("models", 140, 40, "models", ["sleep:2"]),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=Path("target/release"))
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--work", type=Path)
    parser.add_argument("--only")
    parser.add_argument("--font", default="DejaVuSansMono.ttf")
    parser.add_argument("--wide-font", default="NotoSansCJK-Regular.ttc")
    args = parser.parse_args()
    work = args.work or Path(tempfile.mkdtemp())
    program = str((args.bin / "lightbox").resolve())
    env = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8", "LIGHTBOX_STATE": str(work / "state"),
           "LIGHTBOX_GRAPHICS": "blocks"}
    if not (work / "lightbox-demo" / "adapter").exists():
        subprocess.run([program, "demo", "--headless", "--dir", "lightbox-demo"], cwd=work, env=env, check=True)
    (work / "state").mkdir(exist_ok=True)
    font, wide = ImageFont.truetype(args.font, 16), ImageFont.truetype(args.wide_font, 16)
    for lang in ("en", "zh"):
        for name, columns, lines, screen, keys in SHOTS:
            if args.only and args.only != name:
                continue
            terminal = Terminal([program, "--screen", screen, "--lang", lang], columns, lines, env, work)
            terminal.wait("1 " + ("Data" if lang == "en" else "数据"), 20)
            terminal.keys(keys)
            path = args.out / f"{name}{'' if lang == 'en' else '-zh'}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.draw(terminal.screen, font, wide).save(path, optimize=True)
            terminal.close()
            print(path, file=sys.stderr)


if __name__ == "__main__":
    main()
