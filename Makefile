# Every target makes the environment first, once: python3.11, make and a package index are all it needs.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := scheduler backends tests benchmarks
PROPERTIES := $(shell grep -rlE '^@given' tests --include='*.py' | sort)
ROUNDS ?= 1
BENCHMARKS := journal simulate_speed solve_time decisions admission cycle_time gang_placement mixed_fleet

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz check bench clean

help:
	@echo "make demo    a mixed cluster of emulated accelerators trains and serves on this machine, about two minutes"
	@echo "make test    the whole test suite"
	@echo "make fuzz    the properties on examples drawn anew, as often as ROUNDS says (default 1)"
	@echo "make check   ruff, the formatter and mypy"
	@echo "make bench   the benchmarks that need no files, with their defaults"
	@echo "make clean   remove the environment, caches and reports"

$(STAMP): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: $(STAMP)
	$(BIN)/dualtrack demo --report dualtrack-report

test: $(STAMP)
	$(BIN)/python -m pytest

fuzz: $(STAMP)
	@set -e; for round in $$(seq $(ROUNDS)); do $(BIN)/python -m pytest --hypothesis-profile=search $(PROPERTIES); done

check: $(STAMP)
	$(BIN)/ruff check $(wildcard $(SOURCES))
	$(BIN)/ruff format --check $(wildcard $(SOURCES))
	$(BIN)/mypy

# the others take files of public traces as arguments: docs/benchmarks.md
bench: $(STAMP)
	@set -e; for program in $(BENCHMARKS); do echo "== $$program"; $(BIN)/python benchmarks/$$program.py; done

clean:
	rm -rf $(VENV) build dist *.egg-info dualtrack-report .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find scheduler backends cluster_configs tests -name __pycache__ -type d -prune -exec rm -rf {} +
