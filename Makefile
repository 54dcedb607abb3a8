# make serve | test | check | format | bench | deploy-test
# (TORCH_INDEX=URL installs torch from another package index)

PYTHON ?= python3
BIN := .venv/bin
TORCH_INDEX ?=
TORCH := torch==2.13.0

.PHONY: serve test check deploy-test format bench clean

serve: .venv/.serving
	@exec $(BIN)/gimefive serve

# One OpenMP thread per test process: more would compete for the same cores.
test: .venv/.developing check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile

check: .venv/.developing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --quiet tests/deploy

# Builds the image and runs it with Docker Compose and, if KUBECONFIG is set, on that cluster.
# DEPLOY_BUILD_ARGS="TORCH_INDEX=URL" is passed to docker build.
deploy-test: .venv/.developing
	$(BIN)/python -m pytest -m deployed --capture=no tests/deploy

format: .venv/.developing
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.developing
	$(BIN)/python -m benchmarks.compare
	$(BIN)/python -m benchmarks.explanations
	$(BIN)/python -m benchmarks.video
	$(BIN)/python -m benchmarks.live

clean:
	rm -rf .venv

$(BIN)/python:
	$(PYTHON) -m venv .venv

# torch is installed first and separately, so that TORCH_INDEX applies to no other package.
.venv/.torch: $(BIN)/python Makefile
	$(BIN)/pip install --quiet --upgrade "pip>=25"
	$(BIN)/pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$(TORCH)"
	@touch $@

.venv/.serving: .venv/.torch pyproject.toml
	$(BIN)/pip install --quiet --editable .
	@touch $@

.venv/.developing: .venv/.torch pyproject.toml
	$(BIN)/pip install --quiet --editable ".[dev]"
	@touch $@ .venv/.serving
