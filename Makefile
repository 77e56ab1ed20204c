# `make demo` and `make test` work from a bare clone: they make .venv, install the project into it, and run.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python
PIP := $(BIN)/python -m pip install --quiet

.DEFAULT_GOAL := help
.PHONY: help install demo bundle test lint unit cases bench torture soak test-servers clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## make .venv and install the project with all its extras

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "dar-search needs Python 3.11 or newer; name one with: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing into $(VENV) (torch is large: some minutes on the first run) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# uv resolves and links in seconds what pip unpacks in minutes; where it cannot, pip does.
	@$(PIP) "uv>=0.5,<1" "pip>=25.1"
	@$(UV) --editable ".[all]" --group dev || $(PIP) --editable ".[all]" --group dev
	@touch $@

demo: install ## render a gallery, ingest it, replay a dialogue, print the table of rounds
	@$(BIN)/dar demo

bundle: install ## train the demo's models again from nothing (hours; goes on where it stopped; ARGS="--device cuda")
	@$(BIN)/python -m training.bundle --work .demo/training --into dar_search/demo/bundle $(ARGS)

test: install lint unit ## everything that must hold: lint, types, layers, all tests

lint: install ## ruff, mypy, import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

unit: install ## the tests alone (make unit ARGS="-k fusion")
	@$(BIN)/python -m pytest $(ARGS)

test-servers: install ## what needs an OpenSearch, on 2.19, 3.5 and 3.9, and an upgrade; a summary by version
	@$(BIN)/python -m tests.servers $(ARGS)

torture: install ## workers killed 200 times over 5,000 pictures, and more; goes on where it stopped
	@$(BIN)/python -m tests.torture
	@DAR_TORTURE=1 $(BIN)/python -m pytest $$(grep -rl --include='test_*.py' DAR_TORTURE tests)

soak: install ## mixed load over the real parts, each fault in turn, all back in place (ARGS="--minutes 30 --faults ...")
	@$(BIN)/python -m tests.torture.soak $(ARGS)

cases: install ## the scripts of other people's bug reports (make cases CASES=../shared/cases)
	@tests/cases.sh $(CASES)

bench: install ## every benchmark, and one table of all ratios (about an hour)
	@$(BIN)/python bench/table.py

clean: ## remove what can be made again
	@rm -rf $(VENV) .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist build
