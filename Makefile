# Every command of the project. `make` or `make help` lists them.

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
RUN ?= runs/mini
BENCH ?= runs/bench
# PHOTOS, GROCERIES and WORDNET name the folders of the training data, KEYWORDS a file; what is not named is left out.
DATA = $(if $(PHOTOS),--photos $(PHOTOS)) $(if $(GROCERIES),--groceries $(GROCERIES)) \
    $(if $(WORDNET),--wordnet $(WORDNET)) $(if $(KEYWORDS),--keywords $(KEYWORDS))

.PHONY: help demo test check lint types format train index explain results first-screen race pictures browser
.PHONY: clean
.DEFAULT_GOAL := help

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

demo: $(VENV)/.installed pictures ## set everything up and serve the page
	$(BIN)/python app.py

test: $(VENV)/.installed-dev pictures browser ## set everything up and run the tests
	$(BIN)/python -m pytest

check: lint types test ## format, lint, types, tests: what CI runs

lint: $(VENV)/.installed-dev ## formatting and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.installed-dev ## type check
	$(BIN)/mypy

format: $(VENV)/.installed-dev ## lay the code out
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

train: $(VENV)/.installed-dev pictures ## train all three stages: PHOTOS=… GROCERIES=… WORDNET=… KEYWORDS=… [RUN=runs/mini]
	$(BIN)/python -m genius train all --run $(RUN) $(DATA)

index: $(VENV)/.installed pictures ## rebuild assets/index with the model in checkpoints/
	$(BIN)/python -m genius index all --out assets/index

explain: $(VENV)/.installed pictures ## name and map the codes of assets/index again, and fill docs/codes.md [GROCERIES=…]
	$(BIN)/python -m genius explain --report docs/codes.md $(if $(GROCERIES),--groceries $(GROCERIES))

results: $(VENV)/.installed-dev pictures ## measure all eight tasks beside exact search: PHOTOS=… GROCERIES=… [BENCH=runs/bench]
	test -d $(BENCH) || $(BIN)/python -m genius benchmark-set --photos $(PHOTOS) --groceries $(GROCERIES) --out $(BENCH)
	$(BIN)/python -m genius evaluate --queries $(BENCH)/query/*.jsonl --pool $(BENCH)/cand_pool/*.jsonl \
	    --instructions $(BENCH)/instructions/query_instructions.tsv --images-root $(BENCH) --json $(BENCH)-results.json

first-screen: $(VENV)/.installed pictures ## search for what the page opens on, again
	$(BIN)/python -m genius.ui

race: $(VENV)/.installed pictures ## race against vector search here, for the page to show elsewhere: assets/race.json
	$(BIN)/python -m genius benchmark race --sizes 1000 10000 100000 1000000 --out assets/race.json

clean: ## remove the environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache

# ---- environment ----

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed. If you have one: make demo PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt | $(BIN)/pip
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt requirements-train.txt $(VENV)/.installed
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements-dev.txt
	@touch $@

# ---- system packages: nice to have, never a reason to fail ----

pictures:
	@sh tools/apt-install.sh "Photographs and clip art are left out; everything else works." $$(cat packages.txt)

browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
	    sh tools/apt-install.sh "Tests in a browser are left out." chromium
