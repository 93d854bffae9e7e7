#!/bin/sh
# Trains the demo's base model (assets/demo-model) from nothing: data, three stages.
# About 25 minutes on two CPU cores and 1 GB of disk under saves/. Run it again after an interruption: finished stages
# are kept, an unfinished one goes on from its last checkpoint.
#
# Usage: scripts/train-demo-model.sh [path of the lightbox binary]
set -eu
cd "$(dirname "$0")/.."
lightbox=${1:-target/release/lightbox}
if [ ! -x "$lightbox" ]; then
    echo "train-demo-model: $lightbox is not there; build it first with: make build" >&2
    exit 1
fi

step() {
    printf '\n== %s\n' "$*"
}

# Each stage leaves a mark, for its folder alone does not say that it was finished.
stage() {
    name=$1 profile=$2
    if [ -e "saves/$name.done" ]; then
        echo "$name is finished already (remove saves/$name and saves/$name.done to train it again)"
    else
        "$lightbox" train "$profile"
        touch "saves/$name.done"
    fi
}

step "Data: 26,400 pictures of shapes and what is said about them"
if [ -e saves/demo-base-data.done ]; then
    echo "saves/demo-base-data is there already"
else
    "$lightbox" demo --write-base-data saves/demo-base-data
    touch saves/demo-base-data.done
fi

step "Stage 1 of 3: seeing"
stage demo-base-1 profiles/demo-base-1-vision.yaml
step "Stage 2 of 3: speaking about one shape"
stage demo-base-2 profiles/demo-base-2-language.yaml
step "Stage 3 of 3: two shapes, chat and reports"
stage demo-base-3 profiles/demo-base-3-mixed.yaml

step "Weights to assets/demo-model"
# Only the weights (already bf16, as config.json says): the other files of assets/demo-model are kept by hand.
cp saves/demo-base-3/model.safetensors assets/demo-model/model.safetensors.new
mv assets/demo-model/model.safetensors.new assets/demo-model/model.safetensors
ls -l assets/demo-model/model.safetensors
