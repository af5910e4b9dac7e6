# Each target makes what it needs, the environment included. Windows has no make: README.md says what to type there.
# make run PYTHON=/path/to/python3.12    another Python        make run ARGS="--profile gpu --only vgg"    options

PYTHON ?= python3
ARGS ?=
BIN := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
PY := .venv/$(BIN)/python
PYJAX := .venv-jax/$(BIN)/python
PYTORCH := .venv-torch/$(BIN)/python
PYBENCH := .venv-bench/$(BIN)/python
ONE_THREAD := TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 OMP_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help env env-jax env-torch env-bench run test test-unit test-all test-notebooks test-jax test-jax-notebooks test-torch test-torch-notebooks test-colab test-newest lab book lint bench shake reproduce sync student doctor models clean

help:
	@echo "make run      execute every notebook, write build/ and render the book"
	@echo "make test     unit tests, then every notebook against its stored outputs"
	@echo "make lab      open JupyterLab on the notebooks"
	@echo "make book     render the book from the stored notebooks"
	@echo "make test-all  the unit tests with every variant of every builder"
	@echo "make test-jax the JAX backend, in an environment without TensorFlow"
	@echo "make test-torch  the PyTorch backend, in an environment with neither TensorFlow nor JAX"
	@echo "make test-jax-notebooks | test-torch-notebooks  every notebook on that backend, in that environment"
	@echo "make test-colab | test-newest   the package as a wheel, on Colab's versions and on the newest of all"
	@echo "make shake    repeat the notebooks under other seeds and kernels: hours; ARGS='--only vgg' for one"
	@echo "make reproduce  the kept evidence of experiments that is not current: minutes each; ARGS=--list shows them"
	@echo "make lint | bench | sync | student | doctor | models | clean"

env:
	@$(PYTHON) tools/environment.py .venv cpu,dev

env-jax:
	@$(PYTHON) tools/environment.py .venv-jax jax

# On Linux plain PyTorch brings CUDA, 2.7 GB: README.md says how pip is shown the build without.
env-torch:
	@$(PYTHON) tools/environment.py .venv-torch torch

env-bench:
	@$(PYTHON) tools/environment.py .venv-bench cpu,bench

run: env
	@$(PY) -m cnnbook run $(ARGS)

# Two processes, one thread each: faster than one with two threads.
UNIT_TESTS = $(ONE_THREAD) $(PY) -m pytest tests -n 2 --dist loadfile $(ARGS)
NOTEBOOK_TESTS = $(ONE_THREAD) $(PY) -m pytest --nbval notebooks -n 2 -v $(ARGS)

test: env
	$(UNIT_TESTS)
	$(NOTEBOOK_TESTS)

test-unit: env
	$(UNIT_TESTS)

test-all: env
	$(UNIT_TESTS) -m ""

test-notebooks: env
	$(NOTEBOOK_TESTS)

NO_TENSORFLOW = $(PYJAX) -c "import importlib.util as u, sys; \
  sys.exit('TensorFlow is in .venv-jax' if u.find_spec('tensorflow') else print('TensorFlow is not there; Keras runs on JAX'))"

# Files with the mark `jax` (pyproject.toml). Their time goes to compiling, not to what is compiled. Every net is counted here.
test-jax: env-jax
	@$(NO_TENSORFLOW)
	KERAS_BACKEND=jax $(PYJAX) -m cnnbook run --only start --out build/jax --no-book
	KERAS_BACKEND=jax JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(ONE_THREAD) \
	  $(PYJAX) -m pytest tests -m "jax and not every_variant" -n 2 --dist loadfile $(ARGS)

# Files with the mark `torch`: what has lines of its own for PyTorch, what stands on these, and the three backends beside each other.
test-torch: env-torch
	KERAS_BACKEND=torch $(ONE_THREAD) $(PYTORCH) -m pytest tests -m "torch and not every_variant" -n 2 --dist loadfile $(ARGS)

# Weekly, and by hand. What measured claims come to on JAX or PyTorch is in the summary.
test-jax-notebooks: env-jax
	@$(NO_TENSORFLOW)
	KERAS_BACKEND=jax $(PYJAX) -m cnnbook run --out build/jax-notebooks --no-book $(ARGS)

test-torch-notebooks: env-torch
	KERAS_BACKEND=torch $(PYTORCH) -m cnnbook run --out build/torch-notebooks --no-book $(ARGS)

# The wheel, in an environment of its own and away from these files. COLAB: a runtime of Colab, by its file in tools/runtimes.
COLAB ?= 2026.01

test-colab:
	@$(PYTHON) tools/versions.py $(COLAB) $(ARGS)

test-newest:
	@$(PYTHON) tools/versions.py newest $(ARGS)

lab: env
	@$(PY) -m jupyterlab --LabApp.default_url=/lab/tree/notebooks/00-start.ipynb $(ARGS)

book: env
	@$(PY) -m cnnbook book $(ARGS)

lint: env
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m codespell_lib chapters README.md index.md book cnnbook
	.venv/$(BIN)/lint-imports --no-cache
	$(PY) -m cnnbook shake --check
	$(PY) -m cnnbook form

bench: env-bench
	@$(PYBENCH) benchmarks/run.py $(ARGS)

shake: env
	@$(PY) -m cnnbook shake $(ARGS)

reproduce: env
	@$(PY) -m cnnbook reproduce $(ARGS)

sync: env
	@$(PY) -m cnnbook sync $(ARGS)

student: env
	@$(PY) -m cnnbook student $(ARGS)

doctor: env
	@$(PY) -m cnnbook doctor $(ARGS)

models: env
	@$(PY) -m cnnbook models $(ARGS)

# The environments stay: delete .venv, .venv-jax, .venv-torch, .venv-colab and .venv-newest by hand.
# So do the students' copies, which may hold answers, and executed notebooks that somebody edited.
clean:
	find build -mindepth 1 -maxdepth 1 ! -name student ! -name edited -exec rm -rf {} + 2>/dev/null || true
	rm -rf book/_build .pytest_cache .ruff_cache
