#!/usr/bin/env bash
# Puts the pinned packages into build/clients/typescript; asks the registry only when the lock file changed.
set -euo pipefail
cd "$(dirname "$0")/.."
place=../../build/clients/typescript
command -v npm >/dev/null || { echo "clients/typescript needs Node.js 20 or newer with npm" >&2; exit 1; }
mkdir -p "$place"
if ! cmp -s package-lock.json "$place/node_modules/installed.json"; then
  cp package.json package-lock.json "$place"
  (cd "$place" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
  cp package-lock.json "$place/node_modules/installed.json"
fi
