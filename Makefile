# Both targets set everything up by themselves; either can be the first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test slow lint
demo: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python run.py

test: $(VENV)/.installed-dev
# the processes compile every test when its byte code is not kept
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --dist worksteal

slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "slow or not slow"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# torch first: what depends on it must find it there
$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet 'torch~=2.13.0'
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -e '.[dev]'
# holds the released lists of NIH; without it the test that reads them is skipped
	-$(BIN)/python -m pip install --quiet --no-deps torchxrayvision==1.5.7
	touch $@
