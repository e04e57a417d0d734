# Every target sets up .venv by itself when pyproject.toml or constraints.txt changed.
PYTHON ?= $(shell for p in python3.11 python3 python; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile
# Where it is set, every process compiles every library anew; without it the next one takes what the first has compiled.
unexport PYTHONDONTWRITEBYTECODE
READY := .venv/.ready
# By module: what a module builds once for its tests, it builds on one worker only. Three workers on two cores, as one often
# waits for a server or a disk. In the order of tests/conftest.py: xdist's own, by the number of tests, leaves the few long
# ones to the end, where a worker waits for the others.
PYTEST_ARGS ?= -n 3 --dist loadscope --no-loadscope-reorder

.PHONY: demo test lint kernels modules bench soak up down clean
.DEFAULT_GOAL := test

demo: $(READY) ## the main job on bundled data, offline
	$(BIN)/m3e build demo --out build
	@echo "Three records it removed, and why:"
	@$(BIN)/m3e explain --build build/demo -n 3

test: $(READY) ## lint and all tests
	@# On two cores: types are checked while kernels and modules are compiled, which every process then finds compiled.
	@$(MAKE) --no-print-directory -j 2 lint kernels modules
	$(BIN)/python -m pytest -q $(PYTEST_ARGS)

lint: $(READY) ## style, types, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

kernels: $(READY) ## compiled once for all processes: the demo, built aside, runs them all
	@aside=$$(mktemp -d) && trap 'rm -rf "$$aside"' EXIT && $(BIN)/m3e build demo --out "$$aside" --store "$$aside/store" > "$$aside/log" 2>&1 \
	|| { cat "$$aside/log"; exit 1; }

modules: $(READY) ## compiled once for all test workers, which load the same ones at the same time
	@$(BIN)/python -m pytest -q --collect-only > /dev/null

up: $(READY) ## Prefect here: server, pools, limits, deployments, workers; may be run again
	@mkdir -p .m3e
	@# Not `--background`: such a server writes to a pipe that nobody reads any more, and dies of it.
	@$(BIN)/prefect server status > /dev/null 2>&1 || \
	{ nohup $(BIN)/prefect server start > .m3e/server.log 2>&1 & echo $$! > .m3e/server.pid; }
	@$(BIN)/prefect server status --wait
	@for pool in m3e-local m3e-gpu; do $(BIN)/prefect --no-prompt work-pool create $$pool --type process --overwrite > /dev/null || exit 1; done
	@$(BIN)/prefect work-pool set-concurrency-limit m3e-gpu 1
	@$(BIN)/prefect concurrency-limit create download 4 > /dev/null && $(BIN)/prefect concurrency-limit create gpu 1 > /dev/null
	@$(BIN)/prefect --no-prompt deploy --all > .m3e/deploy.log 2>&1 || { cat .m3e/deploy.log; exit 1; }
	@# Without the alias plugin: a worker needs none, and a crashed run would make it log a harmless traceback.
	@for pool in m3e-local $$(command -v nvidia-smi > /dev/null && echo m3e-gpu); do \
	kill -0 $$(cat .m3e/$$pool.pid 2>/dev/null) 2>/dev/null && continue; \
	PREFECT_PLUGINS_ENABLED=false nohup $(BIN)/prefect worker start --pool $$pool > .m3e/$$pool.log 2>&1 & echo $$! > .m3e/$$pool.pid; done
	@command -v nvidia-smi > /dev/null || echo "No GPU here: runs with scores wait for a worker beside one: prefect worker start --pool m3e-gpu"
	@echo "Ready. Run: $(BIN)/prefect deployment run build-demo --watch    See: http://127.0.0.1:4200    Stop: make down"

down: ## stop worker and server
	@# The first TERM may be taken as an interrupt that a background job ignores; the second ends it.
	-@for n in 1 2; do kill $$(cat .m3e/m3e-*.pid 2>/dev/null) 2>/dev/null; sleep 1; done; rm -f .m3e/m3e-*.pid
	-@kill $$(cat .m3e/server.pid 2>/dev/null) 2>/dev/null; rm -f .m3e/server.pid

bench: $(READY) ## every measured claim, as ratios in one run
	$(BIN)/python -m benchmarks

soak: $(READY) ## builds and pushes killed at every failpoint and at random moments, each run again; ten thousand mutations of each kind
	M3E_SOAK_KILLS=100 $(BIN)/python -m pytest -q -s tests/test_build.py -k killed
	M3E_SOAK_KILLS=50 $(BIN)/python -m pytest -q -s tests/test_encode_killed.py tests/test_mine_killed.py
	M3E_SOAK_KILLS=200 $(BIN)/python -m pytest -q -s tests/test_publish.py -k killed
	M3E_SOAK_KILLS=200 $(BIN)/python -m pytest -q -s tests/test_hardening_killed.py
	M3E_SOAK_MUTATIONS=10000 $(BIN)/python -m pytest -q -s tests/test_hardening_fuzz.py

clean: ## outputs and caches; keeps .venv and the store .m3e
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is missing; install it, or run: make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv .venv
	@# constraints.txt names the whole set, so nothing has to be found out. uv puts it in several times as fast as pip, but does
	@# not look where pip is told to besides its index (find-links), and there a machine keeps its own build of torch. Where
	@# uv does not get through, or a platform needs more or less, the line after finds out.
	@awk '/^[^#]/ { print > (/^torch==/ ? ".venv/by-pip" : ".venv/by-uv") }' constraints.txt
	@$(PIP) --no-deps -c constraints.txt uv; $(PIP) --no-deps -r .venv/by-pip & \
	index=$${PIP_INDEX_URL:-$$($(BIN)/python -m pip config get global.index-url 2>/dev/null)}; \
	VIRTUAL_ENV=.venv $(BIN)/uv pip install -q --no-deps $${index:+--default-index "$$index"} -r .venv/by-uv -e . ; wait
	@{ $(BIN)/m3e --help && $(BIN)/python -m pip check; } > /dev/null 2>&1 || $(PIP) -c constraints.txt -e '.[dev]'
	@touch $@
