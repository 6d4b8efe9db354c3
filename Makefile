# `make` lists the targets. Everything runs in $(VENV), made by `python -m venv` and plain pip with the versions of constraints.txt.
SHELL  := /bin/bash
VENV   ?= .venv
PYTHON ?= $(or $(shell command -v python3.11),python3)
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --no-compile -c constraints.txt
# all processors compile what pip laid down, pip itself would use one; some packages carry files that are no Python and do not compile
COMPILE := $(BIN)/python -m compileall -q -j 0 llmbench $(VENV)/lib > /dev/null || true
# options of `make demo`: DATA='web=web/*.jsonl.gz code=src/**/*.py'  QUICK=1  OUT=folder
DATA   ?=
QUICK  ?=
OUT    ?=

.DEFAULT_GOAL := help
.PHONY: help demo test lab docs bench prepare install install-dev lock

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.core ## the main job: find a mixture for DATA (default: text this Python carries); QUICK=1 for a minute's version
	$(BIN)/llmbench run mixture_search $(if $(DATA),-p data='$(DATA)') $(if $(QUICK),-p quick=$(QUICK)) $(if $(OUT),--out '$(OUT)')

test: $(VENV)/.dev ## everything that must hold: lint, notebooks, docs, tests, the main job; ends with `N passed, N failed`
	@$(BIN)/python dev/test.py

lab: $(VENV)/.core ## JupyterLab, opened on the first tutorial
	$(BIN)/jupyter lab nbs/tutorials/first_mixture.ipynb

docs: $(VENV)/.dev ## the documentation site, in _docs/index.html
	$(BIN)/python docs/build.py

# what the others only import is no benchmark
BENCHMARKS := $(filter-out common peers texts,$(basename $(notdir $(wildcard benchmarks/*.py))))
bench: $(VENV)/.dev ## every benchmark, also after one that misses a bar; numbers go to benchmarks/results/
	@mkdir -p benchmarks/results
	@bad=; for b in $(BENCHMARKS); do echo "== $$b"; $(BIN)/python benchmarks/$$b.py --json benchmarks/results/$$b.json || bad="$$bad $$b"; done; \
	if [ -n "$$bad" ]; then echo "failed, or missed a bar:$$bad"; exit 1; fi

prepare: $(VENV)/.dev ## before a commit: export the notebooks, clean them, refresh README, lint, check the floors
	$(BIN)/nbdev_export
	$(BIN)/nbdev_clean
	$(BIN)/python dev/readme.py
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -q tests/test_project.py

lock: $(VENV)/.core ## write constraints.txt anew after settings.ini changed (keeps what is pinned)
	$(BIN)/python dev/lock.py

install: $(VENV)/.core ## the environment of `make demo` and `make lab`
install-dev: $(VENV)/.dev ## the same plus what tests and docs need, and a Chromium

# torch comes first and alone: the build you have or your pip is set up for (CPU, CUDA) stays when the rest follows
$(VENV)/.core: constraints.txt settings.ini setup.py
	@$(PYTHON) -c 'import sys; sys.version_info>=(3, 11) or sys.exit("llmbench needs Python 3.11 or newer, $(PYTHON) is %d.%d: make PYTHON=python3.11" % sys.version_info[:2])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "no venv module: apt-get install python3.11-venv (Debian, Ubuntu), then run make again"; exit 1; }
	@echo "installing into $(VENV) (a few minutes the first time)"
	@$(PIP) "$$(grep '^torch==' constraints.txt)"
	@$(PIP) -e .
	@$(COMPILE)
	@touch $@

$(VENV)/.dev: $(VENV)/.core dev/browser.py dev/mail.py
	@$(PIP) -e '.[dev,docs,cluster,models,preference,evaluation,track,dashboard]'
	@$(PIP) --no-deps $$(sed -n 's/^packaged_[a-z]* = //p' settings.ini)
	@$(BIN)/python dev/browser.py
	@$(BIN)/python dev/mail.py
	@$(COMPILE)
	@touch $@
