# Everything is built in the release profile, so that libtorch's bindings are compiled once.

CARGO := torch/find-libtorch cargo
TEXTGEN := $(or $(CARGO_TARGET_DIR),target)/release/textgen

.PHONY: help demo build test test-aarch64 lint bench bench-training gpu-check libtorch clean

help:        ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: build  ## train both models for about two minutes in all, and generate from each
	$(TEXTGEN) vocab fairy-tales.txt
	$(TEXTGEN) train --model char-lstm --minutes 1.5
	$(TEXTGEN) generate --temperature 0.5 --length 400
	$(TEXTGEN) train --model word-vae --minutes 0.7
	$(TEXTGEN) generate --temperature 0.8 --count 20
	@printf '\nThe runs are under runs/; `%s runs` lists them.\nNext: %s train --model char-lstm --minutes 15, or your own text:\n      %s vocab my.txt\n' \
		$(TEXTGEN) $(TEXTGEN) $(TEXTGEN)

build: libtorch  ## build textgen and textgen-torch
	$(CARGO) build --release --workspace

test: build  ## run every test
	$(CARGO) test --release --workspace

test-aarch64:  ## the library's tests on an emulated Arm machine, and the same texts and weights as natively
	tests/aarch64

lint: libtorch  ## check the format, and clippy with warnings as errors
	cargo fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings

bench:       ## time the parts, then sampling against PyTorch (PEER=python that has torch; BENCH=--quick)
	cargo bench --bench native --bench vocab --bench kernels
	bench/sampling.py $(BENCH)

bench-training: libtorch  ## training against PyTorch (PEER and BENCH as above; BENCH='--words FILE')
	bench/training.py $(BENCH)

gpu-check: build  ## what only a machine with a GPU can check (PEER=python that has torch for CUDA)
	TEXTGEN=$(abspath $(TEXTGEN)) CARGO="$(abspath torch/find-libtorch) cargo" tests/gpu-check
	TEXTGEN=$(abspath $(TEXTGEN)) bench/gpu

libtorch:    ## find libtorch, or fetch a private copy into target/libtorch
	@torch/find-libtorch

clean:       ## remove what was compiled; libtorch and the runs stay
	cargo clean --release
