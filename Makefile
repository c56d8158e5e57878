# demo   install what the demo needs and play it          test   install everything and run the tests
# check  lint, format, types                              bench  every benchmark, JSON into out/bench
# demo-store  train, cut, prune and pack the shipped store again, from nothing
# deb    a Debian package for machines like this one, in out/deb

VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
BIN = $(VENV)/bin
SECONDS ?= 40
# Processes that the tests are spread over.
JOBS ?= $(shell nproc)

.DELETE_ON_ERROR:
.PHONY: demo test check format bench demo-store deb install-demo install-dev clean

demo: install-demo
	$(BIN)/schedulerd demo --seconds $(SECONDS) --state out/demo --json out/demo.json --plot out/demo.png

test: install-dev
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

check: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install-dev
	$(BIN)/python -m benchmarks --json out/bench

demo-store: install-dev
	$(BIN)/python -m blockstore.zoo.demo_store --archive schedulerd/demo/demo-store.tar --held-out schedulerd/demo/digits-heldout.npz

deb: $(VENV)/bin/python
	packaging/debian/build $(VENV)/bin/python

install-demo: $(VENV)/installed-demo
install-dev: $(VENV)/installed-dev

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "schedulerd needs Python 3.11 or newer; $(PYTHON) is older. Set PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed-%: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --constraint constraints.txt --editable '.[$*]'
	@touch $@

clean:
	rm -rf $(VENV) out
