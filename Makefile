# Two commands matter: `make demo` and `make test`. Each makes .venv when it is missing.
#
# PYTHON picks the interpreter; pip's own settings (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, pip.conf)
# decide where packages come from.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INPUTS := pyproject.toml constraints.txt

.PHONY: help demo test test-long test-pythons lint types rules clean

help:
	@echo 'make demo          check, fix, serve and compare an example app (a minute or two)'
	@echo 'make test          run every test that needs no GPU'
	@echo 'make test-long     run the long ones too'
	@echo 'make test-pythons  run the sdk and linter tests on newer Pythons that are installed'
	@echo 'make lint types    ruff and mypy'

.venv/bin/python:
	@test -n '$(PYTHON)' || { echo 'stemfirst needs Python 3.11 or newer: install it, or name one with make PYTHON=...' >&2; exit 2; }
	$(PYTHON) -m venv .venv

# The index that brings torch decides between its CPU build and its CUDA build; the version is
# pinned in constraints.txt.
.venv/demo.stamp: .venv/bin/python $(INPUTS)
	@echo 'Installing the SDK, the linter and the server (torch is the large one) ...'
	$(PIP) install --quiet --constraint constraints.txt --editable '.[demo]'
	@touch $@

.venv/dev.stamp: .venv/demo.stamp
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

.wheelhouse/stamp: .venv/dev.stamp $(INPUTS) tests/precommit/build_wheelhouse.py
	$(BIN)/python tests/precommit/build_wheelhouse.py .wheelhouse
	@touch $@

demo: .venv/demo.stamp
	@$(BIN)/stemfirst demo $(ARGS)

test: .venv/dev.stamp .wheelhouse/stamp
	$(BIN)/python -m pytest -m 'not long and not gpu' $(ARGS)

# Apart, because it puts a plugin into every run of pytest beside it.
.venv-schemathesis/stamp: .venv/bin/python Makefile
	$(BIN)/python -m venv $(@D)
	$(@D)/bin/python -m pip --disable-pip-version-check install --quiet 'schemathesis==4.32.5'
	@touch $@

test-long: .venv/dev.stamp .wheelhouse/stamp .venv-schemathesis/stamp
	PATH="$$PATH:$(CURDIR)/.venv-schemathesis/bin" $(BIN)/python -m pytest -m 'not gpu' $(ARGS)

# The SDK and the linter need no torch, so newer Pythons are tested without it.
NEWER := $(strip $(foreach v,3.12 3.13 3.14,$(if $(shell python$(v) --version 2>/dev/null),test-python$(v))))
test-pythons: $(NEWER)
	@test -n '$(NEWER)' || { echo 'no newer Python is installed, so nothing was tested: install 3.12, 3.13 or 3.14' >&2; exit 2; }

test-python%:
	test -d .venv-$* || python$* -m venv .venv-$*
	.venv-$*/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt \
		--editable '.[test]'
	.venv-$*/bin/python -m pytest -m 'not long and not gpu and not needs_server and not needs_wheelhouse' \
		-p no:cacheprovider tests/sdk tests/linter tests/test_layers.py $(ARGS)

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev.stamp
	$(BIN)/mypy

clean:
	rm -rf .venv .venv-3.* .venv-schemathesis .wheelhouse .mypy_cache .pytest_cache .ruff_cache .hypothesis
