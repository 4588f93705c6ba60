# Two commands do everything: `make run` and `make test`. Both install what they need (Debian, as root or with sudo).
.PHONY: run build test test-long check fmt lint doc setup

run: build
	@scripts/run.sh

build:
	@scripts/setup.sh build
	@scripts/cargo.sh build --release --workspace --bin tidegate

test:
	@scripts/setup.sh test
	@scripts/test.sh

# Everything, with the durations and seed counts of docs/testing.md, column "long".
test-long:
	@scripts/setup.sh test
	@TIDEGATE_LONG=1 scripts/test.sh

check: lint test

lint:
	@scripts/setup.sh build
	@scripts/cargo.sh fmt --all --check
	@scripts/cargo.sh clippy --release --workspace --all-targets -- -D warnings
	@RUSTDOCFLAGS="-D warnings" scripts/cargo.sh doc --release --workspace --no-deps

fmt:
	@scripts/cargo.sh fmt --all

doc:
	@scripts/cargo.sh doc --release --workspace --no-deps
