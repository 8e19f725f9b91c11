# Everything starts here; `make` alone lists the targets. POSIX shell, no sudo.

.POSIX:
.SUFFIXES:

VENV  = .venv
BIN   = $(VENV)/bin
STAMP = $(VENV)/.setup-done
CODE  = src tests $$(ls -d benchmarks 2>/dev/null)

# Whatever registry pip and uv are set up with is used, and never written down.
UV_VERSION = 0.13.9
COMPILE = env -u PIP_FIND_LINKS -u UV_FIND_LINKS UV_CUSTOM_COMPILE_COMMAND='make lock' \
	.lock-venv/bin/uv --quiet --no-config pip compile pyproject.toml --extra postgres \
	--python-version 3.11 --universal --generate-hashes \
	--no-emit-index-url --no-emit-find-links $(UPGRADE)

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1~\2/p' Makefile | awk -F'~' '{ printf "%-16s %s\n", $$1, $$2 }'

setup: $(STAMP) ## make .venv/bin/orderwire (does nothing the second time)

$(STAMP): requirements/dev.txt pyproject.toml
	@set -e; rm -f $(STAMP); \
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		found=; \
		for python in $(PYTHON) python3.11 python3 python3.12 python3.13 python3.14; do \
			"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
			found=$$python; \
			"$$python" -c 'import ensurepip, venv' 2>/dev/null || continue; \
			rm -rf $(VENV); echo "making $(VENV) with $$python"; "$$python" -m venv $(VENV); \
			break; \
		done; \
		if [ ! -x $(BIN)/pip ]; then \
			if [ -n "$$found" ]; then \
				echo "make setup: $$found cannot make virtual environments (no ensurepip or venv module)." >&2; \
				echo "Install them (Debian and Ubuntu: the package $${found##*/}-venv), or name another Python: make setup PYTHON=/path/to/python3.11" >&2; \
			else \
				echo "make setup: no Python 3.11 or newer on the PATH. Install one, or name it: make setup PYTHON=/path/to/python3.11" >&2; \
			fi; \
			exit 1; \
		fi; \
	fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: setup ## a whole shop in one command
	$(BIN)/orderwire demo

lint: setup ## ruff, mypy, import-linter
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy $(CODE)
	$(BIN)/lint-imports --no-logo

test: lint ## everything CI holds: lint, then all tests
	$(BIN)/python -m pytest -m "not chaos"

check: lint ## the fast inner loop: lint, then the tests that are neither slow nor journeys
	$(BIN)/python -m pytest -m "not slow and not chaos" --ignore=tests/journeys --ignore=tests/chaos

bench: setup ## the benchmark; prints one JSON line last
	$(BIN)/orderwire bench

chaos: setup ## kill it, fill its disk, cut its lines; nothing accepted may be lost
	$(BIN)/python -m tests.chaos

format: setup ## let ruff rewrite what it can
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

lock: ## pin pyproject.toml's dependencies anew; `make lock UPGRADE=--upgrade` takes the newest of each
	@test -x .lock-venv/bin/uv && .lock-venv/bin/uv --version | grep -q " $(UV_VERSION) " || { \
		for python in $(PYTHON) python3.11 python3; do command -v "$$python" >/dev/null && break; done; rm -rf .lock-venv; \
		"$$python" -m venv .lock-venv && .lock-venv/bin/python -m pip install --quiet uv==$(UV_VERSION); }
	$(COMPILE) --group dev --output-file requirements/dev.txt >/dev/null
	$(COMPILE) --constraint requirements/dev.txt --output-file requirements/core.txt >/dev/null
	@if grep -nE '^ *--(index|extra-index|find)|://|/(home|root|opt|Users)/' requirements/*.txt; then \
		echo "make lock: the lines above name a registry or a path of this machine" >&2; exit 1; fi

clean: ## remove what the targets above made
	rm -rf $(VENV) .lock-venv build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .schemathesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help setup demo lint test check bench chaos format lock clean
