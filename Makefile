# What this checkout can do. Nothing has to be prepared: Python packages come into .venv, pinned and hashed by
# requirements/*.txt; Debian packages are installed where that is allowed, else named in one line.

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:

python := .venv/bin/python
servers := mosquitto=mosquitto mosquitto-clients=mosquitto_sub nats-server=nats-server chromium=chromium

export PATH := $(PATH):/usr/sbin
export PYTHON
export PIP_USER := 0
unexport PYTHONHOME PYTHONPATH

FUZZ_SECONDS ?= 3600

.PHONY: help run test crash soak check bench fuzz-codecs foreign-codecs format lock clean FORCE

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile
	@echo 'ARGS="..." hands options on, PYTHON=... chooses another Python (3.11 or later).'

run: .venv/run ## the demo: a small city reports, decoded, until Ctrl-C
	@exec $(python) -m gateway demo $(ARGS)

test: .venv/dev ## every test, with real servers
	@requirements/debian.sh $(servers) || echo 'Without them, the tests that need them are skipped.' >&2
	@$(python) -m pytest -n auto $(ARGS)

crash: .venv/dev ## the store killed, cut off, damaged and refused everywhere: hours
	@CRASH_EXHAUSTIVE=1 $(python) -m pytest -n auto tests/disk $(ARGS)

# Kills of the store (KILLS) and of the network side (NETWORK_KILLS). Each seed is another story; what has happened is told again with its seed, kills at the process as nearly as can be.
soak: .venv/dev ## the judge for half an hour: KILLS=500 LIVES=100 HISTORIES=1000 SEED=...
	@requirements/debian.sh mosquitto=mosquitto
	@JUDGE_KILLS=$(or $(KILLS),500) JUDGE_LIVES=$(or $(LIVES),100) JUDGE_HISTORIES=$(or $(HISTORIES),1000) \
	    NETWORK_KILLS=$(or $(NETWORK_KILLS),10000) JUDGE_SEED=$(SEED) $(python) -m pytest -q -s --show-capture=no \
	    tests/judge tests/serving/test_network_kills.py $(ARGS)

check: .venv/dev ## format, lint, types, the systemd unit, the lock files
	@$(python) -m ruff format --check .
	@$(python) -m ruff check .
	@$(python) -m mypy
	@systemd/verify.sh
	@if grep -nE '://|^ *-[a-z-]*(index|find-links|trusted-host)' requirements/*.txt requirements/*.in; then \
	    echo 'Lock files name packages and hashes, not the registry they came from.' >&2; exit 1; fi

bench: .venv/dev ## frames a second, from datagram to disk and to broker
	@requirements/debian.sh mosquitto=mosquitto
	@$(python) -m bench $(ARGS)

fuzz-codecs: .venv/dev ## hostile scripts for FUZZ_SECONDS (3600): no process left behind, no memory kept
	@FUZZ_SECONDS=$(FUZZ_SECONDS) $(python) -m pytest -s -k fuzzing tests/decoding/test_hostile_scripts.py

# ARGS="--ttn FOLDER --chirpstack FOLDER": copies of those catalogues; --write keeps the table.
foreign-codecs: .venv/dev ## other catalogues' codecs here and in Node.js, against their own examples
	@requirements/debian.sh nodejs=node
	@$(python) tests/decoding/foreign_catalogues.py $(ARGS)

format: .venv/dev ## let ruff mend format and lint
	@$(python) -m ruff format .
	@$(python) -m ruff check --fix .

# ARGS="--upgrade" moves every version, ARGS="--upgrade-package NAME" one.
lock: ## write requirements/*.txt anew, keeping the versions they have
	@set -e; tools=$$(mktemp -d); trap 'rm -rf "$$tools"' EXIT; \
	"$$(requirements/python.sh)" -m venv "$$tools"; "$$tools/bin/pip" install --quiet uv; \
	compile() { "$$tools/bin/uv" pip compile --quiet --universal --python-version 3.11 \
	    --generate-hashes --no-header --no-annotate "$$@" >/dev/null; }; \
	compile $(ARGS) pyproject.toml --output-file requirements/run.txt; \
	compile $(ARGS) pyproject.toml requirements/dev.in --constraint requirements/run.txt --output-file requirements/dev.txt; \
	compile requirements/build.in --constraint requirements/dev.txt --output-file requirements/build.txt; \
	compile requirements/hardware.in --constraint requirements/dev.txt --output-file requirements/hardware.txt

clean: ## forget .venv and everything made
	@rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The stamps that requirements/venv.sh leaves.
sound := $(shell PYTHON='$(PYTHON)' requirements/venv.sh sound && echo yes)
.venv/run: pyproject.toml requirements/run.txt requirements/build.txt $(if $(sound),,FORCE)
	@requirements/venv.sh run
.venv/dev: pyproject.toml requirements/dev.txt $(if $(sound),,FORCE)
	@requirements/venv.sh dev
