# Lightbox in two commands: `make demo` and `make test`. Everything they fetch or build stays in this folder.

BIN    := $(or $(CARGO_TARGET_DIR),target)/release
STEP   := @scripts/step.sh
# The Python with transformers and PEFT that tests and benchmarks compare with; `make reference` makes it.
PEER   := $(or $(LIGHTBOX_REFERENCE_PYTHON),$(CURDIR)/.reference/bin/python)
# Tests and benchmarks compare numbers and times, so they compute in one thread. The demo and training use all cores.
TESTED := env OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE HF_HUB_OFFLINE=1 LIGHTBOX_REFERENCE_PYTHON=$(PEER)

.PHONY: help demo build libtorch test torture lint reference fuzz bench gpu-check clean
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

demo: build ## train, evaluate and ask the embedded model, on any machine, in a few minutes
	$(STEP) "Demo" sh -c '[ -t 0 ] && [ -t 1 ] && exec $(BIN)/lightbox demo || exec $(BIN)/lightbox demo --headless'

build: libtorch ## both programs: target/release/lightbox and target/release/lightbox-engine
	$(STEP) "Build" cargo build --release --workspace

libtorch: ## find libtorch 2.11, or install it into .libtorch/
	@scripts/tools.sh
	$(STEP) "libtorch" scripts/libtorch.sh

test: build ## all tests (those that compare with PEFT need `make reference` once)
	$(STEP) "Build of the tests" cargo test --release --workspace --no-run
	$(STEP) "Tests" $(TESTED) cargo test --release --workspace --no-fail-fast

torture: build ## 20 times as many kills, faults and races, and a data set of 25 million samples (hours)
	$(STEP) "Build of the tests" cargo test --release --test survive --test scale --no-run
	$(STEP) "Torture" $(TESTED) LIGHTBOX_TORTURE=20 cargo test --release --test survive --test scale -- --nocapture --test-threads 2

lint: libtorch ## formatting, and warnings as errors
	$(STEP) "Formatting" scripts/if-installed.sh fmt --all --check
	$(STEP) "Clippy" scripts/if-installed.sh clippy --release --workspace --all-targets -- -D warnings

reference: $(if $(LIGHTBOX_REFERENCE_PYTHON),,.reference/complete) ## transformers and PEFT in .reference/ (3 GB to load)

.reference/complete: scripts/reference-requirements.txt
	$(STEP) "Reference environment" scripts/reference.sh

fuzz: ## hostile inputs to every reader, a minute each (FUZZ_SECONDS=600: longer; needs cargo-fuzz)
	$(STEP) "Fuzzing" scripts/fuzz.sh $(TARGETS)

bench: build reference ## speed beside transformers + PEFT: target/bench.json (SAVE=1: also in docs/benchmarks/)
	$(STEP) "Build of the preprocessing bench" cargo build --release -p lightbox-core --example preprocess
	$(STEP) "Benchmark" $(TESTED) $(PEER) scripts/measure/bench.py --bin $(BIN) $(if $(SAVE),--save)

gpu-check: build ## parity, speed and memory on an NVIDIA GPU (ARGS="--cpu --tiny" tries the script without one)
	$(STEP) "GPU check" scripts/gpu-check --bin $(BIN) $(ARGS)

clean: ## remove all that was built and fetched
	rm -rf target .libtorch .reference
