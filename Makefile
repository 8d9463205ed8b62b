# The few commands of Keyturn; the README says what each is for.
PORT ?= 8080
DATA ?= var
WORKERS ?= 0
PYTHON ?= python3

VENV := .venv
INSTALLED := $(VENV)/.installed
TESTED := $(VENV)/.installed-test

.PHONY: run test soak bench lock clean

run: $(INSTALLED)
	PORT=$(PORT) DATA=$(DATA) WORKERS=$(WORKERS) $(VENV)/bin/keyturn serve --demo

test: $(TESTED)
	$(VENV)/bin/pytest -m "not soak" -n 3 --dist worksteal

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

lock: $(TESTED)
	$(VENV)/bin/pip install --quiet uv
	for extra in "" "--extra test"; do \
	    echo "# Locked by \`make lock\`: exact versions with hashes, for every platform and Python from 3.11 on." > locked; \
	    $(VENV)/bin/uv pip compile pyproject.toml --extra build $$extra --universal --python-version 3.11 \
	        --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet >> locked && \
	    mv locked requirements$${extra:+-test}.lock; \
	done
