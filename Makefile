# What a person types. `make` alone prints this list; thin on purpose: what has
# an `if` worth testing is a Go program under test/ or pkg/localstack/cmd.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# v0.8.2 calls itself 2026.2.2.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
COMMANDS := ./services/ingest/cmd/ingest ./services/processor/cmd/processor ./services/acknowledger/cmd/acknowledger ./services/waybill/cmd/waybill

# Test material that is not part of the repository; found beside it when not named.
WAYBILL_CASES ?= $(wildcard $(abspath ../shared/cases))
ifneq ($(WAYBILL_CASES),)
export WAYBILL_CASES
endif

# Bounds the whole of one package's tests. The two minutes of torture are part of it.
TEST_TIMEOUT ?= 15m
# Further flags of `go test`, such as -run=TestAccept or -count=1.
TEST_FLAGS ?=
# Flags of test/verdict, such as -no-skips.
VERDICT_FLAGS ?=
# What `make test` tests: every module.
PACKAGES ?= work
# These start many processes and kill servers of their own: one package at a time.
HEAVY := /test/(e2e|torture)$$
# The race detector costs about ten times the CPU: tests that only drive other
# processes, or that run thousands of seeds on one goroutine, would show nothing more.
RACE_EXCEPT := /test/(bench|benchfiles|boundary|compose|e2e|planted|simulation|torture)(/|$$)|/pkg/localstack(/|$$)|/ingest/internal/cases$$

STACK := go run ./pkg/localstack/cmd/stack run --kafka --
VERDICT = go run ./test/verdict $(VERDICT_FLAGS)

.PHONY: help
help: ## Print this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: ## Install what is missing (as root, with apt) or name it; fetch Apache Kafka once.
	@scripts/setup

.PHONY: build
build: ## Build the binaries into bin/.
	@mkdir -p bin
	@CGO_ENABLED=0 go build -trimpath -o bin/ $(COMMANDS)
	@ls -1 bin

.PHONY: test
test: setup ## Run all tests on a real Postgres and a real Apache Kafka.
	@export light="$$(go list $(PACKAGES) | grep -vE '$(HEAVY)' || true)" heavy="$$(go list $(PACKAGES) | grep -E '$(HEAVY)' || true)"; \
	$(STACK) bash -c 'for part in "-p=2 $$light" "-p=1 $$heavy"; do set -- $$part; if (($$# > 1)); then go test -json -timeout $(TEST_TIMEOUT) $(TEST_FLAGS) "$$@"; fi; done; true' | $(VERDICT)

.PHONY: test-cases
test-cases: ## Run every file of WAYBILL_CASES through the product's readers and verifiers.
	@go run ./services/ingest/cmd/cases "$(WAYBILL_CASES)"

.PHONY: race
race: setup ## Run the tests of all packages with concurrency under the race detector.
	@packages=$$(go list work | grep -vE '$(RACE_EXCEPT)'); \
	CGO_ENABLED=1 $(STACK) go test -race -json -timeout $(TEST_TIMEOUT) $(TEST_FLAGS) $$packages | $(VERDICT)

.PHONY: demo
demo: ## Show 10,000 records through a bad day; DEMO_ARGS=--exit leaves when it balances.
	@go run ./services/waybill/cmd/waybill demo $(DEMO_ARGS)

.PHONY: planted
planted: setup ## Plant known bugs one by one and show that the tests catch each.
	@$(STACK) go run ./test/planted $(PLANTED_ARGS)

.PHONY: simulate
simulate: ## Run many seeds of the pure core in virtual time: SEEDS=1000000 FROM=1.
	@go run ./test/simulation/cmd/simulate -seeds $(or $(SEEDS),100000) -from $(or $(FROM),1)

.PHONY: torture
torture: setup ## Kill, pause and wipe real processes under load: SEED=1 MINUTES=10.
	@go run ./test/torture -seed $(or $(SEED),1) -minutes $(or $(MINUTES),10) $(TORTURE_ARGS)

.PHONY: bench
bench: setup ## Measure CPU, rate, latency and memory; its last line is one JSON object.
	@go run ./test/bench $(BENCH_ARGS)

.PHONY: bench-files
bench-files: setup ## Measure files into the ledger beside COPY; BENCH_FILES_ARGS='-size 64MiB' for a quick look.
	@go run ./test/benchfiles $(BENCH_FILES_ARGS)

.PHONY: schemathesis
schemathesis: setup ## Let a property-based client hold ingest against its OpenAPI document: SECONDS_EACH=60.
	@go run ./test/http/schemathesis -seconds $(or $(SECONDS_EACH),60) $(SCHEMATHESIS_ARGS)

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME=30s.
	@scripts/fuzz $(or $(FUZZTIME),30s)

.PHONY: lint
lint: ## Check format, vet and staticcheck; golangci-lint too where it is installed.
	@scripts/lint "$(STATICCHECK)"

.PHONY: generate
generate: ## Write generated code, documents and golden files again.
	@scripts/generate

.PHONY: check-generated
check-generated: ## Fail when `make generate` would change a committed file.
	@scripts/generate --check

.PHONY: tidy
tidy: ## Tidy every go.mod in the order of their dependence.
	@scripts/tidy

.PHONY: clean
clean: ## Remove what was built. What `waybill up` keeps in var/ stays: it is a ledger.
	@rm -rf bin coverage.out
