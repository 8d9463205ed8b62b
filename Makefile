# The few commands of Keyturn; the README says what each is for.
PORT ?= 8080
DATA ?= var
WORKERS ?= 0
SCENARIO ?= mixed-day
PYTHON ?= python3

VENV := .venv
INSTALLED := $(VENV)/.installed
TESTED := $(VENV)/.installed-test
LOADED := $(VENV)/.installed-load
DEPLOYED := $(VENV)/.installed-deploy

.PHONY: run test test-deploy soak bench load lock clean

run: $(INSTALLED)
	PORT=$(PORT) DATA=$(DATA) WORKERS=$(WORKERS) $(VENV)/bin/keyturn serve --demo

test: $(TESTED)
	$(VENV)/bin/pytest -m "not soak and not deploy" -n 3 --dist worksteal

test-deploy: $(TESTED) $(DEPLOYED)
	$(VENV)/bin/pytest -m deploy

soak: $(TESTED) $(LOADED)
	$(VENV)/bin/pytest -m soak

bench: $(LOADED)
	$(VENV)/bin/keyturn bench $(BENCH)

load: $(LOADED)
	$(VENV)/bin/locust -f loadtests/locustfile.py --headless --only-summary --data $(DATA) --scenario $(SCENARIO)

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): requirements.lock requirements-fast.lock pyproject.toml | $(VENV)/bin/pip
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-compile --require-hashes -r requirements.lock
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-compile --require-hashes -r requirements-fast.lock || \
	    echo "Eight signatures at a time cannot be had here; OpenSSL will make them one by one." >&2
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-compile --no-build-isolation -e .
	touch $@

$(TESTED): requirements-test.lock $(INSTALLED)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-compile --require-hashes -r requirements-test.lock
	touch $@

$(LOADED): requirements-load.lock $(INSTALLED)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-compile --require-hashes -r requirements-load.lock
	touch $@

$(DEPLOYED): requirements-deploy.lock $(INSTALLED)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-compile --require-hashes -r requirements-deploy.lock
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

lock: $(TESTED)
	$(VENV)/bin/pip install --quiet uv
	for extra in "" fast test load deploy; do \
	    echo "# Locked by \`make lock\`: exact versions with hashes, for every platform and Python from 3.11 on." > locked; \
	    $(VENV)/bin/uv pip compile pyproject.toml --extra build $${extra:+--extra $$extra} --universal --python-version 3.11 \
	        --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet >> locked && \
	    mv locked requirements$${extra:+-$$extra}.lock; \
	done
