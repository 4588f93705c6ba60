#!/usr/bin/env bash
# cargo with the one target directory and compiler cache of this machine: RocksDB is compiled once, not once a clone.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tidegate
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
mkdir -p "$CARGO_TARGET_DIR"
if command -v ccache >/dev/null; then
  export CC="ccache cc" CXX="ccache c++" CCACHE_DIR="$cache/ccache"
fi
if [ "${1:-}" = build ] && ! compgen -G "$CARGO_TARGET_DIR/release/build/librocksdb-sys-*/out/librocksdb.a" >/dev/null; then
  echo "The first build compiles RocksDB: about a quarter of an hour on two cores. Later ones take a minute or two." >&2
fi
exec cargo "$@"
