# Every target sets itself up: python3 (3.11 or newer) and make are all it needs.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One file of tests only: make unit ARGS=tests/test_policy.py
ARGS ?=
# How long `make fuzz` looks at each parser.
SECONDS ?= 60

help: ## Show what can be made
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/serve ## Watch thousands of notifications travel, each answered
	@$(BIN)/pushrpc demo

up: $(VENV)/serve ## Run a server with emulated providers until Ctrl-C
	@$(BIN)/pushrpc up

test: check unit ## Run every check and every test

check: $(VENV)/dev ## Check format, lint, types, contract, generated code
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .
	@$(BIN)/mypy
	@PATH="$(CURDIR)/$(BIN):$$PATH" buf format --diff --exit-code proto && PATH="$(CURDIR)/$(BIN):$$PATH" buf lint && echo "buf: contract is clean"
	@PATH="$(CURDIR)/$(BIN):$$PATH" scripts/breaking.sh
	@PYTHON=$(BIN)/python scripts/generate.sh --check

unit: $(VENV)/dev ## Run the tests only; ARGS=tests/rpc narrows them
	@$(BIN)/pytest -q $(ARGS)

bench: $(VENV)/dev ## Measure pushrpc and its peers side by side (needs Go; 20 minutes)
	@$(BIN)/python -m bench run

bench-quick: $(VENV)/dev ## Print the main ratios (needs Go; a minute once built)
	@$(BIN)/python -m bench quick

fuzz: $(VENV)/dev ## Fuzz what providers send, SECONDS=60 for each parser
	@for target in http2 answers; do $(BIN)/python -m tests.fuzz $$target .fuzz/$$target -max_total_time=$(SECONDS) || exit 1; done

bench-check: $(VENV)/dev ## Fail when CPU per push is a tenth worse than agreed (needs Go)
	@$(BIN)/python -m bench check

format: $(VENV)/dev ## Format code and contract
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .
	@PATH="$(CURDIR)/$(BIN):$$PATH" buf format -w proto

generate: $(VENV)/dev ## Write src/pushrpc/v1 from proto/
	@PYTHON=$(BIN)/python scripts/generate.sh

contract: $(VENV)/dev ## Write build/contract: descriptor set and service config, for callers
	@PYTHON=$(BIN)/python scripts/contract.sh

lock: ## Write the lock files (needs uv)
	@scripts/lock.sh

clean: ## Remove what was installed and built here
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .fuzz

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "pushrpc needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3 cannot make a virtual environment here; on Debian: apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }

$(VENV)/serve: $(BIN)/python requirements.lock pyproject.toml
	@echo "Installing pushrpc into $(VENV) (once, about a minute) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/dev: $(VENV)/serve requirements-dev.lock
	@echo "Installing what tests and checks need ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

.PHONY: help demo up test check unit fuzz bench bench-quick bench-check format generate contract lock clean
