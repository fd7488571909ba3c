# Each target sets itself up from a bare clone: all it needs is make and a Python >= 3.11 with venv; uv is used when found.
# PYTHON=/path/to/python3.12 chooses the interpreter of the environment; ARGS="..." is handed to the command.

PYTHON ?= python3
ARGS ?=
export PYTHON
RUN := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help demo dev test test-long check format docs bench lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: ## Boot everything on a free port and run a real workflow over HTTP
	@.ci/setup embedded
	@$(RUN) -m callsheet demo $(ARGS)

dev: ## Serve gateway, engine and projections in one process, with a PostgreSQL of its own
	@.ci/setup embedded
	@$(RUN) -m callsheet dev $(ARGS)

test: ## Run the tests, less the long ones; ARGS="tests/store -k append" narrows them
	@.ci/setup dev
	@$(RUN) -m pytest $(ARGS)

test-long: ## Run every test, those that take minutes too
	@.ci/setup dev
	@$(RUN) -m pytest -m "long or not long" $(ARGS)

check: ## The one gate: lint, format, types, layers, size caps
	@.ci/setup dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m basedpyright
	.venv/bin/lint-imports
	$(RUN) -m pytest -q tests/test_house.py tests/test_words.py

format: ## Format the code and apply ruff's fixes
	@.ci/setup dev
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

docs: ## Generate the parts of docs/ that are derived from the code
	@.ci/setup dev
	$(RUN) -m callsheet.settings.page
	$(RUN) -m gateway.operations.routes_page
	$(RUN) -m gateway.operations.problems_page
	$(RUN) -m gateway.access.permissions_page
	$(RUN) -m gateway.streams.messages_page

bench: ## Measure; ARGS="append --json" or "runs --json" chooses what
	@.ci/setup dev
	@$(RUN) -m bench $(ARGS)

# Each lock holds what the one before it holds, at the same versions, and names no place to download from.
COMPILE := $(RUN) -m uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate \
	--python-version 3.11 $(ARGS) pyproject.toml
lock: ## Write the lock files; ARGS=--upgrade selects the newest versions
	@.ci/setup dev
	$(COMPILE) -o locks/runtime.lock
	$(COMPILE) --extra embedded -c locks/runtime.lock -o locks/embedded.lock
	$(COMPILE) --extra embedded --group dev -c locks/embedded.lock -o locks/dev.lock

clean: ## Remove the environment and all caches (never the data in .callsheet)
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache
