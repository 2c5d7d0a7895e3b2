# One command each for what people do most; everything else is `ws` (see `make help`).
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

STACK ?= dev
ENGINE ?= auto
VOLUMES ?=
ARGS ?=

# bench/naive is what an unprepared recipe costs: naive on purpose.
DOCKERFILES = $(filter-out bench/naive/%,$(wildcard *Dockerfile */Dockerfile */*/Dockerfile))
SHELL_SCRIPTS = bin/ws .ci/run .ci/images $(wildcard entrypoints/*.sh entrypoints/*/*.sh images/*/*.sh)

PYTHONS := python3 python3.14 python3.13 python3.12 python3.11
WS := .venv/bin/python -m ws
PIP := .venv/bin/python -m pip install --quiet --disable-pip-version-check
# Locks are complete; pip would also refuse what a package asks for and does not need (requirements-policy.in).
PIP_INSTALL := $(PIP) --require-hashes --no-deps
# The command `ws`, from this checkout: built with what is installed already, so nothing is downloaded.
INSTALL_WS := $(PIP) --no-deps --no-build-isolation --editable .
UV_COMPILE := uv pip compile --quiet --no-header --generate-hashes --universal --python-version 3.11

.PHONY: help up preview down matrix docker-build report ps logs doctor check test test-process test-cluster test-images test-live test-chaos \
	coverage docs lint audit hooks lock lock-check clean

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  Variables: STACK=$(STACK)  ENGINE=$(ENGINE) (auto, pulumi, embedded)  VOLUMES=1 (down: the data too)"
	@echo "  Tests:     make test-process, test-cluster, test-images, test-live, test-chaos (CONTRIBUTING.md)"
	@echo "  More:      bin/ws --help"

up: .venv/ready ## Set this host up, deploy the stack and verify it
	@$(WS) up --stack $(STACK) --engine $(ENGINE) $(ARGS)

preview: .venv/ready ## Show what `make up` would change
	@$(WS) preview --stack $(STACK) --engine $(ENGINE) $(ARGS)

down: .venv/ready ## Remove the stack; VOLUMES=1 removes its data too
	@$(WS) down --stack $(STACK) $(if $(VOLUMES),--volumes) $(ARGS)

matrix: .venv/ready ## Build the image family and the images of services; ARGS="--minimal" for one image of each target
	@$(WS) matrix --engine $(ENGINE) $(ARGS)

docker-build: .venv/ready ## Build the exporter's image by itself; ARGS=health for that of another service
	@$(WS) build $(or $(ARGS),system-info-exporter)

report: .venv/ready ## Show the last builds of images
	@$(WS) report $(ARGS)

ps: .venv/ready ## List the stack's containers
	@$(WS) ps --stack $(STACK) $(ARGS)

logs: .venv/ready ## Follow what the services write
	@$(WS) logs --stack $(STACK) --follow $(ARGS)

doctor: .venv/ready ## Check every precondition
	@$(WS) doctor --stack $(STACK) $(ARGS)

check: .venv/ready-dev ## Fast checks without Docker or root: linters, types, unit tests
	@began=$$(date +%s); $(MAKE) lint && .venv/bin/python -m testing.lanes unit -q $(ARGS) \
		&& echo "make check: $$(($$(date +%s) - began)) s"

test: .venv/ready-dev ## Install what the tests need and run them all; ARGS=tests/unit for those without Docker
	@.venv/bin/python -m testing.lanes $(ARGS)

test-process test-cluster test-images test-live test-chaos: test-%: .venv/ready-dev
	@.venv/bin/python -m testing.lanes $* $(ARGS)

coverage: .venv/ready-dev ## Measure what unit and process tests cover
	@.venv/bin/python -m pytest tests/process --set-up-only -q
	@.venv/bin/python -m pytest tests/unit tests/process -n auto --dist loadfile -q --cov \
		--cov-report=term:skip-covered $(ARGS)

lint: .venv/ready-dev ## Check style, types, import rules, shell scripts and Dockerfiles
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache --no-logo
	.venv/bin/shellcheck $(SHELL_SCRIPTS)
	.venv/bin/hadolint $(DOCKERFILES)

docs: .venv/ready-docs ## Build the documentation site in build/docs, with all links checked
	@NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --quiet
	@echo "open build/docs/index.html; for the search: python3 -m http.server -d build/docs"

audit: .venv/ready-audit ## Look for known vulnerabilities of all locked packages; needs pypi.org or ARGS="--service osv"
	@.venv/bin/python -m testing.audit $(ARGS)

hooks: .venv/ready-dev ## Install the pre-commit hooks, which call the tools of .venv
	.venv/bin/pre-commit install

lock lock-check: export PATH := $(CURDIR)/.venv/bin:$(PATH)
lock: .venv/ready-dev ## Lock all dependencies again, of this program and of its images
	$(UV_COMPILE) --output-file requirements.txt requirements.in
	$(UV_COMPILE) --output-file requirements-dev.txt requirements-dev.in
	$(UV_COMPILE) --output-file requirements-docs.txt requirements-docs.in
	$(UV_COMPILE) --output-file requirements-audit.txt requirements-audit.in
	$(UV_COMPILE) --no-deps --output-file requirements-policy.txt requirements-policy.in
	.venv/bin/python -m images.lock

# PyTorch's builds for CPUs get hashes where PyTorch's index answers, and these files have none yet.
lock-check: lock ## Lock again and fail if a committed lock file changes; needs a package index
	git diff --exit-code -- 'requirements*.txt' 'images/*.txt' ':!images/ml/locks/*-cpu.txt'

clean: ## Remove the Python environment and caches; deployments stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the Python environment ---

NEWER_THAN := sys.version_info < (3, 11)
FIND_PYTHON = for python in $(PYTHONS); do "$$python" -c 'import sys, ensurepip, venv; sys.exit($(NEWER_THAN))' \
	2>/dev/null && command -v "$$python" && break; done | grep .
INSTALL_PYTHON = test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
	&& echo "installing python3 and python3-venv" && apt-get update -qq \
	&& DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends python3 python3-venv >/dev/null

# An environment whose Python is gone, too old or half installed is recreated from scratch.
USABLE := $(shell .venv/bin/python -c 'import sys, pip; sys.exit($(NEWER_THAN))' 2>/dev/null && echo yes)
ifneq ($(USABLE),yes)
.PHONY: .venv/bin/python .venv/ready .venv/ready-dev .venv/ready-docs .venv/ready-audit .venv/ready-policy
endif

.venv/bin/python:
	@rm -rf .venv
	@$(FIND_PYTHON) >/dev/null || { $(INSTALL_PYTHON); } || true
	@python=$$($(FIND_PYTHON)) || { echo "Python 3.11 or newer, with its venv module, is needed and not here." \
		"On Debian or Ubuntu: sudo apt-get install python3 python3-venv" >&2; exit 1; }; \
	echo "making .venv with $$python"; "$$python" -m venv .venv

# Written last: an installation that was interrupted is done again.
.venv/ready: requirements.txt pyproject.toml | .venv/bin/python
	@echo "installing the packages of requirements.txt"
	@$(PIP_INSTALL) -r requirements.txt
	@rm -f .venv/bin/ws
	@$(INSTALL_WS)
	@touch $@

.venv/ready-dev .venv/ready-docs .venv/ready-audit .venv/ready-policy: .venv/ready-%: requirements-%.txt | .venv/ready
	@echo "installing the packages of $<"
	@$(PIP_INSTALL) -r $<
	@touch $@

.venv/ready-dev: | .venv/ready-policy
