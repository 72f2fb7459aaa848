# The two commands of the README are `make demo` and `make test`; both do all the set-up.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test lint check slow exhaustive clean

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[brain,dev,mlflow,tensorboard]'
	touch $@

demo: setup
	$(BIN)/wardround bench quickstart

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

slow: setup
	$(BIN)/python -m pytest -m "slow and not exhaustive" -n 0

exhaustive: setup
	$(BIN)/python -m pytest -m exhaustive -n 0

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
