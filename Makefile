# Run "make" for the list of targets.

VERSION   := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME  ?= 10s
TESTFLAGS ?=
# SQLite is C that was translated to Go. No memory in it is written by us, and under the
# race detector it takes six times as long, which is most of what tests with a database do.
RACEFLAGS := -race -gcflags=modernc.org/sqlite/lib=-race=false -gcflags=modernc.org/libc=-race=false
DEMO_FLAGS ?=

.DEFAULT_GOAL := help
.PHONY: help build demo test test-dsn check race fuzz bench bench-calls bench-media bench-api gen e2e

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## bin/tandem
	go build -trimpath -buildvcs=false -ldflags '-X main.version=$(VERSION)' -o bin/tandem ./cmd/tandem

demo: build ## two calls through a virtual number on loopback (DEMO_FLAGS=--once to end by itself)
	bin/tandem demo $(DEMO_FLAGS)

# Tests that mostly wait (t.Parallel) run beside each other. Those of whole calls run in
# real time: one package after the other, so that none starves another.
test: ## every test, after installing what they drive (TESTFLAGS: -run …)
	@scripts/install-test-tools
	@failed=0; \
	go test -parallel 5 -timeout 40m $(TESTFLAGS) $$(go list ./... | grep -v /test/) || failed=1; \
	go test -p 1 -parallel 5 -timeout 40m $(TESTFLAGS) ./test/... || failed=1; \
	exit $$failed

test-dsn: ## the store's suite and whole calls on another database: DSN=postgres://…
	TANDEM_TEST_DSN='$(DSN)' go test -count 1 -timeout 40m ./internal/store/postgres -run EveryStoreMust
	TANDEM_TEST_DSN='$(DSN)' go test -count 1 -timeout 40m ./test/e2e -run 'Either|WhoMay|TakeTurns|PIN|Guard|Explained|Stream|Arrives'

check: ## format, vet, staticcheck, generated files
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not as gofmt writes it:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go tool staticcheck ./...
	scripts/check-generated

race: ## every test under the race detector
	@scripts/install-test-tools gcc
	@$(MAKE) --no-print-directory test TESTFLAGS='$(RACEFLAGS) $(TESTFLAGS)'

fuzz: ## each fuzz target for FUZZTIME (10s)
	scripts/fuzz $(FUZZTIME)

bench: bench-calls bench-media bench-api ## all measurements below, in about ten minutes

bench-calls: build ## CPU seconds per 1000 calls, the most calls a second, added latency, memory
	@scripts/install-test-tools
	go run ./test/load/callbench -seconds 8

bench-media: ## CPU seconds per 1000 call-seconds of media, beside a C relay and recorded
	@scripts/install-test-tools gcc
	test/load/relaybench/run.sh -calls 200,800 -seconds 4 -rounds 3

bench-api: ## allocations a second beside a bare group-commit loop, the API beside a bare handler
	go run ./test/load/storebench -creates 20000
	go run ./test/load/apibench -seconds 3

gen: build ## write the generated files anew
	go generate ./...
	@scripts/generate-types
	bin/tandem config doc > docs/settings.md.new
	mv docs/settings.md.new docs/settings.md

e2e: ## the whole program in process, calls and all
	go test -count 1 -parallel 5 -timeout 20m $(TESTFLAGS) ./test/e2e/...
