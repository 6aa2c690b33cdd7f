# Two commands do everything: `make demo` runs the announcement's scenario, `make test` the tests.
# Each installs what it lacks and says so.  `make help` lists the rest.

SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python
BUILD := build
PREFIX ?= /usr/local
UNITS ?= /etc/systemd/system

.PHONY: help demo install test test-long check fmt bench bench-quick build deps peers clean
.DEFAULT_GOAL := help

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

demo: build peers ## the sec(4) announcement, for real: two tunnels to strongSwan gateways, BGP over them
	$(VENV)/bin/sec lab announcement

install: build ## secd, its commands, manuals and systemd unit: PREFIX=/usr/local
	rm -rf $(BUILD)/wheel
	PIP_QUIET=1 $(VENV)/bin/maturin build --release --quiet --out $(BUILD)/wheel
	python3 -m venv --clear $(PREFIX)/lib/secd
	PIP_ROOT_USER_ACTION=ignore $(PREFIX)/lib/secd/bin/python -m pip install --quiet $(BUILD)/wheel/*.whl
	mkdir -p $(PREFIX)/bin
	ln -sf $(addprefix $(abspath $(PREFIX))/lib/secd/bin/,secd sec ipsecctl ikectl) $(PREFIX)/bin/
	for page in man/*.[0-9]; do install -D -m 644 $$page $(PREFIX)/share/man/man$${page##*.}/$${page##*/}; done
	[ ! -d $(UNITS) ] || sed 's,^ExecStart=/usr/local,ExecStart=$(abspath $(PREFIX)),' etc/secd.service >$(UNITS)/secd.service

test: build peers ## every test that takes seconds (some 13 minutes)
	@tools/install openiked
	cd engine && cargo test --release --quiet
	$(PY) -m pytest -m 'not long' -n 2 --dist loadfile

test-long: build peers ## the tests that take minutes: the figures and the guests
	@tools/install guests
	@tools/install strongswan6
	cd engine/fuzz && cargo run --release --quiet --bin mutate -- --inputs 10000000
	PIP_ROOT_USER_ACTION=ignore $(PY) -m pip install --quiet 'atheris>=3'
	$(PY) -m pytest -m long

check: build linters ## lint, types, import contracts, Rust formatting and lints
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	cd engine && cargo fmt --check
	cd engine && cargo clippy --release --all-targets --features python --quiet -- -D warnings

fmt: build ## format everything
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix-only .
	cd engine && cargo fmt

bench: build peers ## throughput and latency, as ratios from interleaved runs
	@$(PY) -m pip install --quiet matplotlib
	$(PY) -m bench

bench-quick: build peers ## the ratios that matter, in under three minutes: build/bench/quick.json
	$(PY) -m bench --quick

build: $(BUILD)/built ## the virtual environment and the engine

deps: $(BUILD)/tools-installed

$(BUILD)/tools-installed: tools/install
	@mkdir -p $(BUILD)
	tools/install build
	@touch $@

# Not bin/python: that is a link, as old as the interpreter that it leads to.
$(VENV)/pyvenv.cfg: | $(BUILD)/tools-installed
	python3 -m venv $(VENV)

$(BUILD)/built: pyproject.toml engine/Cargo.toml engine/Cargo.lock engine/build.rs $(shell find engine/src -name '*.rs' 2>/dev/null) | $(VENV)/pyvenv.cfg
	@echo "==> building secd into $(VENV)"
	PIP_ROOT_USER_ACTION=ignore $(PY) -m pip install --quiet --upgrade 'maturin>=1.8,<2' pip
	PIP_QUIET=1 PIP_ROOT_USER_ACTION=ignore VIRTUAL_ENV=$(CURDIR)/$(VENV) $(VENV)/bin/maturin develop --release --quiet --extras dev
	@touch $@

.PHONY: linters
linters: $(BUILD)/tools-installed
	@tools/install check

peers: $(BUILD)/tools-installed ## the daemons that the demo and the tests run against
	@tools/install peers

clean: ## forget everything that was built
	rm -rf $(BUILD) $(VENV) engine/target src/secd/_engine*.so
