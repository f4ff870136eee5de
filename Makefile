# Two commands for a newcomer: `make run` and `make test`. Each installs what is missing, builds, and does nothing
# twice. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
STRESS_SECONDS ?= 5
# Every commit plays other random worlds, and the same ones each time.
SEED_BASE ?= $(shell printf %d 0x$$(git rev-parse --short=7 HEAD 2>/dev/null || echo 1))
FUZZ_SECONDS ?= 3
# Under AddressSanitizer each commit runs another eighth of the wire tests; without it, all. All: WIRE_SHARE=0/1.
WIRE_SHARE ?= $(SEED_BASE)/8

BIN := .venv/bin
DEV := build/dev
PIP := $(BIN)/pip install -q --disable-pip-version-check --no-deps
# Nobody edits one file where CI=true, or in a sanitized build.
UNITY := $(if $(filter true,$(CI)),ON,OFF)
CONFIGURE := cmake -S . -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCARILLON_WERROR=ON \
             -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python
BUILD := NINJA_STATUS="      [%f/%t %es] " cmake --build
# Tests that wait begin first, more of them than there are cores.
CTEST := env CARILLON_SEED_BASE=$(SEED_BASE) ctest -j$$((3 * $$(nproc))) --progress --output-on-failure --no-tests=error --test-dir
# Most tests wait more than they work. A mark says which of them need the machine for themselves.
PARALLEL := -p no:nbmake -n 6 --dist worksteal

# Images of containers often forbid it: then every worker rewrites all tests, and every server compiles its package.
export PYTHONDONTWRITEBYTECODE :=

# One ccache for every checkout and build folder of this machine.
export CCACHE_BASEDIR := $(CURDIR)
export CCACHE_NOHASHDIR := 1
export CCACHE_SLOPPINESS := pch_defines,time_macros

# What the goal needs of the system, and how many steps it counts.
NEEDS := run
STEPS := 4
ifneq ($(filter test build-tests lint,$(MAKECMDGOALS)),)
NEEDS := test
STEPS := 6
endif
ifneq ($(filter test-sanitized test-tsan test-asan test-fuzz,$(MAKECMDGOALS)),)
NEEDS := sanitized
STEPS := 9
endif

.PHONY: help
help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 18

# --- set-up ------------------------------------------------------------------------------------------------------

.PHONY: system
system:
	@echo "[1/$(STEPS)] system packages"
	@PYTHON=$(PYTHON) tools/setup.sh $(NEEDS)

.venv/.stamp-run: requirements/build.txt requirements/run.txt | system
	@echo "[2/$(STEPS)] Python environment in .venv (the first time it fetches about 40 MB)"
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv  # pip comes last: without it an earlier try was interrupted
	@$(PIP) --require-hashes -r requirements/build.txt -r requirements/run.txt
	@touch $@

.venv/.stamp-test: requirements/test.txt .venv/.stamp-run | .venv/.stamp-editable
	@echo "      Python packages of the tests"
	@$(PIP) -r requirements/test.txt
	@touch $@

.venv/.stamp-dev: requirements/dev.txt .venv/.stamp-test
	@echo "      Python packages of lint and packaging"
	@$(PIP) -r requirements/dev.txt
	@touch $@

# Brings the command, the entry points and a path to python/, where CMake puts the extension.
.venv/.stamp-editable: pyproject.toml python/carillon/_version.py .venv/.stamp-run
	@$(PIP) --no-build-isolation --config-settings=wheel.cmake=false --config-settings=editable.mode=inplace -e .
	@# Only the path stays: an import hook would win over PYTHONPATH, by which sanitized builds are tested.
	@sed -i '/^import /d' .venv/lib/python3*/site-packages/_editable_skbc_carillon_hub.pth
	@touch $@

tests/clients/node_modules/.stamp: tests/clients/package.json tests/clients/package-lock.json | system
	@echo "[4/$(STEPS)] packages of the JavaScript client"
	@if command -v npm >/dev/null; then \
	  npm ci --prefix tests/clients --no-audit --no-fund --silent && touch $@; \
	else \
	  echo "      npm is missing: the tests of the JavaScript client are skipped"; \
	fi

