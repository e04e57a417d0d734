# Every target sets up .venv by itself when pyproject.toml or constraints.txt changed.
PYTHON ?= $(shell for p in python3.11 python3 python; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
READY := .venv/.ready
PYTEST_ARGS ?= -n 2

.PHONY: demo test lint bench soak clean
.DEFAULT_GOAL := test

demo: $(READY) ## the main job on bundled data, offline
	$(BIN)/m3e build demo --out build

test: lint ## lint and all tests
	$(BIN)/python -m pytest -q $(PYTEST_ARGS)

lint: $(READY) ## style, types, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(READY) ## every measured claim, as ratios in one run
	$(BIN)/python -m benchmarks

soak: $(READY) ## the long tests: kills, sizes, random manifests
	$(BIN)/python -m pytest -q tests/soak

clean: ## outputs and caches; keeps .venv and the store .m3e
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is missing; install it, or run: make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
