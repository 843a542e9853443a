#!/usr/bin/env bash
# Compiles the client, its tests and the scenario's runner into build/clients/java, with what they need in lib/ beside
# them. With arguments, runs Maven with those instead. Without a network, once it was run with one.
set -euo pipefail
cd "$(dirname "$0")"
goals=("${@:-process-test-classes}")
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if mvn -q -B -o "${goals[@]}" >"$log" 2>&1; then
  cat "$log"
elif grep -q "offline mode" "$log"; then
  mvn -q -B "${goals[@]}"
else
  cat "$log"
  exit 1
fi
