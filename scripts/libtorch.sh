#!/bin/sh
# Finds or makes libtorch 2.11, links target/libtorch to it and prints its folder. The first that serves is taken:
#
#   1. $LIBTORCH, if it is set;
#   2. the torch of the python3 on the PATH (that of an activated environment, too);
#   3. .libtorch/, a virtual environment of this folder, filled from PyPI: with an NVIDIA GPU torch and its CUDA
#      packages (3 GB to load), without one the torch wheel and the two CUDA libraries that its CPU half is linked
#      with (0.5 GB).
#
# It may be interrupted and repeated: .libtorch/ counts only with its file `complete`, which is written last.
set -eu
cd "$(dirname "$0")/.."

version=2.11.0 # the one that tch 0.24 is made for

say() { printf '%s\n' "$*" >&2; }
fail() {
    say "lightbox: $*"
    exit 1
}

has_gpu() { nvidia-smi -L >/dev/null 2>&1 || [ -d /proc/driver/nvidia/gpus ]; }

# The version of a libtorch folder (a wheel's version.py or the zip file's build-version); nothing if it is unusable.
version_of() {
    [ -e "$1/lib/libtorch_cpu.so" ] && [ -e "$1/include/ATen/ATen.h" ] || return 0
    if [ -e "$1/version.py" ]; then
        sed -n "s/^__version__ = '\(.*\)'/\1/p" "$1/version.py"
    elif [ -e "$1/build-version" ]; then
        cat "$1/build-version"
    fi
}

# The folder of a Python's torch, found without importing it; nothing if it has none.
torch_of() {
    "$1" -c 'import importlib.util as u; s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")' \
        2>/dev/null || true
}

use() {
    mkdir -p target
    ln -sfn "$1" target/libtorch
    say "libtorch $(version_of "$1"): $1"
    echo "$1"
    exit 0
}

if [ -n "${LIBTORCH:-}" ]; then
    case "$(version_of "$LIBTORCH")" in
    2.11.*) use "$(cd "$LIBTORCH" && pwd -P)" ;; # -P: it may be target/libtorch itself
    '') fail "LIBTORCH=$LIBTORCH is not a libtorch folder with lib/ and include/; correct the variable or unset it." ;;
    *) fail "LIBTORCH=$LIBTORCH is version $(version_of "$LIBTORCH"), but $version is needed; correct the variable or unset it." ;;
    esac
fi

torch=$(torch_of python3)
case "$(version_of "${torch:-/nonexistent}")" in
"$version+cpu")
    if has_gpu; then
        say "The torch of python3 is made for the CPU only and this machine has a GPU: passing it over."
    else
        use "$torch"
    fi
    ;;
"$version" | "$version+"*) use "$torch" ;;
esac

if has_gpu; then kind=cuda need_gb=12; else kind=cpu need_gb=3; fi
if [ "$(cat .libtorch/complete 2>/dev/null)" = "$version $kind" ]; then
    torch=$(torch_of .libtorch/bin/python)
    [ -n "$(version_of "${torch:-/nonexistent}")" ] && use "$torch"
fi

command -v python3 >/dev/null || fail "python3 is missing, which fetches libtorch; install it with: apt install python3 python3-venv"
python3 -c 'import ensurepip, venv' 2>/dev/null || fail "Python's venv module is missing; install it with: apt install python3-venv"
free_gb=$(($(df -Pk . | awk 'NR == 2 { print $4 }') / 1048576))
[ "$free_gb" -ge "$need_gb" ] || fail "libtorch needs $need_gb GB of disk and $(pwd) has $free_gb GB; free some, or set LIBTORCH to a libtorch $version elsewhere."

say "Installing libtorch $version ($kind) into .libtorch/ from PyPI (about $([ $kind = cuda ] && echo 3 || echo 0.5) GB to load)"
rm -rf .libtorch
python3 -m venv .libtorch
pip() { .libtorch/bin/python -m pip --disable-pip-version-check --no-cache-dir --retries 5 "$@" >&2; }
if [ $kind = cuda ]; then
    pip install "torch==$version"
else
    # libtorch_cpu.so of PyPI's wheel is linked with cudart and CUPTI: cuda-toolkit 13.0.2, as the wheel's metadata says.
    pip install 'cuda-toolkit[cudart,cupti]==13.0.2' && pip install --no-deps "torch==$version"
fi || fail "pip could not install torch $version (its reason stands above); check the network and that python3 is 3.10 to 3.14, then repeat the command, or set LIBTORCH to a libtorch $version."
torch=$(torch_of .libtorch/bin/python)
# The CUDA half without its libraries can never be loaded: half a gigabyte for nothing.
[ $kind = cuda ] || rm -f "$torch"/lib/libtorch_cuda*.so "$torch"/lib/libtorch_nvshmem.so
echo "$version $kind" >.libtorch/complete
use "$torch"
