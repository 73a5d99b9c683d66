# One command per purpose, the same for developers and in CI. Each works on a fresh clone: it makes the virtual
# environment, installs what is missing, and then does its work. `make` without a target lists them.

VENV ?= .venv
WORKERS ?= 2# tests at a time; 0: all in one process, for a debugger
ARGS ?=# for the command behind the target: make test-python ARGS="-k resync -x", make demo ARGS=--no-browser

PY := $(VENV)/bin/python
NPM := npm --prefix js
PYTEST := -m pytest --numprocesses $(WORKERS) --dist worksteal
STAMPS := $(VENV)/stamps
PIP := $(PY) -m pip --disable-pip-version-check install --constraint requirements/dev.txt
# One call of pip for everything that a target needs, with its output as the progress. Compiling every module would take
# a third of the time; for the demo, Python compiles what is used at its first import.
INSTALL := $(PIP) --no-compile --no-build-isolation --editable '.[lab,service]' --group
OLDEST := $(VENV)-oldest
PIP_OLDEST := -m pip --disable-pip-version-check install --quiet --constraint $(OLDEST)/constraints.txt

# Node, where it had to be installed, and every tool of the environment are found first.
export PATH := $(abspath $(VENV)/bin):$(PATH)

.DEFAULT_GOAL := help
.NOTPARALLEL: # two installations at once would disturb each other
.PHONY: help demo demo-service dev test test-python test-oldest test-js test-notebooks test-browser test-hosts docs lint format build fresh bench soak lock

help: ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

demo: $(STAMPS)/demo ## open JupyterLab on the first notebook; needs no key (ARGS=--no-browser prints the address instead)
	$(PY) -m tools.demo $(ARGS)

demo-service: $(STAMPS)/python $(STAMPS)/js ## start a JupyterHub with two users who share sessions, on this machine
	$(PY) -m tools.demo_service

dev: $(STAMPS)/python $(STAMPS)/js ## as demo, and rebuild the page's code after every change in js/src
	$(PY) -m tools.demo --watch $(ARGS)

test: test-python test-js test-notebooks docs test-browser ## run all tests

test-python: $(STAMPS)/python $(STAMPS)/js ## run the tests of the Python code
	$(PY) $(PYTEST) -m "not browser and not hosts and not notebook and not soak" $(ARGS)

test-oldest: $(STAMPS)/js ## run them with the oldest releases that pyproject.toml allows
	bash tools/make_venv.sh $(OLDEST)
	$(OLDEST)/bin/python -m tools.oldest >$(OLDEST)/constraints.txt
	$(OLDEST)/bin/python $(PIP_OLDEST) pip
	$(OLDEST)/bin/python $(PIP_OLDEST) --group test
	$(OLDEST)/bin/python $(PIP_OLDEST) --no-build-isolation --editable .
	$(OLDEST)/bin/python $(PYTEST) -m "not browser and not hosts and not notebook and not soak" $(ARGS)

test-js: $(STAMPS)/js ## run the tests of the TypeScript code, in Node
	$(NPM) test -- $(ARGS)

test-notebooks: $(STAMPS)/python ## execute the demo notebooks
	$(PY) $(PYTEST) -m "notebook and not soak" $(ARGS)

test-browser: $(STAMPS)/python $(STAMPS)/js ## run the tests in JupyterLab and Notebook 7, in Chromium
	$(PY) -m tools.chromium --install
	$(PY) $(PYTEST) -m "browser and not soak" $(ARGS)

test-hosts: $(STAMPS)/python $(STAMPS)/node ## run the tests of the hosts that the documentation lists, and print the table
	$(PY) -m tools.chromium --install
	$(PY) -m tools.hosts $(ARGS)

docs: $(STAMPS)/python ## build the documentation into docs/_build; a warning is an error
	$(PY) -m sphinx --builder html --fresh-env --fail-on-warning --keep-going --quiet docs docs/_build

lint: $(STAMPS)/python $(STAMPS)/js ## check style and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m tools.type_completeness
	$(NPM) run --silent check
	$(NPM) run --silent lint

format: $(STAMPS)/python $(STAMPS)/js ## fix the style that can be fixed automatically
	$(PY) -m ruff check --fix-only --quiet .
	$(PY) -m ruff format .
	$(NPM) run --silent format

build: $(STAMPS)/python $(STAMPS)/js ## write the generated files that are committed
	$(PY) -m tools.generate_protocol
	$(PY) -m tools.generate_schema
	$(PY) -m tools.draw_states
	$(NPM) run --silent build

fresh: $(STAMPS)/python $(STAMPS)/js ## fail if a generated file is out of date
	$(PY) -m tools.generate_protocol --check
	$(PY) -m tools.generate_schema --check
	$(PY) -m tools.draw_states --check
	$(NPM) run --silent fresh

bench: $(STAMPS)/python $(STAMPS)/js ## print speed and size, compared with alternatives
	$(PY) -m tools.chromium --install
	$(PY) -m benchmarks $(ARGS)

soak: export NBCHAT_SOAK := 1
soak: $(STAMPS)/python $(STAMPS)/js ## run the long versions of the tests: more examples, more rounds
	$(PY) -m tools.chromium --install
	$(PY) $(PYTEST) --timeout 3600 -m "not hosts" $(ARGS)
	$(NPM) test

lock: ## pin the current versions in requirements/dev.txt
	bash tools/lock.sh $(VENV)-lock
	rm -rf $(VENV)-lock

# What is installed; made again when the list of it changes.

$(STAMPS)/venv: tools/make_venv.sh
	bash tools/make_venv.sh $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/pip: $(STAMPS)/venv pyproject.toml requirements/dev.txt
	@$(PIP) --quiet pip hatchling
	@touch $@

$(STAMPS)/demo: $(STAMPS)/pip
	@echo "Installing JupyterLab and what the demo notebooks import into $(VENV)"
	@$(INSTALL) demo
	@touch $@

$(STAMPS)/python: $(STAMPS)/pip
	@echo "Installing everything for development into $(VENV)"
	@$(INSTALL) dev
	@$(PY) -m compileall -qq -j 0 $(VENV)/lib || true # also where PYTHONDONTWRITEBYTECODE is set
	@touch $(STAMPS)/demo $@

$(STAMPS)/node: $(STAMPS)/venv tools/find_node.sh
	bash tools/find_node.sh $(VENV)
	@touch $@

$(STAMPS)/js: $(STAMPS)/node js/package.json js/package-lock.json js/.npmrc
	$(NPM) ci --no-progress
	@touch $@
