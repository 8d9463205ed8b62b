# The few commands of Keyturn; the README says what each is for.
PORT ?= 8080
DATA ?= var
WORKERS ?= 0
PYTHON ?= python3

VENV := .venv
INSTALLED := $(VENV)/.installed
TESTED := $(VENV)/.installed-test

.PHONY: run test soak bench clean

run: $(INSTALLED)
	PORT=$(PORT) DATA=$(DATA) WORKERS=$(WORKERS) $(VENV)/bin/keyturn serve --demo

test: $(TESTED)
	$(VENV)/bin/pytest -m "not soak"

soak: $(TESTED)
	$(VENV)/bin/pytest -m soak

bench: $(TESTED)
	$(VENV)/bin/python -m loadtests.first_figure

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): requirements.lock pyproject.toml | $(VENV)/bin/pip
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-compile --require-hashes -r requirements.lock
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-compile --no-build-isolation -e .
	touch $@

$(TESTED): requirements-test.lock $(INSTALLED)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-compile --require-hashes -r requirements-test.lock
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
