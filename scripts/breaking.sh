#!/usr/bin/env bash
# Fails when the contract would break callers: against the last release, or against main where nothing was released yet.
set -euo pipefail
cd "$(dirname "$0")/.."
git rev-parse --git-dir >/dev/null 2>&1 || { echo "not a git repository: nothing to compare the contract with"; exit 0; }
against=$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null || true)
if [ -z "$against" ]; then
  against=$(git rev-parse --verify --quiet origin/main || git rev-parse --verify --quiet main || git rev-parse HEAD)
fi
before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT
git archive "$against" proto buf.yaml | tar -x -C "$before"
buf breaking --against "$before"
echo "contract: nothing breaks callers of ${against:0:12}"
