# The commands of this repository. `make` alone lists them.
#
# Nothing has to be installed beforehand but make and, for what Debian packages are missing, the right to use
# apt-get. Every step leaves a stamp in .venv and is skipped while its lock file has not changed.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# No build isolation: a package without a wheel is built with the locked setuptools, not with a downloaded one.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --no-build-isolation
LOCKED := $(PIP_INSTALL) --require-hashes

# Two workers, because the suite is laid out for two cores; tests that share something run in one worker.
TEST_OPTIONS ?= -n 2 --dist loadgroup
ARGS ?=

.PHONY: help setup lab test chaos proofs machines bundle lint format bench lock state-machines changelog clean machine

help: ## this list
	@echo "drsync: disaster recovery for two sites and three centers"
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "ARGS=… hands options on, for example: make test ARGS='-k journal', make lab ARGS='--image disk.img'"

setup: installed-project ## install what is missing; afterwards .venv/bin/drsync works

lab: setup ## three centers on this machine: a drill, a failover, the way back; Ctrl-C ends it
	@$(BIN)/drsync lab up --demo $(ARGS)

test: export LC_ALL = C.UTF-8
test: setup installed-test ## the whole test suite, real processes included
	@scripts/suite $(BIN)/python $(TEST_OPTIONS) $(ARGS)

chaos: setup installed-test ## campaigns of disturbed lines and killed processes (ARGS='--seeds 20 --first 1')
	@$(BIN)/python -m tests.chaos $(ARGS)

# The short forms are part of the test suite.
proofs: export LC_ALL = C.UTF-8
proofs: setup installed-test ## the long forms of what docs/proofs.md proves: databases, file systems (minutes; needs root)
	@scripts/machine $(VENV) checks
	@scripts/suite $(BIN)/python -m "proofs or not proofs" tests/proofs $(ARGS)

# Apart from the others, because it boots containers, needs root, and takes minutes. Their root file system is kept.
machines: export DRSYNC_MACHINES_CACHE ?= $(CURDIR)/build/machines
machines: export LC_ALL = C.UTF-8
machines: setup installed-test ## the shipped services in four small Debian machines (containers; needs root)
	@scripts/machine $(VENV) machines
	@$(BIN)/python -m pytest -m machines tests/machines $(ARGS)

bundle: setup ## a folder that installs drsync on machines without network: dist/machine
	@mkdir -p dist && scripts/bundle $(VENV) dist/machine $(ARGS)

lint: setup installed-test installed-lint ## style, format, types and import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: installed-lint ## lay the code out and mend what ruff can mend
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

bench: setup installed-test ## the speed table, side by side with known peers; ARGS=--quick for ten minutes
	-@scripts/machine $(VENV) benchmarks
	@$(BIN)/python benchmarks/table.py $(ARGS)

lock: installed-dev ## resolve pyproject.toml into requirements/*.txt (ARGS=--upgrade for newer versions)
	@$(BIN)/python scripts/lock.py $(ARGS)

state-machines: installed-dev ## write docs/state-machines.md from the tables in the code
	@$(BIN)/python scripts/state_machines.py

changelog: installed-dev ## what the next release notes would say
	@$(BIN)/towncrier build --draft --version next

clean: ## remove the environment and everything that was made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage htmlcov build dist
	find drsync tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} +

# Debian packages and a working virtual environment; both are looked at each time, which takes a moment only.
machine:
	@scripts/machine $(VENV)

# A second make, because this one has looked at the stamps before a broken environment was made anew.
installed-%: machine
	@$(MAKE) -s --no-print-directory $(STAMP)-$*

$(STAMP)-build: requirements/build.txt
	@echo "Installing the locked build tools …"
	@$(LOCKED) -r $<
	@touch $@

$(STAMP)-runtime: requirements/runtime.txt $(STAMP)-build
	@echo "Installing the locked libraries …"
	@$(LOCKED) -r $<
	@touch $@

$(STAMP)-project: pyproject.toml $(STAMP)-runtime
	@echo "Installing drsync itself, from this folder …"
	@$(PIP_INSTALL) --no-deps --editable .
	@touch $@

$(STAMP)-test $(STAMP)-lint $(STAMP)-dev: $(STAMP)-%: requirements/%.txt $(STAMP)-runtime
	@echo "Installing the locked $* tools …"
	@$(LOCKED) -r $<
	@touch $@
