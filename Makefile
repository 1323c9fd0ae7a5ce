# One command each; `make` alone prints them. Nothing has to be prepared: the environment is made when it is
# first needed, from hash-locked files, and found complete in a moment afterwards.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# Targets that start or measure things must not run side by side.
.NOTPARALLEL:

PYTHON ?= python3
# Child processes inherit this; without bytecode every one of them would compile every module again.
unexport PYTHONDONTWRITEBYTECODE
# Another environment that happens to be active must not be the one uv installs into.
unexport VIRTUAL_ENV
# Nothing outside the environment may be imported by accident.
unexport PYTHONPATH PYTHONHOME

RUN := .venv/bin/python -m
# Three workers keep two cores busy, because tests often wait for Postgres; each starts a Postgres and a Valkey of
# its own. PYTEST_ARGS="-k name -n 0" narrows, and measures no coverage (docs/decisions/0006).
PYTEST_WORKERS ?= 3
PYTEST_ARGS ?=
# Named after the place, because an environment that was moved or copied must be made anew.
READY := .venv/complete-$(shell pwd -P | cksum | cut -d ' ' -f 1)

.PHONY: help demo up down test check lint typecheck build lock prove chaos bench
.PHONY: lint-python lint-deploy format

help: ## (this list)
	@printf 'Tollhouse: billing and entitlements on top of Stripe\n\n'
	@awk -F ':.*## ' '/^[a-z]+:.*## [A-Z]/ { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(READY) ## Watch a purchase become an entitlement: everything on this machine, about 20 s
	@$(RUN) deploy.local demo

up: $(READY) ## Run the whole deployment in the background (ports 8000-8003, data in .tollhouse)
	@$(RUN) deploy.local up --detach

down: $(READY) ## Stop it; its data stays
	@$(RUN) deploy.local down

test: $(READY) ## Run every test; prints the branch coverage, reports go to artifacts/
	@mkdir -p artifacts
	@$(if $(PYTEST_ARGS),,PYTEST_PLUGINS=tests.measured) $(RUN) pytest -n $(PYTEST_WORKERS) --dist worksteal \
		--junitxml=artifacts/junit.xml $(PYTEST_ARGS)

check: $(READY) ## All gates: what CI runs
	@$(MAKE) --no-print-directory lint & linted=$$!; $(MAKE) --no-print-directory typecheck; wait $$linted
	@$(MAKE) --no-print-directory test

lint: lint-python lint-deploy ## Lints, formatting, import rules, deployment files

typecheck: $(READY) ## Types, by mypy --strict
	@$(RUN) mypy

build: $(READY) ## Make the wheel in dist/ and, where a Docker engine runs, the image tollhouse:VERSION
	@rm -rf dist
	@$(RUN) hatchling build -t wheel -d dist
	@version="$$($(RUN) hatchling version)"; \
	if docker info >/dev/null 2>&1; then \
		docker build --file deploy/Dockerfile --tag "tollhouse:$$version" .; \
	else \
		echo "No Docker engine answers here: made the wheel only."; \
	fi

lock: $(READY) ## Resolve the dependencies of pyproject.toml again and write the lock files
	@deploy/lock.sh

# 40 histories per seed: MONEY_SEEDS=13-25 goes on where a run was cut off, MONEY_SEEDS=7 repeats one.
MONEY_SEEDS ?= 1-25
prove: $(READY) ## Hold the rules against their oracle over 500 random histories, money figures against the books of 1,000
	@HYPOTHESIS_PROFILE=nightly $(RUN) pytest -q -n 0 --timeout 1200 tests/unit/rules/test_oracle.py
	@MONEY_SEEDS=$(MONEY_SEEDS) $(RUN) pytest -q -n $(PYTEST_WORKERS) --timeout 600 tests/flows/test_revenue.py

# Real processes and kills: docs/reliability.md. FAULTS="F-01 F-04" narrows, SIZE=full is the size that counts.
SEED ?= 1
FAULTS ?=
SIZE ?= default
chaos: $(READY) ## Kill, cut and stall everything, and compare with an oracle (SEED=7 FAULTS="F-01" SIZE=full)
	@$(RUN) tests.chaos --seed $(SEED) --size $(SIZE) -- $(FAULTS)
	@$(if $(FAULTS),,SCENARIOS=all SEED=$(firstword $(SEED)) $(RUN) pytest -q -n $(PYTEST_WORKERS) tests/flows/scenarios)
	@$(if $(FAULTS),,BACKFILL_EACH=1 $(RUN) pytest -q -n 0 tests/flows/test_backfill.py)
	@$(if $(FAULTS),,BACKFILL_CUSTOMERS=40000 BACKFILL_RATE=20 $(RUN) pytest -q -s -n 0 tests/e2e/test_killed_backfill.py)

bench: $(READY) ## Measure what is worth measuring today: the pure rules, batches, the change feed, keys and limits
	@$(RUN) tests.bench.compute
	@$(RUN) tests.bench.query
	@$(RUN) tests.bench.keys

lint-python: $(READY)
	@$(RUN) ruff check
	@$(RUN) ruff format --check --quiet || { echo "Not formatted: run make format." >&2; exit 1; }
	@$(RUN) pytest -q -n 0 tests/unit/test_rooms.py tests/unit/test_repository.py

lint-deploy: $(READY)
	@$(RUN) check_jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	@.venv/bin/hadolint deploy/Dockerfile

format: $(READY)
	@$(RUN) ruff check --fix-only --quiet
	@$(RUN) ruff format

$(READY): requirements.lock requirements-uv.lock pyproject.toml deploy/venv.sh
	@PYTHON="$(PYTHON)" deploy/venv.sh
