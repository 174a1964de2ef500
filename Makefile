# The developer's commands are CI's commands. Everything is set up in .venv, nothing is global.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Seconds of each fuzz target, and their names; none: all of them.
FUZZ_SECONDS ?= 60
FUZZ ?=

.PHONY: demo test check lint types docs fuzz clean

$(VENV)/core.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/serve.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[serve]'
	@touch $@ $(VENV)/core.stamp

$(VENV)/dev.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[test,bench,train,serve,postgresql]'
	@touch $@ $(VENV)/core.stamp $(VENV)/serve.stamp

$(VENV)/fuzz.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[test,bench,train,serve,postgresql,fuzz]'
	@touch $@ $(VENV)/dev.stamp $(VENV)/core.stamp $(VENV)/serve.stamp

$(VENV)/docs.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@ $(VENV)/core.stamp

# Options of the demo, such as DEMO=--stay.
DEMO ?=
demo: $(VENV)/serve.stamp
	$(BIN)/ethogram demo $(DEMO)

test: $(VENV)/dev.stamp
	$(BIN)/pytest -n auto

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .

types: $(VENV)/dev.stamp
	$(BIN)/mypy

check: lint types test

# The site in build/site: generated pages must be up to date, links and anchors must exist, nothing may load from the web.
docs: $(VENV)/docs.stamp
	$(BIN)/python docs/generate.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	$(BIN)/python docs/check_site.py build/site

fuzz: $(VENV)/fuzz.stamp
	PYTHONPATH=tests $(BIN)/python -m fuzz --seconds $(FUZZ_SECONDS) $(FUZZ)

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
