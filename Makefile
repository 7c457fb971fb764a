# The environment is made once and rebuilt only when the pinned versions or the package's declaration change.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help audit test check bench docs gallery clean

help:
	@echo "make audit   install, audit examples/breast_cancer.toml, print the path of report.pdf"
	@echo "make test    install with the extras dev, cluster and flower, run the whole test suite"
	@echo "make check   ruff and mypy"
	@echo "make bench   install with the bench extra, run the benchmarks, rewrite docs/benchmarks.md; ten minutes"
	@echo "make gallery audit all examples and rewrite docs/gallery; ten minutes"
	@echo "make docs    install with the docs extra, build the documentation into site/"
	@echo "make clean   remove the environment, caches and build outputs; runs/ is kept"

audit: $(VENV)/installed
	$(BIN)/qfl-sec audit examples/breast_cancer.toml

test: $(VENV)/installed-dev
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || echo "No chromium: the tests of the HTML report in a browser are skipped. Debian: apt-get install chromium"
	$(BIN)/python -m pytest -n auto
	$(BIN)/python -m pytest -q --doctest-modules --pyargs qfl_sec

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/installed-bench
	$(BIN)/python -m benchmarks

gallery: $(VENV)/installed-dev
	$(BIN)/python docs/gallery/build.py

docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo site/index.html

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "qfl-sec needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

# torch comes first and alone: resolved together with the rest, some indexes offer builds with gigabytes of CUDA.
$(VENV)/installed: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install --quiet --constraint constraints.txt torch
	$(PIP) install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev,cluster,flower]'
	touch $@

$(VENV)/installed-bench: $(VENV)/installed
	$(PIP) install --quiet --constraint constraints.txt --editable '.[bench]'
	$(PYTHON) -m venv $(VENV)/sequence
	$(VENV)/sequence/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --requirement benchmarks/peers/sequence.txt
	touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(PIP) install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@
