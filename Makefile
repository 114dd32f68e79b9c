# `make demo` shows the product on bundled data; `make test` runs every check. Nothing else is needed for either.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
CORES  ?= 2

.PHONY: demo test check docs clean

$(VENV)/.core: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("labelwright needs Python 3.11 or newer, found " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) -e ".[dev]"
	touch $@

demo: $(VENV)/.core
	$(BIN)/labelwright demo

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The browser in which the tests look at pages, and a PostgreSQL that they start and stop. Without the right to install them, those
# tests skip and say so.
$(VENV)/.system: $(VENV)/.core
	{ command -v chromium >/dev/null && ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; } || \
	  { command -v apt-get >/dev/null && test "$$(id -u)" = 0 && apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium postgresql >/dev/null; } || \
	  echo "no chromium or PostgreSQL, and no right to install them: their tests will be skipped"
	touch $@

test: $(VENV)/.system check docs
	$(BIN)/python -m pytest -n $(CORES)

docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict --quiet --site-dir $(VENV)/site

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
