# The daily commands. Only python3.11, make and a package index that pip knows are needed: the first
# command that needs the virtual environment builds it, later ones reuse it.

HOST ?= 127.0.0.1
PORT ?= 8000
ARGS ?=
PYTHON ?= python3.11

VENV := .venv
BIN := $(VENV)/bin
SERVE_PINS := requirements/build.txt requirements/cpu.txt
DEV_PINS := $(SERVE_PINS) requirements/train.txt requirements/ray.txt requirements/sql.txt requirements/redis.txt requirements/dev.txt requirements/deploy.txt requirements/load.txt
SERVE_STAMP := $(VENV)/.installed-serve
DEV_STAMP := $(VENV)/.installed-dev
CHECKOV_STAMP := .venv-checkov/.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help serve align test bench lint image format install clean

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: $(SERVE_STAMP) ## Serve the reference model (HOST=127.0.0.1 PORT=8000, ARGS="more options")
	exec $(BIN)/sightward serve --host $(HOST) --port $(PORT) $(ARGS)

# torch's own OpenMP stalls where cores are shared; Intel's, from the environment, gives them back.
align: $(DEV_STAMP) ## Align the reference model by PPO on the drawings that ship (ARGS="--run FOLDER")
	LD_PRELOAD=$(wildcard $(VENV)/lib/libiomp5.so) KMP_BLOCKTIME=5 $(BIN)/python -m alignment align $(ARGS)

# Two at a time, a file in one process: most of a file's time is what its tests share. In their own
# order (tests/conftest.py), or the longest, which are few in their files, would come last and alone.
# One thread each: two processes whose threads wait for each other's cores are slower than one.
test: $(DEV_STAMP) $(CHECKOV_STAMP) ## Run every test, the ones on a real vLLM engine too (ARGS="pytest options")
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

bench: $(DEV_STAMP) ## Run what the figures in the READMEs come from (19 minutes, ARGS="--budget-min 5")
	$(BIN)/python -m benchmarks all $(ARGS)

lint: $(DEV_STAMP) ## Check style, formatting, types and the order of the packages
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

image: $(DEV_STAMP) ## Run the image's steps in bare Debian roots, then a pod from what came out (root, debootstrap)
	$(BIN)/python tests/deploy/bare_root.py .image
	IMAGE_ROOT=$(CURDIR)/.image/cpu $(BIN)/python -m pytest tests/deploy/test_image_root.py tests/deploy/test_life_cycle.py $(ARGS)

format: $(DEV_STAMP) ## Rewrite the sources in the house format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

install: $(DEV_STAMP) ## Build the virtual environment with everything in it

clean: ## Remove the virtual environment and every cache in this folder
	rm -rf $(VENV) .venv-peers .venv-checkov .image .venv.lock .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find server alignment benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +

# One installer at a time (flock). `.installing` stands while pip writes the pins: where a killed install left
# it behind, the environment is built anew instead of trusted. The stamp is written last. Bytecode is
# compiled on every core instead of pip's one; a file that compiles for no Python 3.11 (a template, a
# sample) is no reason to stop.
# $(1): requirement files
define install
@echo 'Installing into $(VENV): takes a few minutes the first time.'
@flock .venv.lock sh -eu -c '\
  if [ -e $(VENV)/.installing ] || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
    $(PYTHON) -m venv --clear $(VENV); \
  fi; \
  touch $(VENV)/.installing; \
  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile $(addprefix -r ,$(1)); \
  $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib >/dev/null || true; \
  rm $(VENV)/.installing; \
  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .'
@touch $@
endef

$(SERVE_STAMP): $(SERVE_PINS) pyproject.toml
	$(call install,$(SERVE_PINS))

$(DEV_STAMP): $(DEV_PINS) pyproject.toml
	$(call install,$(DEV_PINS))

# checkov's pins contradict ours.
$(CHECKOV_STAMP): deploy/checkov.txt
	$(PYTHON) -m venv --clear .venv-checkov
	.venv-checkov/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r deploy/checkov.txt
	@touch $@