# A driver that others' Go module is linked into. Its go.mod names the version of Go that it needs.
tests/clients/centrifuge_go/centrifuge_go: $(addprefix tests/clients/centrifuge_go/,main.go go.mod go.sum) | system
	@echo "      packages of the Go client"
	@if ! command -v go >/dev/null; then \
	  echo "      Go is missing: the tests of the Go client are skipped"; \
	elif ! (cd $(@D) && go build -o $(@F) .); then \
	  echo "      Go cannot build it: the tests of the Go client are skipped"; \
	fi

# --- build -------------------------------------------------------------------------------------------------------

$(DEV)/build.ninja: .venv/.stamp-run
	@mkdir -p build
	@$(CONFIGURE) -B $(DEV) -DCARILLON_UNITY=$(UNITY) -DCARILLON_IN_PLACE=ON >$(DEV).log 2>&1 || { cat $(DEV).log; exit 1; }
	@touch $@

$(DEV)/.stamp-tests: $(DEV)/build.ninja
	@$(CONFIGURE) -B $(DEV) -DCARILLON_TESTS=ON >$(DEV).log 2>&1 || { cat $(DEV).log; exit 1; }
	@touch $@ $<
	@touch $@

.PHONY: build build-tests
build: system $(DEV)/build.ninja .venv/.stamp-editable ## build the extension into python/carillon (build/dev)
	@echo "[3/$(STEPS)] build"
	@$(BUILD) $(DEV) --target carillon_python

build-tests: system $(DEV)/.stamp-tests ## build the extension and the C++ tests
	@echo "[3/$(STEPS)] build, with the C++ tests"
	@$(BUILD) $(DEV) --target carillon_python carillon_tests

.PHONY: run
run: build ## set up, build, and serve the demo page on 127.0.0.1:8000 (PORT=8001: there)
	@echo "[4/$(STEPS)] http://$(HOST):$(PORT)/ (Ctrl-C stops it)"
	@exec $(BIN)/carillon serve --host $(HOST) --port $(PORT)

# --- tests -------------------------------------------------------------------------------------------------------

PYTESTS := $(wildcard tests/python tests/clients tests/browser notebooks)

.PHONY: test
test: ## set up, build, and run every test: C++, Python, clients, browser, notebooks
	@# The packages come over the network while compilers are busy.
	@$(MAKE) -j4 build-tests .venv/.stamp-test tests/clients/node_modules/.stamp tests/clients/centrifuge_go/centrifuge_go
	@echo "[5/$(STEPS)] C++ tests (random worlds from SEED_BASE=$(SEED_BASE))"
	@# Beside those that wait, the tests in Python are rewritten once, rather than by each worker.
	@$(BIN)/pytest -q --collect-only $(PYTESTS) >/dev/null 2>&1 & \
	CARILLON_STRESS_SECONDS=$${CARILLON_STRESS_SECONDS:-3} $(CTEST) $(DEV)
	@echo "[6/$(STEPS)] Python, clients, browser, notebooks"
	@CARILLON_NB_SCALE=$${CARILLON_NB_SCALE:-0.05} $(BIN)/pytest -q -m "not alone" $(PARALLEL) $(filter-out tests/browser notebooks,$(PYTESTS))
	@# Each worker has a browser, and each notebook an interpreter: these work more than they wait.
	@CARILLON_NB_SCALE=$${CARILLON_NB_SCALE:-0.05} $(BIN)/pytest -q -m "not alone" -n 2 --dist worksteal --nbmake \
	  $(filter tests/browser notebooks,$(PYTESTS))
	@echo "      those that need the machine for themselves"
	@$(BIN)/pytest -q -m alone $(PYTESTS)

.PHONY: notebooks
notebooks: build .venv/.stamp-test ## execute every notebook at full scale and print its run time (CARILLON_NB_SCALE=0.3: a shorter one)
	@CARILLON_NB_SCALE=$${CARILLON_NB_SCALE:-1} $(BIN)/pytest -q --nbmake --nbmake-timeout=600 --timeout=600 --durations=0 notebooks

.PHONY: notebooks-rendered
notebooks-rendered: build .venv/.stamp-test ## execute every notebook and write it as a page with figures into docs/notebooks (at full scale: on a quiet machine)
	@CARILLON_NB_SCALE=$${CARILLON_NB_SCALE:-1} $(BIN)/python tools/render_notebooks.py

CHAOS_ROUNDS ?= 5
CHAOS_CLIENTS ?= 3
CHAOS_TABLE ?= build/chaos.md

