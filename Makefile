# Everything runs inside $(VENV), which the first target that needs it makes and fills.
# pip runs again only after pyproject.toml or constraints.txt has changed.

PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python

# Another active environment must not reach into this one.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV PIP_USER PIP_TARGET PIP_PREFIX

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-slow lint clean

help: ## Show these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo "PYTHON=python3.12 picks another Python, VENV=DIR another place for the environment."

quickstart: $(VENV)/.stamp-run ## Install, then train, evaluate and draw on a small generated data set
	$(VENV)/bin/gff-keras quickstart --out runs/quickstart --overwrite

test: $(VENV)/.stamp-test ## Run the tests in two processes, without those marked slow
	$(PY) -m pytest -n 2 --dist worksteal

test-slow: $(VENV)/.stamp-test ## Run the tests marked slow
	$(PY) -m pytest -m slow

lint: $(VENV)/.stamp-dev ## Check style, format and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

clean: ## Remove the environment and caches; runs/ stays
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache build dist
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# The stamp's name says which extra of pyproject.toml it stands for.
$(VENV)/.stamp-run: EXTRA :=
$(VENV)/.stamp-test: EXTRA := [test]
$(VENV)/.stamp-dev: EXTRA := [dev]

$(VENV)/.stamp-%: pyproject.toml constraints.txt $(PY)
	$(PY) -m pip install --disable-pip-version-check -c constraints.txt -e ".$(EXTRA)"
	@touch $@

# An environment that lost its Python (an upgrade) is made and filled anew, whatever its stamps say.
$(PY):
	@command -v "$(PYTHON)" >/dev/null || { echo "error: $(PYTHON) not found; install Python 3.11, 3.12 or 3.13, or name one: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { echo "error: $(PYTHON) is $$("$(PYTHON)" --version 2>&1), but TensorFlow 2.21 needs 3.11, 3.12 or 3.13; name one: make PYTHON=python3.12" >&2; exit 2; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "error: $(PYTHON) lacks the venv module; install it (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 2; }
	"$(PYTHON)" -m venv --clear $(VENV)
