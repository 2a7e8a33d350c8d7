# Everything is built in the release profile, so that every dependency is compiled once.

TORCH := torch/find-libtorch cargo
N ?= 1000000
PART ?= 1
TARGET := $(or $(CARGO_TARGET_DIR),target)
TEXTGEN := $(TARGET)/release/textgen

.PHONY: help demo build test torture soak test-aarch64 test-engine package lint wheel test-python bench bench-training torch test-torch lint-torch gpu-check libtorch clean

help:        ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: build  ## train both models for about a minute in all, and generate from each
	$(TEXTGEN) vocab fairy-tales.txt
	$(TEXTGEN) train --model char-lstm --minutes 0.6
	$(TEXTGEN) generate --temperature 0.5 --length 400
	$(TEXTGEN) train --model word-vae --minutes 0.4
	$(TEXTGEN) generate --temperature 0.8 --count 20
	@printf '\nThe runs are under runs/; `%s runs` lists them.\nNext: %s train --model char-lstm --minutes 15, or your own text:\n      %s vocab my.txt\n' \
		$(TEXTGEN) $(TEXTGEN) $(TEXTGEN)

build:       ## build textgen
	cargo build --release

test:        ## run every test that needs only cargo
	cargo test --release

torture: build  ## attack every change of a file, every reader, every command and the threads (hours; N=executions of each fuzz target)
	TEXTGEN_TORTURE=1 cargo test --release --lib -- --nocapture --test-threads 1 torture:: whatever_goes_wrong
	cd fuzz && cargo run --release -- $(N)
	cargo test --release --test cli -- --ignored --nocapture every_command_under_every_limit
	tests/instruments

soak: build  ## long runs with flat memory, and a training stopped 500 times (a quarter of an hour; PART=0.01 of it)
	tests/soak $(TEXTGEN) $(PART)

test-aarch64:  ## the library's tests on an emulated Arm machine, and the same texts and weights as natively
	tests/aarch64

test-engine: ## build the engine of web pages again and compare (needs rustup target add wasm32-unknown-unknown)
	TEXTGEN_TEST_ENGINE=1 cargo test --release --test cli page::the_engine_is

package: build wheel  ## the .deb (under target/package) and the wheel; uses the .deb in an empty root
	package/deb
	package/test

lint:        ## check the format, and clippy with warnings as errors
	cargo fmt --all --check
	cargo clippy --release --all-targets -- -D warnings
	cd fuzz && cargo clippy --release --target-dir $(abspath $(TARGET)) -- -D warnings
	command -v python3 > /dev/null || export PYO3_NO_PYTHON=1; cargo clippy --release -p textgen-python -- -D warnings
	@if ! cargo deny --version > /dev/null 2>&1; then \
		echo "skipped: cargo deny check, which needs cargo-deny (cargo install cargo-deny)"; \
	elif cargo deny fetch db > /dev/null 2>&1; then cargo deny check; \
	else echo "skipped: cargo deny check advisories, whose database is out of reach"; cargo deny check bans licenses sources; fi

wheel:       ## build the Python wheel in target/wheels (needs python3 with pip)
	test -x $(TARGET)/maturin/bin/maturin || { python3 -m venv $(TARGET)/maturin && \
		$(TARGET)/maturin/bin/pip install --quiet --disable-pip-version-check maturin==1.16.0; }
	rm -f $(TARGET)/wheels/textgen_char-*.whl
	$(TARGET)/maturin/bin/maturin build --release -m python/Cargo.toml --out $(TARGET)/wheels

test-python: wheel  ## install the wheel in a fresh environment; test it, and check its types
	rm -rf $(TARGET)/python && python3 -m venv $(TARGET)/python
	$(TARGET)/python/bin/pip install --quiet --disable-pip-version-check $(TARGET)/wheels/textgen_char-*.whl mypy pytest
	cd python/tests && $(abspath $(TARGET))/python/bin/mypy --strict . ../../examples/python
	TEXTGEN=$(abspath $(TEXTGEN)) $(TARGET)/python/bin/pytest --quiet -p no:cacheprovider python/tests

bench:       ## time the parts, then sampling against PyTorch (PEER=python that has torch; BENCH=--quick)
	cargo bench --bench native --bench vocab --bench kernels
	bench/sampling.py $(BENCH)

bench-training:  ## training against PyTorch (PEER and BENCH as above; BENCH='--words FILE')
	bench/training.py $(BENCH)

torch: build libtorch  ## build textgen-torch beside textgen: training on a GPU
	$(TORCH) build --release -p textgen-torch

test-torch: libtorch  ## hold the native engine against libtorch's autograd, and test textgen-torch
	$(TORCH) test --release -p textgen-torch

lint-torch: libtorch  ## lint, for textgen-torch
	$(TORCH) clippy --release -p textgen-torch --all-targets -- -D warnings

gpu-check: torch  ## what only a machine with a GPU can check (PEER=python that has torch for CUDA)
	TEXTGEN=$(abspath $(TEXTGEN)) CARGO="$(abspath torch/find-libtorch) cargo" tests/gpu-check
	TEXTGEN=$(abspath $(TEXTGEN)) bench/gpu

libtorch:    ## find libtorch, or fetch a private copy into target/libtorch
	@torch/find-libtorch

clean:       ## remove what was compiled; libtorch and the runs stay
	cargo clean --release