.PHONY: chaos
chaos: build .venv/.stamp-test ## let larger crowds meet each fault of Redis several times (CHAOS_ROUNDS=5 CHAOS_CLIENTS=3), and print the table
	@rm -f $(CHAOS_TABLE)
	@$(BIN)/pytest -q --timeout=900 --chaos-rounds $(CHAOS_ROUNDS) --chaos-clients $(CHAOS_CLIENTS) --chaos-table $(CHAOS_TABLE) \
	  tests/python/wire/test_redis_chaos.py; status=$$?; cat $(CHAOS_TABLE); exit $$status

# ThreadSanitizer of gcc 12 cannot cope with the address randomness of newer kernels.
FIXED_ADDRESSES := $(shell setarch $$(uname -m) -R true 2>/dev/null && echo setarch $$(uname -m) -R)
# The interpreter is not instrumented, so the run-time library has to come first, and leaks of Python are not ours.
ASAN_PRELOAD = $(shell g++ -print-file-name=libasan.so) $(shell g++ -print-file-name=libstdc++.so)
ASAN_PYTHON = LD_PRELOAD="$(ASAN_PRELOAD)" ASAN_OPTIONS=detect_leaks=0 PYTHONPATH=build/asan/python

.PHONY: test-sanitized test-tsan test-asan test-fuzz test-faults test-instructions
test-sanitized: test-tsan test-asan test-fuzz test-faults test-instructions ## run the tests under TSan, ASan and UBSan, fuzz for a while, prove that planted faults are noticed, print what a delivery costs

test-tsan: system .venv/.stamp-test
	@echo "[3/$(STEPS)] build with ThreadSanitizer"
	@mkdir -p build
	@$(CONFIGURE) -B build/tsan -DCARILLON_SANITIZE=thread -DCARILLON_UNITY=ON -DCARILLON_PYTHON=OFF -DCARILLON_TESTS=ON >build/tsan.log
	@$(BUILD) build/tsan --target carillon_tests
	@echo "[4/$(STEPS)] C++ tests under ThreadSanitizer ($(STRESS_SECONDS) s of real threads)"
	@CARILLON_STRESS_SECONDS=$(STRESS_SECONDS) TSAN_OPTIONS="halt_on_error=1 second_deadlock_stack=1" \
	  $(FIXED_ADDRESSES) $(CTEST) build/tsan

test-asan: system .venv/.stamp-test .venv/.stamp-editable
	@echo "[5/$(STEPS)] build with AddressSanitizer and UndefinedBehaviorSanitizer"
	@mkdir -p build
	@$(CONFIGURE) -B build/asan -DCARILLON_SANITIZE=address,undefined -DCARILLON_UNITY=ON -DCARILLON_TESTS=ON >build/asan.log
	@$(BUILD) build/asan --target carillon_tests _core
	@echo "[6/$(STEPS)] C++ tests, then Python tests marked 'wire' (share $(WIRE_SHARE)), under both"
	@CARILLON_STRESS_SECONDS=3 UBSAN_OPTIONS=print_stacktrace=1 $(CTEST) build/asan
	@cd python && find carillon -type f ! -name '*.so' ! -name '*.pyc' -exec cp --parents -t ../build/asan/python {} +
	@WIRE_SHARDS=4 $(ASAN_PYTHON) $(BIN)/pytest -q -p no:cacheprovider --timeout=240 -m "wire and not alone" $(PARALLEL) \
	  --share $(WIRE_SHARE) $$(grep -rl --include='test_*.py' 'mark\.wire' tests/python)  # of the others, the imports are slow

test-fuzz: system .venv/.stamp-run
	@echo "[7/$(STEPS)] fuzz targets, $(FUZZ_SECONDS) s each"
	@tools/fuzz.sh $(CURDIR)/$(BIN)/python $(FUZZ_SECONDS)

test-faults: build-tests .venv/.stamp-test
	@echo "[8/$(STEPS)] planted faults, each alone: the tests must fail"
	@$(BUILD) $(DEV) --target carillon_with_faults
	@CARILLON_SEED_BASE=$(SEED_BASE) $(BIN)/python tools/planted_faults.py $(DEV)

