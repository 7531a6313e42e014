# Soleil's commands. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help demo build web test e2e bench soak scenarios lint fmt fuzz clean

CARGO ?= cargo
# The demo and the tests run the same, optimised development build: one target directory, one build.
PROFILE ?= dev
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
BIN_DIR := $(TARGET_DIR)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))

help: ## This list
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-9s %s\n", $$1, $$2 }'

demo: ## Root, 2 relays, 3 leaves and a broadcaster on this machine; prints READY and the address
	@scripts/setup.sh demo
	@$(MAKE) --no-print-directory build
	@exec $(BIN_DIR)/soleil-demo

build: web ## Build every binary
	@$(CARGO) build --workspace --bins --profile $(PROFILE)

web: web/dist/index.html ## Build the web pages
web/dist/index.html: $(shell find web -path web/node_modules -prune -o -path web/dist -prune -o -type f -print)
	@scripts/setup.sh build
	@cd web && npm run --silent build
	@touch $@

test: ## Install what is missing and run every test, the real-browser ones included
	@scripts/setup.sh test
	@scripts/test.sh

e2e: web ## Only the tests that start a whole tree of processes
	@scripts/setup.sh test
	@$(CARGO) build --workspace --bins
	@$(CARGO) test -p soleil-tests -- --test-threads=1

bench: ## Viewers of one leaf on one core, beside the machine's limit (PEERS=janus: and Janus); figures in target/bench
	@scripts/setup.sh build
	@scripts/bench.sh

soak: ## Relays die, vanish and leave under viewers, nodes are moved, hundreds of times (scripts/soak.sh names the numbers); figures in target/bench
	@scripts/setup.sh build
	@scripts/soak.sh

scenarios: ## Whole trees on virtual time: growth to 10,000 nodes, churn, a lost region (SCENARIO, SEED); results in target/scenarios
	@scripts/setup.sh build
	@scripts/scenarios.sh

lint: ## Formatting, clippy without warnings, cargo-deny, the web's linter
	@scripts/setup.sh build
	@scripts/lint.sh

fmt: ## Format everything
	@$(CARGO) fmt --all
	@cd web && npm run --silent format

fuzz: ## Short fuzzing of every parser (FUZZ_SECONDS each, 30 by default)
	@scripts/fuzz.sh

clean: ## Remove what was built
	@$(CARGO) clean
	@rm -rf web/dist web/node_modules tests/browser/node_modules
