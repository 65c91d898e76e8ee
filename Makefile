# Each command sets up the virtual environment it needs, and does so again only when pyproject.toml, setup.py or the
# Python version changed: a stamp inside the environment remembers.

PYTHON ?= python3
JOBS ?= 2

PYTHON_VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)

DEMO_EXTRAS := cpu,demo,litert,plots
TEST_EXTRAS := $(DEMO_EXTRAS),align,digits,glyphs,hub,jax,onnx,tuner,dev
TORCH_EXTRAS := torch,hub,dev
DOCS_EXTRAS := docs

DEMO_READY := .venv/.demo-python$(PYTHON_VERSION)
TEST_READY := .venv/.test-python$(PYTHON_VERSION)
TORCH_READY := .venv-torch/.test-python$(PYTHON_VERSION)
DOCS_READY := .venv-docs/.docs-python$(PYTHON_VERSION)
# npm writes this file last.
WEB_READY := export/web/node_modules/.package-lock.json

# The files that pass on every backend; the rest is TensorFlow's or has no Keras in it. Tests in them that are
# TensorFlow's alone carry the marker tensorflow_only.
PORTABLE_TESTS := $(wildcard $(patsubst %,tests/%/test_*.py,callbacks layers losses margins metrics models models/backbones ops) \
  tests/models/convert/test_*parity.py tests/test_docs.py tests/test_private_keras.py tests/test_registration.py)

# Each worker gets a part of the files in one piece, so that what a file's tests share is made once, and takes from the
# other's end when it is through. It computes on one thread: as many as there are cores do not fight over them.
SPREAD := -n $(JOBS) --dist=worksteal
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1

.DELETE_ON_ERROR:
.PHONY: help demo web check test test-tensorflow test-jax test-torch test-web docs docs-ready lint format clean check-python check-node

help:
	@echo 'make demo        train on the ORL faces with two replicas, measure, export  (ARGS="--steps=50" passes flags)'
	@echo 'make web         faces compared and recognized in the browser, on localhost:8000  (MODEL=face.tflite ARGS="--port=9000")'
	@echo 'make check       lint, types and the fast tests on TensorFlow: for the inner loop'
	@echo 'make test        the whole gate: lint, tests on TensorFlow, portable tests on JAX  (JOBS=4 for more workers)'
	@echo 'make test-torch  the portable tests on PyTorch, in .venv-torch'
	@echo 'make test-web    the page of export/web in Node and in a real Chromium'
	@echo 'make docs        the documentation site, in build/site, in .venv-docs; warnings are errors'
	@echo 'make lint        ruff check, ruff format --check, mypy on the library'
	@echo 'make format      rewrite what a tool can: code layout, import order'
	@echo 'make clean       remove the environments and every cache'
	@echo 'PYTHON=python3.12 picks the interpreter.'

demo: $(DEMO_READY)
	KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=2 .venv/bin/python examples/train_casia.py --replicas=2 $(ARGS)

web: $(DEMO_READY) $(WEB_READY)
	KERAS_BACKEND=tensorflow TF_CPP_MIN_LOG_LEVEL=2 \
	  .venv/bin/python export/serve_web.py $(if $(MODEL),'--model=$(MODEL)') $(ARGS)

# The tests without the marker slow; what a change needs besides is in the files next to it.
check: lint
	$(ONE_THREAD) KERAS_BACKEND=tensorflow .venv/bin/python -m pytest -q $(SPREAD) -m 'not slow'

test: lint test-tensorflow test-jax

test-tensorflow: $(TEST_READY)
	$(ONE_THREAD) KERAS_BACKEND=tensorflow .venv/bin/python -m pytest -q $(SPREAD)

# Many small programs, each run a few times: XLA's optimiser took a third of the processor time and changed no answer.
# Many are the same: what is compiled is kept next to pytest's own notes, and found by what it is made of.
JAX_FOR_TESTS := XLA_FLAGS=--xla_backend_optimization_level=0 JAX_COMPILATION_CACHE_DIR=.pytest_cache/jax \
  JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1

