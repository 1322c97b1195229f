# Needs Python 3.11 or later with venv and pip, and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= data
INSTALLED := $(VENV)/installed

.PHONY: serve dev test check bench conformance docs lock

serve: $(INSTALLED)  ## run a node on $(DATA); prints a curl that works
	$(BIN)/aurorasend serve --data $(DATA)

dev: $(INSTALLED)  ## run a node on temporary data with a simulated internet
	$(BIN)/aurorasend dev

test: $(INSTALLED)  ## everything
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses 2 --dist loadgroup

check: $(INSTALLED)  ## lint, types and the fast tests, in less than a minute
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -m "not slow" tests/unit

bench: $(INSTALLED)  ## speed, as ratios to what the machine can do
	$(BIN)/python -m tests.bench

conformance: $(INSTALLED)  ## the conformance kit in $$CONFORMANCE_KIT against a fresh server
	$(BIN)/python -m tests.run_conformance

docs: $(INSTALLED)  ## generated pages
	$(BIN)/python -m aurorasend.config.document docs/settings.md

lock: pyproject.toml  ## pin the newest versions that pyproject.toml allows
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable ".[dev]" editables "$$(sed -n 's/^requires = \["\(.*\)"\]/\1/p' pyproject.toml)"
	{ sed -n '/^#/p' requirements-dev.lock; $(BIN)/pip freeze --exclude-editable | LC_ALL=C sort -f; } > requirements-dev.new
	mv requirements-dev.new requirements-dev.lock
	touch $(INSTALLED)

# Installs again only when what is to be installed has changed.
$(INSTALLED): pyproject.toml requirements-dev.lock
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@