# Printed, not judged: `make instructions` is the whole of it.
test-instructions: build
	@echo "[9/$(STEPS)] user instructions and system calls per delivery, a small load"
	@$(BIN)/python -m bench.instructions --small --only "carillon by ws" --no-publishes

# --- the rest ----------------------------------------------------------------------------------------------------

CXX_FILES = $(shell find cpp tests bench -name '*.cpp' -o -name '*.hpp' | sort)
TIDY_FILES = $(shell find cpp -name '*.cpp' ! -name '*_impl.cpp' | sort)

.PHONY: lint
lint: build-tests .venv/.stamp-dev ## formats, include directions, clang-tidy, ruff, mypy, stubs
	$(BIN)/python tools/check_includes.py
	$(BIN)/clang-format --dry-run -Werror $(CXX_FILES)
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy
	MYPYPATH=python $(BIN)/stubtest carillon._core carillon._sim
	printf '%s\n' $(TIDY_FILES) | xargs -P$$(nproc) -n1 $(BIN)/clang-tidy --quiet -p $(DEV)

.PHONY: format
format: .venv/.stamp-dev ## rewrite the sources in the project's format
	$(BIN)/clang-format -i $(CXX_FILES)
	$(BIN)/ruff check --quiet --fix
	$(BIN)/ruff format --quiet

.PHONY: options
options: build ## write the option tables of docs/configuration.md and docs/centrifuge-config.md
	@$(BIN)/python tools/config_table.py
	@$(BIN)/python tools/family_table.py

.PHONY: dashboard
dashboard: .venv/.stamp-dev ## write deploy/grafana/carillon.json
	@$(BIN)/python tools/grafana_dashboard.py

.PHONY: wheel
wheel: .venv/.stamp-dev ## build sdist and wheel (dist/), and the wheel repaired by auditwheel (dist/repaired/)
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	PATH="$(CURDIR)/$(BIN):$$PATH" auditwheel repair --exclude libsqlite3.so.0 dist/*.whl -w dist/repaired

# --- benchmarks --------------------------------------------------------------------------------------------------

COMPARE ?=
INSTRUCTIONS ?=
VARIANTS ?=
FILL ?=
CURVE ?=
PYTHON_SPEED ?=

.PHONY: compare compare-install instructions variants fill curve python-speed
compare: build ## Carillon beside bare loops and installed peers (COMPARE="--loads A,E --rounds 5")
	@$(BIN)/python -m bench.compare $(COMPARE)

compare-install: build ## install the peers of the comparison outside the tree, at pinned versions
	@$(BIN)/python -m bench.compare.install

instructions: build ## user instructions and system calls per delivery and per publish (INSTRUCTIONS="--small")
	@$(BIN)/python -m bench.instructions $(INSTRUCTIONS)

variants: build .venv/.stamp-test ## deliveries by encoding, transport and delta, connects with tokens, idle memory (VARIANTS=connect)
	@$(BIN)/python -m bench.variants $(VARIANTS)

fill: build ## a process with 19,900 connections, a machine with 100,000, rounds of 10,000 (FILL="one --seconds 60")
	@$(BIN)/python -m bench.fill $(FILL)

curve: build ## what a publish costs by subscribers, up to a million: measured, and drawn into docs/images
	@$(BIN)/python -m bench.curve $(CURVE)

python-speed: build ## publish, publish_many and async for per second, alone, under load, and hooks under load
	@$(BIN)/python -m bench.python_speed $(PYTHON_SPEED)

.PHONY: slowest
slowest: ## print the slowest translation units of the last build
	@$(PYTHON) tools/slowest.py $(DEV)/.ninja_log

.PHONY: pins
pins: .venv/.stamp-dev ## pin the newest versions that requirements/*.in allow
	cd requirements && for set in build run test dev; do \
	  hashes=; case $$set in build|run) hashes=--generate-hashes;; esac; \
	  ../$(BIN)/pip-compile -q --upgrade $$hashes --allow-unsafe --strip-extras --no-header --annotation-style line \
	    --no-emit-index-url --no-emit-trusted-host --no-emit-find-links $$set.in -o $$set.txt; \
	done

.PHONY: clean
clean: ## remove everything that was built or installed here
	rm -rf build dist .venv tests/clients/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -f python/carillon/_core*.so python/carillon/_sim*.so
	find python tests -name __pycache__ -type d -exec rm -rf {} +
