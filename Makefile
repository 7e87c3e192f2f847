# The operator's commands; `make` alone lists them. Their code is in toolchain/.
STACK ?= dev
ARCH ?= s390x
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
TOOLCHAIN = $(if $(PYTHON),$(PYTHON) -m toolchain,$(error Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)))
RUN = .venv/bin/python -m
# Quote a value as one word for the shell, even with an apostrophe or a dollar sign in it.
quoted = '$(subst ','\'',$(value $(1)))'
TESTS ?=
# Two at a time; what may run beside what: tests/conftest.py.
BESIDE = -n 2 --dist loadgroup --no-loadscope-reorder
UNIT = -m unit $(BESIDE)
# Not from the environment, where LDAP and YES may mean something else.
LDAP =
YES =
TO =
FROM =
RECIPIENT =
KEEP =
ONLY =
REPLACE =
DO =
AT =
NOTICE =
TEXT =
UNTIL =
LIMIT =
# What people write may have a $( in it: make would expand it for the environment of commands.
unexport NOTICE TEXT
# Every shell has a USER: only the command line says which user is meant.
HOME_OF := $(if $(filter command,$(firstword $(origin USER))),$(value USER))
IMAGES ?=
PARTS ?=
BENCH ?=

.DEFAULT_GOAL = help
.PHONY: help up preview down env doctor backup restore homes sizes users test test-long lint settings pictures bench lock audit sbom \
	toolchain base cli clean

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

up: ## install what is missing, bring the stack up, print how to log in (STACK=dev, YES=1: do not ask)
	@$(if $(value YES),ZHUB_YES=1 )$(TOOLCHAIN) up $(call quoted,STACK)

preview: ## show what `make up` would change
	@$(TOOLCHAIN) preview $(call quoted,STACK)

down: ## remove everything the stack made, except users' homes and shared folders
	@$(if $(value YES),ZHUB_YES=1 )$(TOOLCHAIN) down $(call quoted,STACK)

env: ## print shell lines that set up plain pulumi commands: eval "$(make -s env)"
	@$(TOOLCHAIN) env $(call quoted,STACK)

doctor: ## check this machine and say what to do (LDAP=USER: say whether a user can log in)
	@$(TOOLCHAIN) $(if $(value LDAP),directory $(call quoted,STACK) $(call quoted,LDAP),doctor $(call quoted,STACK))

backup: ## back the stack up, while people work (TO=FOLDER, RECIPIENT=KEYFILE: encrypt, KEEP=14: only the last)
	@$(TOOLCHAIN) backup $(call quoted,STACK) $(call quoted,TO) $(call quoted,RECIPIENT) $(call quoted,KEEP)

restore: ## restore into an empty stack (FROM=FOLDER; USER=NAME: one home into a folder beside, ONLY=database, REPLACE=yes)
	@$(TOOLCHAIN) restore $(call quoted,STACK) $(call quoted,FROM) $(call quoted,HOME_OF) $(call quoted,ONLY) $(call quoted,REPLACE)

homes: ## move homes to where new ones are made (homesPath), which pruning the engine leaves
	@$(TOOLCHAIN) homes $(call quoted,STACK)

sizes: ## show how large homes, servers and shared folders are, while people work (LIMIT=10G: which homes have nearly that)
	@$(TOOLCHAIN) sizes $(call quoted,STACK) $(call quoted,LIMIT)

users: ## list users (DO=stop, drain, renew, open, message, export, forget, accept, orphans; USER=NAME; docs/people.md)
	@$(if $(value YES),ZHUB_YES=1 )$(TOOLCHAIN) users $(call quoted,STACK) $(call quoted,DO) $(call quoted,HOME_OF) \
		$(call quoted,AT) $(call quoted,NOTICE) $(call quoted,TO) $(call quoted,TEXT) $(call quoted,UNTIL)

test: ## run the tests, after installing what they need (TESTS=unit: quick ones, which need no engine)
ifneq ($(filter unit,$(TESTS)),)
	@$(TOOLCHAIN) development-environment
	$(RUN) pytest $(UNIT) $(filter-out unit,$(TESTS))
else
	@$(TOOLCHAIN) test-environment
	$(RUN) pytest -m "not long" $(or $(TESTS),$(BESIDE))
endif

test-long: ## run the tests that take long, which `make test` leaves out
	@$(TOOLCHAIN) test-environment
	$(RUN) pytest -m long $(TESTS)

lint: ## run ruff, mypy, import-linter, shellcheck
	@$(TOOLCHAIN) lint-environment
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	PYTHONPATH=.:images/hub:images/notebook .venv/bin/lint-imports
	shellcheck $$(git ls-files | xargs grep -lE '^#!/(usr/)?bin/(env )?(ba)?sh')

settings: ## write Pulumi.yaml and the table of docs/configuration.md from the settings' entries
	@$(TOOLCHAIN) development-environment
	@$(RUN) components.settings

pictures: ## use the dev stack with a real browser and write docs/pictures
	@$(TOOLCHAIN) test-environment
	$(RUN) pytest tests/engine/browser -m "not long" --pictures=docs/pictures

bench: ## measure the images and write docs/benchmarks.md (PARTS=size,start: only these)
	@$(TOOLCHAIN) test-environment
	PYTHONPATH=.:images/hub $(RUN) benchmarks $(if $(PARTS),--parts=$(PARTS)) $(BENCH)

lock: ## move every pin and hash to the newest version, and show what changed
	@$(TOOLCHAIN) development-environment
	@$(RUN) toolchain.lock

audit: ## look for known vulnerabilities and missing updates in the stack's images
	@$(TOOLCHAIN) development-environment
	@$(RUN) toolchain.audit $(call quoted,STACK) $(IMAGES)

sbom: ## list the packages in the stack's images, and show what changed (IMAGES=...: in these)
	@$(TOOLCHAIN) development-environment
	@$(RUN) toolchain.sbom $(call quoted,STACK) $(IMAGES)

toolchain: ## install what is missing, and do nothing else
	@$(TOOLCHAIN) toolchain $(call quoted,STACK)

base: ## get new base images from the project's archives, an image registry or a Debian mirror
	@$(TOOLCHAIN) base

cli: ## build the Pulumi CLI for another machine (ARCH=s390x)
	@$(TOOLCHAIN) cli $(call quoted,ARCH)

clean: ## remove this clone's environment and toolchain; keep state and shared cache
	rm -rf .venv .toolchain .hypothesis .mypy_cache .pytest_cache .ruff_cache
