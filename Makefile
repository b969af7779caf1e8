# Lorasmith in one-word commands. `make` alone lists them; every target sets up the environment first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
WORKSPACE ?= workspace
FUZZ_SECONDS ?= 60
# Tests run in this many processes, each with one thread: two threads that share two cores are
# slower. Browser tests wait for much of their time, so four processes fill two cores.
JOBS ?= 4
# Many tests start commands: each would compile all of the project again where the environment
# forbids compiled files. And bitsandbytes hands functions that we do not use to torch.compile while
# it is imported, which loads the compiler, a second in each process, unless it is switched off.
PYTEST := PYTHONDONTWRITEBYTECODE= TORCHDYNAMO_DISABLE=1 OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest

# Run only when there is no environment yet.
define CHECK_PYTHON
{ command -v $(PYTHON) >/dev/null 2>&1 || { \
	echo "$(PYTHON) was not found. Install Python 3.11 or newer, or name it: make setup PYTHON=python3.12"; \
	exit 1; }; \
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	echo "Lorasmith needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
		"Name another one: make setup PYTHON=python3.12"; \
	exit 1; }; }
endef

.DEFAULT_GOAL := help
.PHONY: help setup demo app check test test-slow test-windows-files fuzz gpu-check fmt lint types docs docs-check \
	dist

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' \
		| awk -F'|' '{ printf "  make %-18s %s\n", $$1, $$2 }'

setup: $(INSTALLED)  ## create .venv and install everything, at the tested versions

# One pip command, so that the resolver sees the pinned torch together with all that needs it.
$(INSTALLED): pyproject.toml constraints.txt
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { $(CHECK_PYTHON) && $(PYTHON) -m venv $(VENV); }
	@echo "Installing into $(VENV); the first time takes a few minutes (torch is large)."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

demo: setup  ## train a LoRA on the starter model and draw it at several weights
	$(BIN)/lorasmith demo --workspace $(WORKSPACE)

app: setup  ## open the app
	$(BIN)/lorasmith app --workspace $(WORKSPACE)

check: lint types docs-check test  ## everything that must pass before a change is merged

test: setup  ## the fast tests: offline, on the CPU
	$(PYTEST) -q -n $(JOBS) --dist loadscope --no-loadscope-reorder -m "not slow and not gpu"

test-slow: setup  ## the slow tests
	$(BIN)/python -m pytest -q -m "slow and not gpu"

test-windows-files: setup  ## the tests and the demo under the file rules of Windows (slow; needs Linux)
	$(BIN)/python -m tests.windows.run

fuzz: setup  ## damaged files and requests, for FUZZ_SECONDS (60) from SEED
	$(BIN)/python -W ignore -m tests.fuzz --seconds $(FUZZ_SECONDS) $(if $(SEED),--seed $(SEED))
	FUZZ_EVENTS=$$(( $(FUZZ_SECONDS) * 5 )) $(if $(SEED),FUZZ_SEED=$(SEED)) $(PYTEST) -q tests/fuzz/test_requests.py

gpu-check: setup  ## the tests that need a CUDA device; without one they are skipped and say so
	$(BIN)/python -m pytest -v -m gpu

fmt: setup  ## format the code and mend what ruff can mend
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

lint: setup  ## formatting, ruff rules, JavaScript and the layers between packages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/oxlint app/ui/js
	$(BIN)/lint-imports

types: setup  ## mypy, for each system that people use
	$(BIN)/mypy --platform linux
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin

dist: setup  ## build the sdist, and the wheel from it, into dist/
	$(BIN)/uv build --out-dir dist

docs: setup  ## write the generated pages of docs/ again, and the doctor's list of tested versions
	cp constraints.txt trainer/doctor/tested.txt
	$(BIN)/python docs/generate.py

docs-check: setup  ## fail when a generated page of docs/ is out of date
	$(BIN)/python docs/generate.py --check