test-jax: $(TEST_READY)
	$(ONE_THREAD) $(JAX_FOR_TESTS) KERAS_BACKEND=jax .venv/bin/python -m pytest -q $(SPREAD) $(PORTABLE_TESTS)

test-torch: $(TORCH_READY)
	$(ONE_THREAD) KERAS_BACKEND=torch .venv-torch/bin/python -m pytest -q $(SPREAD) $(PORTABLE_TESTS)

# What `make test` skips where it is missing, a Chromium above all, is required here.
test-web: $(TEST_READY) $(WEB_READY)
	$(ONE_THREAD) KERAS_MARGIN_WEB=required KERAS_BACKEND=tensorflow .venv/bin/python -m pytest -q tests/scripts/test_web*.py

docs-ready: $(DOCS_READY)

# NO_MKDOCS_2_WARNING: the theme's advertisement for its successor.
docs: $(DOCS_READY)
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs --quiet build --strict
	@echo 'The site is in build/site: python3 -m http.server --directory build/site'

lint: $(TEST_READY)
	.venv/bin/ruff check --quiet
	.venv/bin/ruff format --check --quiet
	.venv/bin/mypy --no-error-summary

format: $(TEST_READY)
	.venv/bin/ruff check --fix --quiet
	.venv/bin/ruff format --quiet

clean:
	rm -rf .venv .venv-torch .venv-docs export/web/node_modules build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# TensorFlow has wheels for these.
check-python:
	@case '$(PYTHON_VERSION)' in \
	  3.10|3.11|3.12|3.13) ;; \
	  '') echo "Cannot run '$(PYTHON)'. Name a Python 3.10 to 3.13: make PYTHON=/path/to/python3.11 ..." >&2; exit 1 ;; \
	  *) echo "keras-margin needs Python 3.10 to 3.13; '$(PYTHON)' is $(PYTHON_VERSION)." \
	     "Name another: make PYTHON=python3.11 ..." >&2; exit 1 ;; \
	esac

check-node:
	@case "$$(node --version 2>/dev/null)" in \
	  v2[0-9].*|v[3-9][0-9].*) command -v npm >/dev/null || { echo 'npm is missing: it comes with Node.' >&2; exit 1; } ;; \
	  *) echo "The page needs Node 20 or later and npm; found: $$(node --version 2>/dev/null || echo none)." >&2; exit 1 ;; \
	esac

# $(call install,environment,extras): make the environment if it is not there or is another Python's, then install into it.
# Debian splits ensurepip off into python3-venv; without it the environment borrows the system's pip once.
define install
@echo 'Setting up $(1) with Python $(PYTHON_VERSION), extras $(2): a few minutes the first time ...'
@if [ "$$($(1)/bin/python -c 'import pip, sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" != '$(PYTHON_VERSION)' ]; then \
  if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(PYTHON) -m venv --clear $(1); \
  else $(PYTHON) -m venv --clear --without-pip $(1) && $(PYTHON) -m pip -qq --python $(1)/bin/python install pip; fi; fi
@$(1)/bin/python -m pip -qq --disable-pip-version-check install --editable '.[$(2)]'
@touch $@
endef

$(DEMO_READY): pyproject.toml setup.py | check-python
	$(call install,.venv,$(DEMO_EXTRAS))

$(TEST_READY): pyproject.toml setup.py | check-python
	$(call install,.venv,$(TEST_EXTRAS))

$(DOCS_READY): pyproject.toml setup.py | check-python
	$(call install,.venv-docs,$(DOCS_EXTRAS))

# PyPI's torch for Linux brings CUDA along, some gigabytes; point pip at PyTorch's CPU index to spare them.
$(TORCH_READY): pyproject.toml setup.py | check-python
	$(call install,.venv-torch,$(TORCH_EXTRAS))

$(WEB_READY): export/web/package.json export/web/package-lock.json | check-node
	npm ci --prefix export/web --no-audit --no-fund --loglevel=error
	@touch $@
