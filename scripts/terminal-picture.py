#!/usr/bin/env python3
"""A picture of a real terminal: runs a command in a pseudo-terminal and draws the last screen that it showed.

    terminal-picture.py docs/images/demo.png -- target/release/lightbox demo --headless

Needs Pillow and pyte (a terminal emulator), and a monospaced font; --wide-font is for Chinese.
"""
import argparse
import os
import pty
import struct
import sys
import termios
from fcntl import ioctl
from pathlib import Path

import pyte
from PIL import Image, ImageDraw, ImageFont

COLOURS = {"default": "#d4d4d4", "black": "#1e1e1e", "red": "#f14c4c", "green": "#6ac06a", "brown": "#d7ba5f", "blue": "#5f9fe0",
           "magenta": "#c586c0", "cyan": "#4ec9c0", "white": "#e8e8e8"}
BACKGROUND = "#1e1e1e"
MARGIN = 16
BLOCKS = {"▀": (0, 0.5), **{chr(0x2580 + n): (1 - n / 8, 1) for n in range(1, 9)}}

# where the dots of U+2800 stand, by bit
BRAILLE = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)]


def record(command: list[str], columns: int, lines: int) -> pyte.Screen:
    """The screen after the command has ended."""
    screen = pyte.Screen(columns, lines)
    stream = pyte.ByteStream(screen)
    pid, master = pty.fork()
    if pid == 0:
        ioctl(sys.stdout.fileno(), termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        os.execvpe(command[0], command, {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": str(lines)})
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:  # Linux's way of saying that the other side is closed
            break
        if not data:
            break
        stream.feed(data)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != 0:
        raise SystemExit(f"exit code {status}: {' '.join(command)}")
    return screen


def colour(name: str) -> str:
    """pyte's names: a colour of the table, its bright twin, or six hexadecimal digits."""
    return COLOURS.get(name.removeprefix("bright"), f"#{name}")


def colours(cell) -> tuple[str, str]:
    """Of the text and of what is behind it."""
    front, back = colour(cell.fg), BACKGROUND if cell.bg == "default" else colour(cell.bg)
    return (back, front) if cell.reverse else (front, back)


def draw(screen: pyte.Screen, font: ImageFont.FreeTypeFont, wide: ImageFont.FreeTypeFont) -> Image.Image:
    width, (ascent, descent) = round(font.getlength("M")), font.getmetrics()
    height = ascent + descent
    used = max((y for y in range(screen.lines) if screen.display[y].strip()), default=0) + 1
    image = Image.new("RGB", (screen.columns * width + 2 * MARGIN, used * height + 2 * MARGIN), BACKGROUND)
    pen = ImageDraw.Draw(image)
    cells = [(y, x, screen.buffer[y][x]) for y in range(used) for x in range(screen.columns)]
    # all backgrounds first: the second cell of a wide character would cover its right half
    for y, x, cell in cells:
        back = colours(cell)[1]
        if back != BACKGROUND:
            pen.rectangle([MARGIN + x * width, MARGIN + y * height, MARGIN + (x + 1) * width - 1, MARGIN + (y + 1) * height - 1], fill=back)
    drop = ascent - wide.getmetrics()[0]
    for y, x, cell in cells:
        front, place = colours(cell)[0], (MARGIN + x * width, MARGIN + y * height)
        if cell.data in BLOCKS:  # drawn, not written: pictures are made of them, and fonts leave gaps between lines
            top, bottom = BLOCKS[cell.data]
            pen.rectangle([place[0], place[1] + round(top * height), place[0] + width - 1, place[1] + round(bottom * height) - 1], fill=front)
        elif 0x2800 <= ord(cell.data[:1] or " ") < 0x2900:  # curves are drawn with braille, which many fonts lack
            dots = ord(cell.data[0]) - 0x2800
            for bit, (across, down) in enumerate(BRAILLE):
                left, top = place[0] + width * (2 * across + 1) // 4, place[1] + height * (2 * down + 1) // 8
                if dots >> bit & 1:
                    pen.rectangle([left - 1, top - 1, left + 1, top + 1], fill=front)
        elif cell.data.strip() and ord(cell.data[0]) >= 0x2E80:
            pen.text((place[0] + 2, place[1] + drop), cell.data, fill=front, font=wide, stroke_width=int(cell.bold) * 0.3)
        elif cell.data.strip():
            pen.text(place, cell.data, fill=front, font=font, stroke_width=int(cell.bold) * 0.3)
    return image


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--columns", type=int, default=100)
    parser.add_argument("--lines", type=int, default=40)
    parser.add_argument("--font", default="DejaVuSansMono.ttf")
    parser.add_argument("--wide-font", help="for Chinese [default: --font]")
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    font = ImageFont.truetype(args.font, 16)
    image = draw(record(args.command, args.columns, args.lines), font, ImageFont.truetype(args.wide_font or args.font, 16))
    args.picture.parent.mkdir(parents=True, exist_ok=True)
    image.save(args.picture, optimize=True)


if __name__ == "__main__":
    main()
