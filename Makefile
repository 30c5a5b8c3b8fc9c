# Every target makes the virtual environment it needs; nothing else has to be installed but Python 3.11+ and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PHOTOS    := $(VENV)/.photographs
READERS   := $(VENV)/readers
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: help demo test check lint format bench up tick customer ls get schemas pins clean
help:           ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(INSTALLED): requirements.txt requirements-dev.txt constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) -r requirements-dev.txt
	@touch $@

$(PHOTOS): $(INSTALLED) requirements-demo.txt
	@$(PIP) --no-deps -r requirements-demo.txt
	@touch $@

$(READERS)/.installed: $(INSTALLED) requirements-readers.txt
	@test -x $(READERS)/bin/python || $(BIN)/python -m venv $(READERS)
	@$(READERS)/bin/pip install --quiet --disable-pip-version-check --no-deps -r requirements-readers.txt
	@touch $@

# The demo reads COCO alone.
$(READERS)/.coco: $(INSTALLED) requirements-readers.txt
	@test -x $(READERS)/bin/python || $(BIN)/python -m venv $(READERS)
	@$(READERS)/bin/pip install --quiet --disable-pip-version-check --no-deps -c requirements-readers.txt numpy pillow pycocotools
	@touch $@

demo: $(PHOTOS) $(READERS)/.coco ## two days of a scheduled export, end to end, in about a minute
	@$(BIN)/python -m infra.local demo

test: $(INSTALLED) ## the quick tests: six minutes at most, loopback only
	@$(BIN)/python -m pytest -n 2 -m "not slow"

check: $(PHOTOS) $(READERS)/.installed ## what takes longer: real processes, kills, the demo
	@$(BIN)/python -m pytest -n 2 -m slow
	@WAYBILL_PART_RECORDS=10 WAYBILL_SLICE_IMAGES=3 WAYBILL_SLICE_FILES=3 $(BIN)/python -m pytest -n 2 -m "cuts and not slow"
	@WAYBILL_PART_RECORDS=10 $(BIN)/python -m pytest -n 2 tests/shared/exports/test_windows_hold.py
	@$(BIN)/python -m tests.emulators -n 2

lint: $(INSTALLED) ## style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(INSTALLED) ## put the code in shape
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(INSTALLED) ## the benchmarks, as a table and as .local/bench.json
	@$(BIN)/python -m tests.benchmarks

up: $(INSTALLED) ## Google Cloud on this machine, in the foreground
	@$(BIN)/python -m infra.local up

tick: $(INSTALLED) ## set the suite's clock and tick: make tick AT=2026-11-23T02:00:00Z
	@$(BIN)/python -m infra.local tick $(AT)

customer: $(INSTALLED) ## an account and a bucket for another customer: make customer ID=acme SLUG=acme BUCKET=acme-bi
	@$(BIN)/python -m infra.local customer '$(ID)' '$(SLUG)' '$(BUCKET)'

ls: $(INSTALLED) ## list a bucket of the suite, the demo customer's or another: make ls PLACE=gs://bucket/prefix
	@$(BIN)/python -m infra.local ls $(if $(PLACE),'$(PLACE)')

get: $(INSTALLED) ## fetch what is in it: make get PLACE=gs://bucket/prefix TO=folder
	@$(BIN)/python -m infra.local get $(if $(PLACE)$(TO),'$(PLACE)') $(if $(TO),'$(TO)')

schemas: $(INSTALLED) ## write docs/contracts/schemas/ and docs/contracts/bigquery/ as the code declares them
	@$(BIN)/python -m infra.schemas

pins: $(INSTALLED) ## write constraints.txt from what is installed
	@{ echo "# Every package that the virtual environment holds, pinned. Made by \`make pins\`."; $(BIN)/pip freeze --exclude scikit-image --exclude scikit-learn; } > constraints.txt

clean: ## throw away the suite's state
	@rm -rf .local
