#!/usr/bin/env python3
"""Pictures of every screen of the workbench, from the real program in a pseudo-terminal.

    pictures.py --bin target/release --out docs/images [--only runs] [--work DIR]

Needs Pillow and pyte, and the fonts that terminal-picture.py names. The demo's content and a second run are made in DIR (a
temporary folder) unless they are there already. What stands in a picture was computed: nothing is drawn that did not happen.
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
        "pgdn": "\x1b[6~", "ctrl-u": "\x15", "ctrl-p": "\x10", "F5": "\x1b[15~", "F8": "\x1b[19~", "F9": "\x1b[20~"}
DEMO = "lightbox-demo"
GENTLER = ["learning_rate=2e-3", "val_size=0.1", "eval_strategy=steps", "eval_steps=50"]
# written anew for each picture: the workbench changes it
SETTINGS = f"""tour_seen: true
theme: dark
last:
  profile: {DEMO}/demo.yaml
  dataset_dir: {DEMO}/data
  model: {DEMO}/model
  adapter: {DEMO}/adapter
"""


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

    def settle(self, quiet=0.7, most=2):
        end = time.monotonic() + most
        while time.monotonic() < end and self.read(quiet):
            pass

    def wait(self, text, most=60, gone=False):
        """Until the text stands somewhere, or no longer does; `a|b`: either, for the two languages."""
        end = time.monotonic() + most
        while time.monotonic() < end:
            if any(word in line for word in text.split("|") for line in self.display()) != gone:
                return
            self.read(0.5)
        raise SystemExit(f"{text!r} {'did not go' if gone else 'did not appear'}:\n" + "\n".join(self.display()))

    def display(self):
        return ["".join(self.screen.buffer[y][x].data for x in range(self.screen.columns)) for y in range(self.screen.lines)]

    def keys(self, words, lang):
        for word in words:
            kind, _, rest = word.partition(":")
            if kind in ("wait", "gone"):
                self.wait(rest, gone=kind == "gone")
                self.settle()
            elif kind == "sleep":
                self.settle(most=float(rest), quiet=float(rest))
            elif kind == "say":
                os.write(self.master, rest.split("|")[lang == "zh"].encode())
                self.settle()
            elif kind == "paste":
                os.write(self.master, f"\x1b[200~{rest}\x1b[201~".encode())
                self.settle()
            else:
                alt = word.startswith("alt-")
                os.write(self.master, (b"\x1b" if alt else b"") + KEYS.get(word, word.removeprefix("alt-")).encode())
                self.settle()

    def close(self):
        os.kill(self.pid, signal.SIGTERM)
        os.close(self.master)
        os.waitpid(self.pid, 0)


# name, screen, columns, keys before the picture is taken; `say:a|b`: a in English, b in Chinese
OPEN = ["wait:phantoms", "sleep:1", "enter", "wait:This is a", "J", "say:2|3", "enter", "wait:hemorrhage|水肿"]
SHOTS = [
    ("data", "data", 140, OPEN),
    ("data-seen", "data", 140, [*OPEN, "t", "wait:<|im_start|>"]),
    ("train", "train", 140, ["wait:lora_rank", "wait:≈"]),
    # the most likely words, so that the picture is the same each time
    ("chat", "chat", 170, ["sleep:2", "paste:./lightbox-demo/sample.png", "wait:sample.png", "alt-o", "do_sample", "enter",
                           "say:What is the diagnosis in the image?|图片中的诊断结果是什么？", "enter", "wait:tok/s", "alt-c", "sleep:5"]),
    ("models", "models", 140, ["wait:checkpoint-", "down", "sleep:1"]),
    ("runs", "runs", 140, ["wait:gentler", "sleep:2", "space", "down", "space", "up", "l", "sleep:2"]),
]
LINES = 40


def prepare(program, work, env):
    """The demo's content with its finished run, and a second run that is under way while the pictures are taken."""
    def lightbox(*words):
        subprocess.run([program, *words], cwd=work, env=env, check=True)

    (work / "state").mkdir(parents=True, exist_ok=True)
    if not (work / DEMO / "adapter" / "adapter_model.safetensors").exists():
        lightbox("demo", "--headless", "--quick", "--dir", DEMO)
    if not (work / DEMO / "gentler").exists():
        lightbox("train", f"{DEMO}/demo.yaml", f"output_dir={DEMO}/gentler", *GENTLER, "--detach")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=Path("target/release"))
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--work", type=Path)
    parser.add_argument("--only")
    parser.add_argument("--font", default="DejaVuSansMono.ttf")
    parser.add_argument("--wide-font", default="NotoSansCJK-Regular.ttc")
    args = parser.parse_args()
    work = (args.work or Path(tempfile.mkdtemp())).resolve()
    program = str((args.bin / "lightbox").resolve())
    env = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8", "LIGHTBOX_STATE": str(work / "state"),
           "LIGHTBOX_GRAPHICS": "blocks", "HF_HOME": str(work / "huggingface")}
    prepare(program, work, env)
    font, wide = ImageFont.truetype(args.font, 16), ImageFont.truetype(args.wide_font, 16)
    for name, screen, columns, keys in SHOTS:
        if args.only and args.only != name:
            continue
        for lang in ("en", "zh"):
            (work / "state" / "settings.yaml").write_text(SETTINGS)
            terminal = Terminal([program, "--screen", screen, "--lang", lang], columns, LINES, env, work)
            terminal.wait("1 " + ("Data" if lang == "en" else "数据"), 20)
            terminal.keys(keys, lang)
            path = args.out / f"{name}{'' if lang == 'en' else '-zh'}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            # 256 colours are enough for a terminal, and a quarter of the size
            picture.draw(terminal.screen, font, wide).quantize(256).save(path, optimize=True)
            terminal.close()
            print(path, file=sys.stderr)


if __name__ == "__main__":
    main()
