# The developer's commands are CI's commands. Everything is set up in .venv, nothing is global.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check lint types docs clean

$(VENV)/core.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[test,bench]'
	@touch $@ $(VENV)/core.stamp

demo: $(VENV)/core.stamp
	$(BIN)/ethogram demo

test: $(VENV)/dev.stamp
	$(BIN)/pytest -n auto

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .

types: $(VENV)/dev.stamp
	$(BIN)/mypy

check: lint types test

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
