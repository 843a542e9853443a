#!/usr/bin/env bash
# Builds the package, its tests and the scenario's runner in build/clients/typescript; the sources stay clean.
# The runner then is: node build/clients/typescript/build/scenario/main.js
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install.sh
place=../../build/clients/typescript
rm -rf "$place"/{src,test,scenario,bench,dist,build}
cp -r src test scenario bench README.md biome.json tsconfig.json package.json package-lock.json "$place"
cd "$place"
npm run --silent build
npm run --silent programs
