# Every target sets up what it needs. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup demo test test-engine test-rest check check-unit check-contract contract bench peers fuzz simulate kill chaos lock clean
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/homeport: requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Homeport needs Python 3.11 or later; set PYTHON=" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r <(sed -n '/^uv==/,/^[a-z]/p' requirements/dev.lock | sed '$$d')
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

setup: $(BIN)/homeport ## make the virtual environment with the locked versions

demo: setup ## show the main job: an agent, a job, a policy
	$(BIN)/python examples/demo.py

check: setup ## format, lint, types, import layers, unit and contract tests
	$(BIN)/ruff format --check src tests examples bench
	$(BIN)/ruff check src tests examples bench
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	@echo "Two runs at the same time, some minutes; each is shown when it has ended."
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target check-unit check-contract

check-unit: setup
	$(BIN)/python -m pytest -q tests/unit

check-contract: setup
	$(BIN)/python -m pytest -q tests/contract

# Of container engines a machine bears one at a time; one of these tests looks at all that listens here.
ENGINE_TESTS = $(shell grep -lE "running_engine|engine_for_registries" tests/e2e/test_*.py) tests/e2e/test_wrong_port.py
# So that both runs take about as long.
LONG_TESTS = $(addprefix tests/e2e/,test_dev.py test_functions.py test_volume_rollouts.py test_volumes.py)
FIRST_RUN = $(ENGINE_TESTS) $(LONG_TESTS)

test: check ## everything: make check, then integration and end-to-end tests
	@echo "Two runs at the same time, a quarter of an hour; each is shown when it has ended."
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target test-engine test-rest

test-engine: setup
	$(BIN)/python -m pytest -q --durations=10 tests/integration $(FIRST_RUN)

test-rest: setup
	$(BIN)/python -m pytest -q --durations=10 tests/e2e $(addprefix --ignore=,$(FIRST_RUN))

contract: setup ## compare our OpenAPI document with another: SPEC=path/to/openapi.yml
	@test -n "$(SPEC)" || { echo "Say which document: make contract SPEC=path/to/openapi.yml"; exit 2; }
	@$(BIN)/python -m homeport.testing.contract_check "$(SPEC)"

bench: setup ## measure; one scenario with ONLY=name, see docs/benchmarks.md
	$(BIN)/python -m bench $(ONLY)

peers: setup ## measure beside Ray Serve and BentoML, each in its own environment; needs half a gigabyte of packages
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python .peers
	$(BIN)/uv pip sync --quiet --python .peers/bin/python --require-hashes bench/peers/requirements.lock || echo "Ray Serve and BentoML cannot be installed here."
	$(BIN)/python -m bench serving

fuzz: setup ## make up requests for longer: EXAMPLES=200 of each operation, SEED= repeats a run
	HOMEPORT_FUZZ_EXAMPLES=$(or $(EXAMPLES),200) HOMEPORT_FUZZ_SEED=$(or $(SEED),0) $(BIN)/python -m pytest -q tests/integration/test_made_up_requests.py

simulate: setup ## run the loops on virtual time under seeded faults: RUNS=2000 seeds, SEED= the first of them
	$(BIN)/python -m homeport.testing.simulation --runs $(or $(RUNS),2000) --processes 2 $(if $(SEED),--seed $(SEED))

kill: setup ## kill a process at every step of every operation (an hour); ONLY=operation:place:step:victim, SEED= repeats
	HOMEPORT_KILL=all HOMEPORT_KILL_ONLY=$(ONLY) HOMEPORT_KILL_SEED=$(SEED) $(BIN)/python -m pytest -q -s tests/e2e/test_killed_at_every_step.py

chaos: setup ## random faults under load for MINUTES=10, then that nothing was lost; SEED= repeats a run
	$(BIN)/python -m homeport.testing.chaos --minutes $(or $(MINUTES),10) --seed $(or $(SEED),0)

lock: setup ## pin anew what requirements/*.in name
	for set in run dev; do $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url requirements/$$set.in -o requirements/$$set.lock; done

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .peers .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
