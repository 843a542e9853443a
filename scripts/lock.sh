#!/usr/bin/env bash
# Writes requirements.lock (what serves) and requirements-dev.lock (plus tests and checks) from pyproject.toml.
# One file for every platform and Python: markers inside decide. Hashes make a changed artifact fail the install.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() { uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-emit-find-links --no-header "$@" pyproject.toml; }
compile -o requirements.lock
compile --extra dev -o requirements-dev.lock
