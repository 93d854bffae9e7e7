#!/bin/sh
# Says in one sentence which build tool is missing and how to get it on Debian; prints nothing when all are there.
set -eu
need() { command -v "$1" >/dev/null || { echo "lightbox: $1 is missing; install it with: $2" >&2 && exit 1; }; }

need cargo "apt install curl && curl https://sh.rustup.rs -sSf | sh"
need c++ "apt install g++"
need python3 "apt install python3 python3-venv"
