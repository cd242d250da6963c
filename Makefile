# One command each; all of them set up `.venv` by themselves when it is missing or out of date.
# PYTHON=/path/to/python3.12 make test   chooses the interpreter (>= 3.11).

.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.astrarium-stamp
UV_VERSION = $(shell sed -n 's/^uv==\([0-9.]*\).*/\1/p' requirements.lock)
# Tests start hundreds of processes, each of which would compile anew what is told not to be kept.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest
WORKERS ?= auto
ARGS ?=

.PHONY: help setup demo test test-all check serve bench lock ratchet

help: ## print this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with the locked libraries (done by the others when needed)

$(STAMP): pyproject.toml requirements.lock Makefile .ci/find-python
	@python="$$(PYTHON='$(PYTHON)' .ci/find-python)" || exit 1; \
	 if ! [ -x $(BIN)/python ] || ! $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	   echo "making $(VENV) with $$python"; rm -rf $(VENV); "$$python" -m venv $(VENV); fi
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv==$(UV_VERSION)'
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode --require-hashes -r requirements.lock
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q src  # so that the first start of a command is as fast as the second
	@touch $(STAMP)

demo: $(STAMP) ## start a server, run three example DAGs, show them live, end clean
	@$(BIN)/python examples/demo.py $(ARGS)

serve: $(STAMP) ## run the server (http://127.0.0.1:8080); ARGS="--port 8000" and the like
	@$(BIN)/astrarium server $(ARGS)

test: $(STAMP) ## the tests of every change: at most five minutes, Python only
	@$(PYTEST) -m "not all and not postgres" -n $(WORKERS) --dist loadfile $(ARGS)

test-all: $(STAMP) check ## everything else: PostgreSQL, simulated worlds, kills, full fuzz (at most fifteen minutes more)
	@$(PYTEST) -m "all or postgres" -n $(WORKERS) --dist loadfile $(ARGS)

check: $(STAMP) ## ruff, mypy and the import contracts
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(STAMP) ## measure speed; JSON under bench/results/
	@$(BIN)/python -m bench $(ARGS)

ratchet: $(STAMP) ## write today's numbers into tests/ratchet.json (they may only get better)
	@$(PYTEST) --collect-only -q --write-ratchet | tail -1

lock: $(STAMP) ## solve the dependencies anew into requirements.lock
	@$(BIN)/uv pip compile pyproject.toml --quiet --upgrade --group dev --all-extras --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-annotate --no-emit-index-url -o requirements.lock
