# TORCH=system keeps the installed torch (such as the Jetson build). XGBOOST=gpu installs XGBoost's CUDA build.
# Both choices are stored in .venv; run `make clean` before changing them.
VENV := .venv
NEWEST := .venv-newest
CHOICE := $(VENV)/choice.mk
-include $(CHOICE)
PYTHON ?= python3
TORCH ?= pinned
XGBOOST ?= cpu
RUN := $(VENV)/bin/musicreclass
PIP := $(VENV)/bin/python -m pip install --quiet

ifeq ($(TORCH),system)
VENV_FLAGS := --system-site-packages
PINS := $(VENV)/constraints-without-torch.txt
else
PINS := constraints.txt
TORCH_PIN := torch==2.13.0
endif

.DEFAULT_GOAL := help
.PHONY: help install dev demo test test-slow test-newest hashes licences lint format types check docs docs-serve bench baselines userclaim tensorboard clean

help:  ## print these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' || \
		{ echo "musicreclass requires Python 3.10 to 3.13; choose one with: make PYTHON=python3.12 ..."; exit 2; }
	@$(PYTHON) -m venv $(VENV_FLAGS) $(VENV) || \
		{ rm -rf $(VENV); echo "the virtual environment could not be created; on Debian: apt install python3-venv"; exit 2; }
	@printf 'TORCH := $(TORCH)\nXGBOOST := $(XGBOOST)\n' > $(CHOICE)

$(VENV)/constraints-without-torch.txt: constraints.txt $(VENV)/bin/python
	@grep -Ev '^(torch|torchaudio)==' constraints.txt > $@

$(VENV)/.installed-$(TORCH)-$(XGBOOST): pyproject.toml $(PINS) | $(VENV)/bin/python
	@grep -qx "TORCH := $(TORCH)" $(CHOICE) && grep -qx "XGBOOST := $(XGBOOST)" $(CHOICE) || \
		{ echo "$(VENV) was created with other choices ($$(paste -sd' ' $(CHOICE))); run make clean first"; exit 2; }
	$(PIP) -c $(PINS) -e '.[$(XGBOOST)]' $(TORCH_PIN)
	@touch $@

$(VENV)/.installed-dev-$(TORCH)-$(XGBOOST): $(VENV)/.installed-$(TORCH)-$(XGBOOST)
	$(PIP) -c $(PINS) -e '.[$(XGBOOST),dev]'
	@touch $@

install: $(VENV)/.installed-$(TORCH)-$(XGBOOST)  ## create .venv with everything needed to train
dev: $(VENV)/.installed-dev-$(TORCH)-$(XGBOOST)

demo: install  ## train and compare three models on synthetic genres (minutes)
	$(RUN) train -m experiment=demo model=mlp,xgboost,logreg
	@echo
	$(RUN) compare outputs
	@echo "Next: outputs/*/figures/*.png, make tensorboard, $(RUN) train --help, and README.md"

test: dev  ## run the tests
	$(VENV)/bin/python -m pytest -n auto --maxprocesses 4 --dist worksteal --durations=10

test-slow: dev  ## run the slow tests (minutes)
	$(VENV)/bin/python -m pytest -m "slow or encoders"

# By hand, before a release: a candidate of Hydra may change at any time. TORCH_INDEX offers CPU builds of torch; if it cannot be
# reached, torch comes from the default index.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
test-newest:  ## run the tests with the newest versions that pyproject allows and Hydra's release candidate, in .venv-newest
	$(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/python -m pip install --quiet --upgrade --no-deps --extra-index-url $(TORCH_INDEX) \
		"$$(sed -n 's/^    "\(torch[<>=].*\)",/\1/p' pyproject.toml)"
	$(NEWEST)/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager \
		-e '.[$(XGBOOST),dev]' 'hydra-core>=1.4.0rc1' 'hydra-joblib-launcher>=1.4.0rc1'
	$(NEWEST)/bin/python -m pip freeze --exclude-editable > $(NEWEST)/versions.txt
	$(NEWEST)/bin/python -m pytest -n auto --maxprocesses 4 --dist worksteal

# By hand, when constraints.txt changes: the same versions with the hashes of the package index, for pip --require-hashes.
hashes: $(VENV)/bin/python  ## write requirements-hashed.txt from constraints.txt, with uv
	$(PIP) uv
	$(VENV)/bin/uv pip compile pyproject.toml --extra cpu -c constraints.txt --universal --python-version 3.10 \
		--generate-hashes --no-header --no-annotate --no-emit-index-url --quiet -o requirements-hashed.txt

licences: dev  ## write docs/licences.md from the metadata of the installed packages
	$(VENV)/bin/python -m tools.licences

lint: dev  ## check style, import layers and spelling
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports --no-cache
	$(VENV)/bin/codespell

format: dev  ## fix style
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

types: dev  ## check types
	$(VENV)/bin/mypy

check: lint types test  ## all of the above

$(VENV)/.installed-docs-$(TORCH)-$(XGBOOST): $(VENV)/.installed-$(TORCH)-$(XGBOOST)
	$(PIP) -c $(PINS) -e '.[$(XGBOOST),docs]'
	@touch $@

docs: $(VENV)/.installed-docs-$(TORCH)-$(XGBOOST)  ## build the documentation site in build/site
	PYTHONPATH=. $(VENV)/bin/mkdocs build --strict

docs-serve: $(VENV)/.installed-docs-$(TORCH)-$(XGBOOST)  ## serve the documentation at http://localhost:8000
	PYTHONPATH=. $(VENV)/bin/mkdocs serve

bench: dev  ## run the benchmarks recorded in benchmarks/README.md
	for file in benchmarks/*.py; do $(VENV)/bin/python $$file || exit 1; done

# DATA=DIR contains GTZAN/ and FMA/; PARTIAL=1 also runs on partial data, and NOTE describes that data.
DATA ?= $(MUSICRECLASS_DATA)
BASELINES := MUSICRECLASS_DATA='$(DATA)' $(VENV)/bin/python -m tools.baselines $(if $(PARTIAL),--partial) $(if $(NOTE),--note '$(NOTE)')

baselines: install  ## run the experiments with available data (DATA=DIR); one: make baseline-NAME
	$(BASELINES)

baseline-%: install
	$(BASELINES) $*

userclaim: install  ## compare a leaky protocol with the official one, on FMA features (DATA=DIR)
	$(BASELINES) userclaim_77 userclaim_honest

tensorboard: install  ## open all runs at http://localhost:6006
	$(RUN) tensorboard outputs --port 6006

clean:  ## remove .venv, .venv-newest and build files; keep runs and data
	rm -rf $(VENV) $(NEWEST) build dist .pytest_cache .mypy_cache .ruff_cache
