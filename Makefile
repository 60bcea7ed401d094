# SPDX-License-Identifier: Apache-2.0
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

KERNEL ?= 6.1
FUZZ_SECONDS ?= 60
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# pip's progress without its chatter.
STEPS := sed -nE 's/^ *(Downloading|Building|Installing) .*/&/p'

# What the compiled parts depend on. The stamp carries its hash in its name: with nothing changed
# a build is one look-up.
INPUTS := $(sort $(wildcard pyproject.toml setup.py src/bpflock/kernel/*_build.py src/bpflock/kernel/*.h) \
	$(shell find bpf -name '*.[ch]' 2>/dev/null))
HASH := $(shell { $(PYTHON) -V; sha256sum $(INPUTS); } 2>&1 | sha256sum | cut -c 1-16)
BUILT := .venv/.built-$(HASH)
ATTACK := build/attack

CHECKED := $(wildcard src/bpflock vm bench tests)
LSM := /sys/kernel/security/lsm

# The kernel that was asked for, or nothing.
CHOSEN = $(if $(filter command environment,$(firstword $(origin KERNEL))),--kernel $(KERNEL))

.PHONY: help build run test lint unit fuzz kernel-test image-test redteam mutants bench man container wheel deb clean

help: ## list the targets
	@sed -En 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14
	@echo
	@echo 'KERNEL=6.1|6.12|newest|5.10 chooses the kernel of run, bench, kernel-test and redteam;'
	@echo 'FUZZ_SECONDS=600 SEED=7 TARGETS="language kernel" are for fuzz.'
	@echo 'TESTS="-k kimglock" passes arguments to pytest.'
	@echo 'Kernel tests that passed run again when something has changed, or with FORCE=1.'

build: $(BUILT) $(ATTACK) ## compile, and install into .venv
	@:

$(BUILT):
	@scripts/setup build
	@$(BIN)/python -c '' 2>/dev/null || { echo 'build: creating .venv'; $(PYTHON) -m venv --clear .venv; }
	@echo 'build: installing the build requirements'
	@$(BIN)/python -c 'import tomllib; \
		print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
		>.venv/build-requirements.txt
	@$(PIP) install -r .venv/build-requirements.txt | $(STEPS)
	@echo 'build: compiling the BPF programs and the extension'
	@$(PIP) install --no-build-isolation -e '.[dev]' | $(STEPS)
	@rm -f .venv/.built-*
	@touch $@

# What the kernel tests and the tour provoke the locks with.
$(ATTACK): $(wildcard attacks/*.[ch] attacks/login/*.[ch]) attacks/Makefile | $(BUILT)
	@echo 'build: compiling the attacks'
	@mkdir -p $(@D)
	@$(MAKE) -s -C attacks OUT=$(abspath $@)

run: build ## run bpflock here if this kernel can, else a tour of it in a virtual machine
ifeq ($(origin KERNEL),command line)
	@$(MAKE) -s tour
else
	@if [ ! -r $(LSM) ]; then \
		echo 'run: cannot read $(LSM), so whether this kernel has BPF LSM is unknown: using a virtual machine.'; \
		$(MAKE) -s tour; \
	elif ! grep -qw bpf $(LSM); then \
		echo "run: 'bpf' is not among this kernel's security modules ($$(cat $(LSM))): using a virtual machine."; \
		$(MAKE) -s tour; \
	else \
		exec $(BIN)/bpflock run; \
	fi
endif

.PHONY: tour
tour: build
	@scripts/setup vm
	@echo 'run: booting a virtual machine for a tour of bpflock, about a minute without KVM'
	@$(BIN)/python -m vm run --kernel $(KERNEL) -- $(BIN)/python -m tour

test: build ## lint, unit tests, and the tests in virtual machines on all kernels
	@$(MAKE) -j lint unit fetch
	@$(MAKE) kernel-test

lint: build ## formatting, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict $(CHECKED)

unit: build ## tests that need no kernel
	$(BIN)/python -m pytest tests/unit $(TESTS)

# What the virtual machines need: while lint and unit tests run.
.PHONY: fetch
fetch: build
	@scripts/setup vm test image
	@$(BIN)/python -m vm.suite --fetch

kernel-test: build ## tests on real kernels, in virtual machines
	@scripts/setup vm test image
	@$(MAKE) -s deb
	@$(BIN)/python -m vm.suite $(if $(FORCE),--force) \
		$(CHOSEN) -- $(TESTS)

image-test: build ## tests under systemd and with containers, in a virtual machine
	@scripts/setup vm image
	@$(MAKE) -s deb
	@$(BIN)/python -m vm.suite --image $(if $(FORCE),--force) \
		$(CHOSEN) -- $(TESTS)

redteam: build ## attacks on confined programs, as a table; JSON=1 for JSON
	@scripts/setup vm test
	@kernels='$(or $(CHOSEN),--kernel 6.1 --kernel 6.12 --kernel newest)' status=0; \
	$(BIN)/python -m vm.suite $$kernels -- -m redteam >&2 || status=1; \
	$(BIN)/python -m tests.redteam_table $$kernels $(if $(JSON),--json) || status=1; \
	exit $$status

fuzz: build ## look for inputs that break something, for FUZZ_SECONDS each
	@scripts/setup vm test
	@$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) --kernel $(KERNEL) $(if $(SEED),--seed $(SEED)) $(TARGETS)

mutants: build ## faults that a test must notice, one at a time; KERNEL=6.1: those whose tests need a kernel
	@$(if $(CHOSEN),scripts/setup vm test &&) $(BIN)/python -m tests.mutants $(CHOSEN) $(TESTS)

bench: build ## what the hooks cost, in instructions
	@scripts/setup vm bench
	@$(BIN)/python -m bench.build
	@$(BIN)/python -m vm run --icount --kernel $(KERNEL) -- $(BIN)/python -m bench

man: build ## manual pages and completion scripts in build/, for the wheel
	@$(BIN)/python -m bpflock.cli.manual build/man
	@mkdir -p build/completion/bash build/completion/zsh build/completion/fish
	@$(BIN)/bpflock completion bash >build/completion/bash/bpflock
	@$(BIN)/bpflock completion zsh >build/completion/zsh/_bpflock
	@$(BIN)/bpflock completion fish >build/completion/fish/bpflock.fish

container: wheel ## wheels in build/wheels, and how to build the container image from them
	@rm -rf build/wheels
	@$(PIP) wheel -q -w build/wheels --find-links dist "$$(ls -t dist/bpflock-*.whl | head -1)[session]"
	@echo 'podman build -t bpflock -f deploy/container/Containerfile build/wheels'

wheel: build man ## a wheel in dist/ that needs nothing but Python
	@scripts/wheel

deb: wheel ## a Debian package in dist/, for this machine's release
	@scripts/deb build/wheel/bpflock-*.whl

clean: ## remove what was built, .venv too; kernels stay in the cache
	rm -rf .venv build dist src/*.egg-info src/bpflock/kernel/objects .mypy_cache .pytest_cache .ruff_cache
	find src bpf tests vm bench \( -name '*.o' -o -name '*.so' -o -name '__pycache__' \) -prune -exec rm -rf {} + 2>/dev/null || true
