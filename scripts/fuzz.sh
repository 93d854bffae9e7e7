#!/bin/sh
# fuzz.sh [TARGET…]: hostile inputs to every reader of the library, FUZZ_SECONDS (60) for each target, all of them by default.
# Inputs that a target found interesting stay in fuzz/corpus/, those that broke it in fuzz/artifacts/. A stable toolchain
# serves, since no sanitizer is used: the library has hardly any unsafe code, and what counts is panics, time and memory.
cd "$(dirname "$0")/.." || exit 1
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "cargo-fuzz is not installed: cargo install cargo-fuzz --locked" >&2
    exit 1
fi
# What each target starts from, besides its own fuzz/seeds/TARGET.
seeds() {
    case $1 in
    dataset_info | json_rows) echo tests/golden/llamafactory/data ;;
    image) echo tests/golden/preprocess/formats tests/golden/images ;;
    parquet) echo tests/golden/parquet ;;
    profile) echo profiles ;;
    esac
}
for target in ${*:-$(cargo fuzz list)}; do
    mkdir -p "fuzz/corpus/$target" "fuzz/seeds/$target"
    echo "-- $target"
    # Inputs up to 64 KiB, half a minute for one of them at most; -rss_limit_mb=0: the targets have a limit of their own.
    # shellcheck disable=SC2046 # several folders
    nice -n 19 cargo fuzz run --release --sanitizer none "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" $(seeds "$target") -- \
        -max_total_time="${FUZZ_SECONDS:-60}" -max_len=65536 -timeout=30 -rss_limit_mb=0 -print_final_stats=1 \
        >"fuzz/corpus/$target.log" 2>&1
    status=$?
    grep -E 'number_of_executed_units|slowest_unit' "fuzz/corpus/$target.log"
    if [ $status -ne 0 ]; then
        tail -n 40 "fuzz/corpus/$target.log"
        exit $status
    fi
done
