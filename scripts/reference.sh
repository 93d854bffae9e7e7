#!/bin/sh
# Makes .reference/, the environment that parity tests, benchmarks and golden-data scripts compare with: PyTorch,
# transformers and PEFT in the versions of reference-requirements.txt. PyPI's torch brings its CUDA packages along,
# with or without a GPU: about 3 GB to load, 6 GB on disk. Safe to interrupt and repeat: `complete` is written last.
set -eu
cd "$(dirname "$0")/.."

scripts/tools.sh
python3 -c 'import ensurepip, venv' 2>/dev/null || {
    echo "lightbox: Python's venv module is missing; install it with: apt install python3-venv" >&2
    exit 1
}
rm -rf .reference
python3 -m venv .reference
.reference/bin/python -m pip --disable-pip-version-check --no-cache-dir --retries 5 install --progress-bar off --quiet \
    -r scripts/reference-requirements.txt || {
    echo "lightbox: pip could not fill .reference/ (its reason stands above); check the network, 8 GB of disk and that python3 is 3.10 to 3.14, then repeat the command." >&2
    exit 1
}
date >.reference/complete
