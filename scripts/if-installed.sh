#!/bin/sh
# if-installed.sh COMPONENT ARGUMENTS…: runs `cargo COMPONENT ARGUMENTS`; says so where that component is not installed.
if cargo "$1" --version >/dev/null 2>&1; then
    exec cargo "$@"
fi
echo "cargo $1 is not installed: left out (rustup component add rustfmt clippy)"
