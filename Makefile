# The operator's commands; `make` alone lists them. What they do is in toolchain/.
STACK ?= dev
ARCH ?= s390x
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
TOOLCHAIN = $(if $(PYTHON),$(PYTHON) -m toolchain,$(error Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)))
RUN = .venv/bin/python -m
# One word for the shell, whatever is in it: an apostrophe, a dollar sign.
quoted = '$(subst ','\'',$(value $(1)))'
TESTS ?=
# Side by side: those with an engine one after another, the others beside them (tests/conftest.py).
BESIDE = -n 2 --dist loadgroup
# Not from the shell's environment, where the name may mean anything.
LDAP =
IMAGES ?= jupyter_notebook_s390x jupyter_hub_s390x zhub_filter_s390x zhub_directory_s390x
PARTS ?=
BENCH ?=

.DEFAULT_GOAL = help
.PHONY: help up preview down env doctor test test-long lint bench lock audit sbom toolchain base cli clean

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

up: ## get what is missing, bring the stack up, say how to log in (STACK=dev)
	@$(TOOLCHAIN) up $(call quoted,STACK)

preview: ## show what `make up` would change
	@$(TOOLCHAIN) preview $(call quoted,STACK)

down: ## remove everything the stack made, except the users' volumes
	@$(TOOLCHAIN) down $(call quoted,STACK)

env: ## print shell lines for plain pulumi commands: eval "$(make -s env)"
	@$(TOOLCHAIN) env $(call quoted,STACK)

doctor: ## say what is there, what is missing and what to type (LDAP=USER for the directory)
	@$(TOOLCHAIN) $(if $(value LDAP),directory $(call quoted,STACK) $(call quoted,LDAP),doctor $(call quoted,STACK))

test: ## run the tests, getting what they need first (TESTS=unit for those that need nothing)
ifneq ($(filter unit,$(TESTS)),)
	@$(TOOLCHAIN) development-environment
	$(RUN) pytest -m unit $(BESIDE) $(filter-out unit,$(TESTS))
else
	@$(TOOLCHAIN) test-environment
	$(RUN) pytest -m "not long" $(or $(TESTS),$(BESIDE))
endif

test-long: ## run the tests that take long, which `make test` leaves out
	@$(TOOLCHAIN) test-environment
	$(RUN) pytest -m long $(TESTS)

lint: ## ruff, mypy, who imports whom, shellcheck
	@$(TOOLCHAIN) lint-environment
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	PYTHONPATH=.:images/hub:images/notebook .venv/bin/lint-imports
	shellcheck $$(git ls-files | xargs grep -lE '^#!/(usr/)?bin/(env )?(ba)?sh')

bench: ## measure the images beside others, into docs/benchmarks.md (PARTS=size,start for some)
	@$(TOOLCHAIN) test-environment
	$(RUN) benchmarks $(if $(PARTS),--parts=$(PARTS)) $(BENCH)

lock: ## refresh every pin and hash, and show what changed
	@$(TOOLCHAIN) development-environment
	@$(RUN) toolchain.lock

audit: ## ask what is known to be wrong with what the images hold
	@$(TOOLCHAIN) development-environment
	@$(RUN) toolchain.audit $(IMAGES)

sbom: ## write down what the images hold, and show what changed (IMAGES=...)
	@$(TOOLCHAIN) development-environment
	@$(RUN) toolchain.sbom $(IMAGES)

toolchain: ## get what is missing, and nothing else
	@$(TOOLCHAIN) toolchain $(call quoted,STACK)

base: ## get new base images: from the archives the project names, an image registry or a mirror
	@$(TOOLCHAIN) base

cli: ## build the Pulumi CLI for another machine to save it the work (ARCH=s390x)
	@$(TOOLCHAIN) cli $(call quoted,ARCH)

clean: ## remove this clone's environment and toolchain; state and shared cache stay
	rm -rf .venv .toolchain .hypothesis .mypy_cache .pytest_cache .ruff_cache
