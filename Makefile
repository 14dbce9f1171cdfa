# Two commands matter: `make demo` and `make test`. Both set the environment up if it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := arrow,embedded,cpu,qdrant,dev
READY := $(VENV)/.ready
BROWSER := $(VENV)/.browser
OUT ?= demo-out

.PHONY: demo test lint types contracts setup clean help

help:
	@echo "make demo [PHOTOS=dir]  both halves, end to end: picture search and brain classifier"
	@echo "make test               the whole test suite, offline"
	@echo "make setup              the environment alone, in $(VENV)"
	@echo "make lint types contracts"

setup: $(READY)

# The stamp is younger than what it was made from: a second run installs nothing.
$(READY): pyproject.toml constraints.txt
	@echo "Setting up $(VENV): several GB the first time, a minute with uv and a few with pip"
	@if command -v uv >/dev/null 2>&1; then \
		{ test -x $(BIN)/python || uv venv --quiet --python $(PYTHON) $(VENV); } && \
		uv pip install --python $(BIN)/python --constraint constraints.txt --editable ".[$(EXTRAS)]"; \
	else \
		{ test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV); } && \
		$(BIN)/python -m pip install --constraint constraints.txt --editable ".[$(EXTRAS)]"; \
	fi
	@touch $@

demo: $(READY)
	@$(BIN)/python notebooks/demo.py --out $(OUT) $(if $(PHOTOS),--photos "$(PHOTOS)")

test: $(READY) $(BROWSER)
	@$(BIN)/python -m pytest $(ARGS)

# Where there is no Chromium and none may be installed, the tests that drive one are skipped and say so.
$(BROWSER): $(READY)
	@command -v chromium >/dev/null 2>&1 || \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
			echo "Installing Chromium, which the tests of pages drive" && \
			{ apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } >/dev/null 2>&1 || \
			echo "Chromium could not be installed"; \
		fi
	@touch $@

lint: $(READY)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(READY)
	@$(BIN)/mypy

contracts: $(READY)
	@$(BIN)/lint-imports

clean:
	rm -rf $(VENV) demo-out dist
