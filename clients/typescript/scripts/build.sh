#!/usr/bin/env bash
# Builds the package, its tests and the scenario's runner in build/clients/typescript; the sources stay clean, and what
# is current is left alone. The runner then is: node build/clients/typescript/build/scenario/main.js
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh
place=../../build/clients/typescript
sources=(src test scenario bench README.md biome.json tsconfig.json package.json package-lock.json)
current=$(find "${sources[@]}" -type f | LC_ALL=C sort | xargs cksum | cksum)
if [ "$(cat "$place/build/sources" 2>/dev/null)" != "$current" ]; then
  rm -rf "$place"/{src,test,scenario,bench,dist,build}
  cp -r "${sources[@]}" "$place"
  cd "$place"
  npm run --silent build
  npm run --silent programs
  echo "$current" >build/sources
fi
