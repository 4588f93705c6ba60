#!/usr/bin/env bash
# Starts one node on its embedded default with a demo route, and says what to try next.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/tidegate
tidegate=${CARGO_TARGET_DIR:-$cache/target}/release/tidegate
log=data/tidegate.log
mkdir -p data
: >"$log"

"$tidegate" server --name demo --data-dir data/node >>"$log" 2>&1 &
node=$!
trap 'kill $node 2>/dev/null; wait $node' EXIT INT TERM

for _ in $(seq 300); do
  if grep -q 'serving the admin API' "$log"; then break; fi
  if ! kill -0 $node 2>/dev/null; then
    tail -5 "$log" >&2
    exit 1
  fi
  sleep 0.1
done
"$tidegate" ctl apply -f examples/demo-upstream.yaml
"$tidegate" ctl apply -f examples/quickstart.yaml

cat <<TEXT

One node is running: etcd clients on 2379, peers on 2380, admin API on 2381, gateway on 10080. Its log is $log. Try:

  curl -i http://127.0.0.1:10080/hello
  etcdctl put greeting hello && etcdctl get greeting && etcdctl watch --rev=1 greeting
  $tidegate ctl memory

Stop it with Ctrl-C.
TEXT
wait $node
