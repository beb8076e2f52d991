# One command for each thing. `make demo` and `make test` set up everything they need inside this folder.

PYTHON ?= python3
UV_VERSION := 0.13.9
UV := .uv/bin/uv
BIN := .venv/bin
PACKAGES := $(wildcard libs/*/pyproject.toml services/*/pyproject.toml)
SYNC = $(UV) sync --locked --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')"
export UV_PYTHON_DOWNLOADS := never
# Compiled once here instead of at each first start.
export UV_COMPILE_BYTECODE := 1
export UV_NO_PROGRESS ?= 1

.DEFAULT_GOAL := help
.PHONY: metrics dashboards manifests chaos world help setup demo up call test check format bench lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.complete ## Install everything into .venv (the other targets do it by themselves)

demo: .venv/.ready ## Answer one simulated phone call, live, and show what happened
	@$(BIN)/trunkline demo $(ARGS)

up: .venv/.ready ## Run the whole system on this machine until Ctrl-C
	@$(BIN)/trunkline up $(ARGS)

call: .venv/.ready ## Place one simulated call at the system that `make up` runs
	@$(BIN)/trunkline call $(ARGS)

# Four on two cores: whole calls take their real time, and mostly wait; they begin first, and the others run beside them.
test: .venv/.complete ## Run every test, on real servers of its own
	@$(BIN)/pytest -n 4 --dist worksteal $(or $(ARGS),tests/e2e tests/integration tests/unit tests/test_rules.py)

world: .venv/.complete ## Let simulated calls, and a tenth as many fleets, happen under every fault: SEEDS=50000; a seed that fails is printed
	@TRUNKLINE_WORLD_SEEDS=$(or $(SEEDS),10000) TRUNKLINE_FLEET_SEEDS=$$(( $(or $(SEEDS),10000) / 10 )) \
	  $(BIN)/pytest -q -n 2 --timeout 1800 tests/unit/test_call_world.py tests/unit/test_fleet_world.py

chaos: .venv/.complete ## Kill, hang, drain and cut real processes under live calls: ARGS="--faults all --hits 20"
	@$(BIN)/python -m chaos $(ARGS)

check: .venv/.complete ## Format, lint, types, import contracts, house rules: what CI runs
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy libs services tests bench chaos deploy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/test_rules.py
	$(UV) lock --check

metrics: .venv/.complete ## Write docs/metrics.md anew from the code
	@$(BIN)/python -m trunkline_local.metrics_page > docs/metrics.md

dashboards: .venv/.complete ## Write the dashboards of Grafana anew from deploy/grafana/*.py
	@$(BIN)/python -m deploy.grafana

manifests: .venv/.complete ## Write the copies in deploy/k8s anew: rules, dashboards, the users of NATS
	@$(BIN)/python deploy/k8s/generate.py

format: .venv/.complete ## Put every file into the house format
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: .venv/.complete ## Measure: ARGS=truncation, model_drops, rotation, call_log, store_rate, catch_up, console_api, audio_parts, scaling or sizes and its options
	@$(BIN)/python -m bench.$(or $(ARGS),truncation)

lock: $(UV) ## Lock dependencies anew after a change in a pyproject.toml
	$(UV) lock

clean: ## Remove what the other targets made
	rm -rf .venv .uv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# What runs: the services, the simulators, the local servers.
.venv/.ready: $(UV) pyproject.toml uv.lock $(PACKAGES)
	@echo "Installing the locked packages into .venv (once; about half a minute)"
	@$(SYNC) --inexact --no-default-groups --package trunkline-local
	@touch $@

# And the tools of a developer.
.venv/.complete: .venv/.ready
	@echo "Installing the locked development tools into .venv (once)"
	@$(SYNC)
	@touch $@

# uv in an environment of its own: nothing is installed outside this folder.
$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Trunkline needs Python 3.11 or newer as '$(PYTHON)'; name another one: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Fetching uv $(UV_VERSION) into .uv"
	@$(PYTHON) -m venv .uv || { \
	  echo "'$(PYTHON) -m venv' does not work here; on Debian and Ubuntu install python3-venv"; rm -rf .uv; exit 1; }
	@.uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
