# Every target makes the virtual environment it needs; nothing else has to be installed but Python 3.11+ and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PHOTOS    := $(VENV)/.photographs
NEUTRAL   := $(VENV)/.neutral
READERS   := $(VENV)/readers
TOOLS     := $(VENV)/tools
PROVIDER  := $(VENV)/provider
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check

# Else each process that a test starts compiles all that it imports, and each pytest rewrites every test module.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test check lint format bench up tick customer ls get schemas pins licences sbom clean
help:           ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(INSTALLED): requirements-dev.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --require-hashes -r $<
	@touch $@

$(TOOLS)/.installed: requirements-tools.lock | $(INSTALLED)
	@test -x $(TOOLS)/bin/python || $(BIN)/python -m venv $(TOOLS)
	@$(TOOLS)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
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

$(NEUTRAL): $(INSTALLED) requirements-bench.txt
	@$(PIP) --no-deps -r requirements-bench.txt
	@touch $@

$(PROVIDER)/.fetched: $(INSTALLED) requirements-provider.txt
	@rm -rf $(PROVIDER)
	@$(BIN)/pip download --quiet --disable-pip-version-check --no-deps --dest $(PROVIDER) -r requirements-provider.txt
	@touch $@

demo: $(PHOTOS) $(READERS)/.coco ## two days of a scheduled export, end to end, in about a minute
	@$(BIN)/python -m infra.local demo

test: $(INSTALLED) ## the quick tests: four minutes at most, loopback only
	@$(BIN)/python -m pytest -n 2 -m "not slow"

check: $(PHOTOS) $(NEUTRAL) $(READERS)/.installed $(TOOLS)/.installed $(PROVIDER)/.fetched ## what takes longer: real processes, kills, the demo
	@$(BIN)/python -m pytest -n 2 -m slow
	@WAYBILL_PART_RECORDS=1 WAYBILL_SLICE_IMAGES=1 WAYBILL_SLICE_FILES=1 WAYBILL_COPY_BATCH=1 $(BIN)/python -m pytest -n 2 -m "cuts and not slow"
	@WAYBILL_PART_RECORDS=10 $(BIN)/python -m pytest -n 2 tests/shared/exports/test_windows_hold.py
	@$(BIN)/python -m tests.emulators -n 2

lint: $(INSTALLED) ## style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(INSTALLED) ## put the code in shape
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(INSTALLED) $(NEUTRAL) ## the benchmarks, as a table and as .local/bench.json
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

PIN := $(TOOLS)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--annotation-style line --custom-compile-command "make pins" $(if $(UPGRADE),--upgrade)
pins: $(TOOLS)/.installed ## pin what the requirements name, with hashes; UPGRADE=1 takes the newest of everything
	@$(PIN) requirements.txt -o requirements.lock
	@$(PIN) requirements-dev.txt -c requirements.lock -o requirements-dev.lock
	@$(PIN) requirements-deploy.txt -c requirements.lock -o requirements-deploy.lock
	@$(PIN) requirements-tools.txt -o requirements-tools.lock

licences: $(TOOLS)/.installed $(INSTALLED) ## write docs/operators/licences.md from what is installed
	@$(BIN)/python -m infra.licences

sbom: $(TOOLS)/.installed ## list what is deployed, with hashes, in CycloneDX's form: dist/sbom.json
	@mkdir -p dist
	@$(TOOLS)/bin/cyclonedx-py requirements requirements.lock --output-reproducible --of JSON -o dist/sbom.json

clean: ## throw away the suite's state
	@rm -rf .local
