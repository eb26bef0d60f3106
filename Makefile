# `make demo` and `make test` are all one needs; each makes .venv first, once,
# and again when what it holds changes.

.DEFAULT_GOAL := help
.PHONY: help demo test test-long check docs bench soak clean requirements

VENV := .venv
BIN := $(VENV)/bin
FIT := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
# Asked when it is needed. A name on the path may be a stand-in that cannot run.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	if $$python -c '$(FIT)' 2>/dev/null; then echo $$python; break; fi; done)
PROJECTS := -e . -e ./plugins/shapefile -e ./plugins/example
PORT ?= 3000

help:
	@echo 'make demo    the service on sample shapefiles, with Dagster on port $(PORT); Ctrl-C ends it'
	@echo 'make test    the tests'
	@echo 'make test-long   those that hurt a service for minutes'
	@echo 'make check   ruff, mypy, import-linter'
	@echo 'make docs    the documentation as a site, in build/site'
	@echo 'make bench   what the work costs, beside its floor, in two minutes; FULL=1 for all of it'
	@echo 'make soak    half an hour of load, with kills; SOAK="--minutes 5 --kills 3" for less'
	@echo 'make clean   remove the demo, the environment and what tools left'

demo: $(VENV)/made
	@$(BIN)/python plugins/shapefile/demo/show.py --port $(PORT)

test: $(VENV)/made
	$(BIN)/python -m pytest -n auto --dist loadgroup --no-loadscope-reorder -m 'not long' $(TEST)

# Services that are killed, filled up and cut off, for minutes; a change passes them, too, in .ci/run.
test-long: $(VENV)/made
	$(BIN)/python -m pytest -n auto --dist loadgroup --no-loadscope-reorder -m long

check: $(VENV)/made
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# A link that leads nowhere is an error. The search needs a server, any one.
docs: $(VENV)/made
	$(BIN)/zensical build --strict --clean
	@echo 'to read it: $(BIN)/python -m http.server --bind 127.0.0.1 --directory build/site 8000'

# FULL=1: all of it, half an hour; ONLY="passes growth": those parts. PostgreSQL with FULL=1, where BENCH_SERVER
# (a URL of somebody who may make databases), or the server of this machine, answers.
bench: $(VENV)/made
	@PYTHONPATH=. $(BIN)/python -m tests.bench

soak: $(VENV)/made
	@PYTHONPATH=. $(BIN)/python tests/faults/soak.py $(SOAK)

clean:
	rm -rf demo build $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# Byte-code is compiled at once, by all cores: without it every start of a
# process takes twice as long. Some packages bring templates that are no Python.
$(VENV)/made: requirements.txt pyproject.toml plugins/shapefile/pyproject.toml plugins/example/pyproject.toml
	@test -n '$(PYTHON)' || { \
		echo 'Carbonation needs Python 3.11, 3.12 or 3.13 with its venv module, and none was found' >&2; \
		echo 'on the path. Install one, or name one: make PYTHON=/path/to/python3.12' >&2; exit 1; }
	@$(PYTHON) -c '$(FIT)' || { echo '$(PYTHON) is not Python 3.11, 3.12 or 3.13 with venv' >&2; exit 1; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(PROJECTS)
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib carbonation_core carbonation_dagster || true
	@touch $@

# Needs uv. Newer versions: remove requirements.txt first.
requirements:
	printf 'hatchling\neditables\n' | uv pip compile - pyproject.toml --extra test --extra docs --universal --python-version 3.11 \
		--quiet --no-annotate --no-header --no-emit-index-url --output-file requirements.txt
	sed -i "/== 'win32'$$/d; 1i # All that make installs, exactly, for Python 3.11 to 3.13. Written by: make requirements" requirements.txt
