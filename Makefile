# TORCH=system keeps the torch that is there (a Jetson's own build). XGBOOST=gpu takes XGBoost's CUDA build.
# Both are remembered in .venv; another choice later needs `make clean` first.
VENV := .venv
CHOICE := $(VENV)/choice.mk
-include $(CHOICE)
PYTHON ?= python3
TORCH ?= pinned
XGBOOST ?= cpu
RUN := $(VENV)/bin/musicreclass

ifeq ($(TORCH),system)
VENV_FLAGS := --system-site-packages
PINS := $(VENV)/constraints-without-torch.txt: constraints.txt $(VENV)/bin/python
	grep -v '^torch==' constraints.txt > $@

$(VENV)/.installed-$(TORCH)-$(XGBOOST): pyproject.toml $(PINS) $(VENV)/bin/python
	@grep -qx "TORCH := $(TORCH)" $(CHOICE) && grep -qx "XGBOOST := $(XGBOOST)" $(CHOICE) || \
		{ echo "$(VENV) was made with other choices ($$(paste -sd' ' $(CHOICE))): make clean first"; exit 2; }
	$(VENV)/bin/python -m pip install --quiet -c $(PINS) -e '.[$(XGBOOST)]' $(if $(filter pinned,$(TORCH)),torch==2.13.0)
	@touch $@

$(VENV)/.installed-dev-$(TORCH)-$(XGBOOST): $(VENV)/.installed-$(TORCH)-$(XGBOOST)
	$(VENV)/bin/python -m pip install --quiet -c $(PINS) -e '.[$(XGBOOST),dev]'
	@touch $@

install: $(VENV)/.installed-$(TORCH)-$(XGBOOST)  ## make .venv with everything a run needs
dev: $(VENV)/.installed-dev-$(TORCH)-$(XGBOOST)

demo: install  ## three models on synthetic genres, one table (minutes)
	$(RUN) train -m experiment=demo model=mlp,xgboost,logreg
	@echo
	$(RUN) compare outputs
	@echo "Look next: outputs/*/figures/*.png, make tensorboard, musicreclass train --help, and README.md"

test: dev  ## run the tests
	$(VENV)/bin/python -m pytest

test-slow: dev  ## run the tests that take minutes
	$(VENV)/bin/python -m pytest -m slow

lint: dev  ## check style
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

format: dev  ## mend style
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

types: dev  ## check types
	$(VENV)/bin/mypy

check: lint types test  ## all of the above

bench: dev  ## the speed table of benchmarks/README.md, measured here
	for file in benchmarks/*.py; do $(VENV)/bin/python $$file || exit 1; done

tensorboard: install  ## open all runs at http://localhost:6006
	$(VENV)/bin/tensorboard --logdir outputs --port 6006

clean:  ## remove .venv and build leftovers; runs and data stay
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
