# Targets are described by their `##` comments: `make help`.
VENV := .venv
PYTHON ?= python3
# A PYTHON that was asked for is used or refused; without one, python3 or the newest that fits.
PYTHONS := $(PYTHON) $(if $(filter file,$(origin PYTHON)),python3.14 python3.13 python3.12 python3.11)
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --quiet --quiet
RUN_READY := $(VENV)/.run-installed
DEV_READY := $(VENV)/.dev-installed
COMPILE := $(VENV)/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links

.DEFAULT_GOAL := help
.PHONY: help run demo test check format chaos bench lock clean

help:  ## Show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

run: $(RUN_READY)  ## Start everything on this machine; Ctrl-C stops it
	@$(VENV)/bin/python -m deploy.local

demo: $(RUN_READY)  ## In a second terminal: an agent asks, and you answer
	@$(VENV)/bin/python -m deploy.demo

test: $(DEV_READY)  ## Run all tests
	@$(VENV)/bin/python -m pytest

check: $(DEV_READY)  ## Lint, format, types, and who may import whom
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

format: $(DEV_READY)  ## Format the code and mend what the linter can
	@$(VENV)/bin/ruff check --fix
	@$(VENV)/bin/ruff format

chaos: $(DEV_READY)  ## Break the running system in every way, and check what is promised
	@$(VENV)/bin/python -m tests.chaos

bench: $(DEV_READY)  ## Measure throughput and latency
	@$(VENV)/bin/python -m tests.bench

lock: $(DEV_READY)  ## Write requirements/*.lock anew from pyproject.toml
	@$(COMPILE) --group pyproject.toml:dev -o requirements/dev.lock >/dev/null
	@$(COMPILE) -c requirements/dev.lock --group pyproject.toml:local -o requirements/run.lock >/dev/null

clean:  ## Remove the virtual environment and all caches; keeps the data in .safeguards
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@for candidate in $(PYTHONS); do \
		if $$candidate -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then \
			$$candidate -m venv $(VENV) && exit 0; \
			rm -rf $(VENV); \
			echo "error: $$candidate could not make a virtual environment (on Debian and Ubuntu: apt install python3-venv)" >&2; \
			exit 1; \
		fi; \
	done; \
	echo "error: Python 3.11 to 3.14 is needed, and none of these is it: $(PYTHONS). Name one: make PYTHON=/path/to/python3" >&2; \
	exit 1

# Only pip, so that Python and make are all it takes. The two distributions of this repository are
# built by the hatchling that the lock has brought.
$(RUN_READY): requirements/run.lock pyproject.toml shared/pyproject.toml | $(VENV)/bin/python
	@echo "Installing into $(VENV) ..."
	@$(PIP) install --require-hashes -r requirements/run.lock
	@$(PIP) install --no-deps --no-build-isolation -e . -e ./shared
	@touch $@

$(DEV_READY): requirements/dev.lock pyproject.toml shared/pyproject.toml | $(VENV)/bin/python
	@echo "Installing into $(VENV) ..."
	@$(PIP) install --require-hashes -r requirements/dev.lock
	@$(PIP) install --no-deps --no-build-isolation -e . -e ./shared
	@touch $(RUN_READY) $@
