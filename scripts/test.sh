#!/usr/bin/env bash
# Builds and runs every test, and closes with one line: N passed, N failed.
set -uo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed_steps=0
if [ "${TIDEGATE_LONG:-}" = 1 ]; then
  # The rarest damage that the log's recovery was seen to get wrong needs about a thousand scripts.
  export TIDEGATE_CRASH_SEEDS=${TIDEGATE_CRASH_SEEDS:-1500}
fi

step() {
  echo "== $*" >&2
  if ! "$@" 2>&1 | tee -a "$log"; then failed_steps=$((failed_steps + 1)); fi
}

step scripts/cargo.sh build --release --workspace --bin tidegate --bin xtask
peers=$(scripts/cargo.sh xtask peers) || failed_steps=$((failed_steps + 1))
export TIDEGATE_PEERS=$peers
step scripts/cargo.sh test --release --workspace --no-fail-fast
# What serves HTTP/1.1, without io_uring: where the kernel refuses it, this is what runs.
step env TIDEGATE_TEST_EPOLL=1 scripts/cargo.sh test --release --workspace --no-fail-fast --lib --test reference -- \
  h1:: upstream:: multiplex:: data:: the_gateway
step scripts/cargo.sh xtask planted

passed=$(sed -n 's/^test result: .* \([0-9]*\) passed; .*/\1/p' "$log" | awk '{s+=$1} END {print s+0}')
failed=$(sed -n 's/^test result: .* \([0-9]*\) failed; .*/\1/p' "$log" | awk '{s+=$1} END {print s+0}')
# A step that failed without a failed test (a build, a crash) counts as one.
if [ "$failed" = 0 ] && [ "$failed_steps" != 0 ]; then failed=$failed_steps; fi
if [ "$passed" = 0 ] && [ "$failed" = 0 ]; then failed=1; fi
sed -n '/^failures:$/,/^test result/p' "$log" | grep -E '^    ' | sort -u
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
