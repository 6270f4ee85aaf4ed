# `make` alone prints the targets. Every target sets up what it needs by itself.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH := .bench
# A sandbox that cannot write __pycache__ would pay for compiling at every start, so compile once here.
PIP := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pip --disable-pip-version-check --quiet

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "faasd needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# Made again whenever pyproject.toml changes, so it also works after `git pull`.
$(STAMP): pyproject.toml | $(BIN)/python
	@echo "installing faasd and its development tools (about a minute the first time)"
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --compile --editable . --group dev
	@touch $@

.PHONY: help
help: ## print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | while IFS="$$(printf '\t')" read -r n t; do printf '  make %-13s %s\n' "$$n" "$$t"; done

.PHONY: setup
setup: $(STAMP) ## virtual environment with everything in it
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m compileall -q faasd

.PHONY: demo
demo: setup ## the main job on real input; ends by itself within a minute
	@$(BIN)/faasd demo

.PHONY: run
run: setup ## the daemon in the foreground, on ./faasd.toml (made when missing); Ctrl-C ends it
	@test -e faasd.toml || $(BIN)/faasd init .
	@$(BIN)/faasd run --config faasd.toml

.PHONY: format
format: setup ## rewrite the code the way `make check` wants it
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: check
check: setup ## format, lint, types, import rings, generated files
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m tests.repository.generate --check

.PHONY: generate
generate: setup ## write config.example.toml and the generated pages under docs/
	@$(BIN)/python -m tests.repository.generate

.PHONY: test
test: setup ## the whole test suite except the long fault runs
	@$(BIN)/python -m pytest

.PHONY: test-faults
test-faults: setup ## kill -9 the daemon again and again under load
	@$(BIN)/python -m pytest tests/faults --run-faults

.PHONY: rig-wheels
rig-wheels: setup ## fetch once what the guest of `make test-rig` installs
	@tests/rig/wheels

.PHONY: test-rig
test-rig: ## cgroup v2 and systemd in a virtual machine, where FAASD_RIG names one (tests/rig/README.md)
	@tests/rig/run $(RIG)

# The peers have an environment of their own; redis-server and bubblewrap are used where they are installed.
$(BENCH)/.installed: benchmarks/requirements.txt | $(BIN)/python
	@echo "installing the peers of the benchmarks in $(BENCH)"
	@$(PYTHON) -m venv $(BENCH)
	@PYTHONDONTWRITEBYTECODE= $(BENCH)/bin/python -m pip --disable-pip-version-check --quiet install --compile \
		--requirement benchmarks/requirements.txt
	@touch $@

.PHONY: bench
bench: setup $(BENCH)/.installed ## faasd beside its peers in one run; for example `make bench ARGS="--only queue"`
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: bench-growth
bench-growth: setup $(BENCH)/.installed ## how cost grows with payload, imports, functions, queue depth (minutes; no peers)
	@$(BIN)/python -m benchmarks.growth $(ARGS)

.PHONY: bench-soak
bench-soak: setup ## mixed load for a long time: does anything grow? `make bench-soak ARGS="--minutes 60"`
	@$(BIN)/python -m benchmarks.soak $(ARGS)

.PHONY: clean
clean: ## remove what these targets made
	rm -rf $(VENV) $(BENCH) .demo .rig .mypy_cache .ruff_cache .pytest_cache .hypothesis
