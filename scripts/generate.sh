#!/usr/bin/env bash
# Writes src/pushrpc/v1 from proto/. With --check, proves that what is committed is current and writes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
bin=$(cd "$(dirname "$(command -v "$python" || echo "$python")")" && pwd)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
PATH="$bin:$PATH" "$python" -m grpc_tools.protoc -I proto \
  --python_out="$out" --grpc_python_out="$out" --mypy_out="quiet:$out" --mypy_grpc_out="quiet:$out" \
  proto/pushrpc/v1/*.proto
printf '"""Generated from proto/pushrpc/v1 by scripts/generate.sh; never edited."""\n' >"$out/pushrpc/v1/__init__.py"
if [ "${1:-}" = --check ]; then
  if ! diff -r --exclude=__pycache__ "$out/pushrpc/v1" src/pushrpc/v1; then
    echo "src/pushrpc/v1 is not what proto/ generates: run 'make generate' and commit the result." >&2
    exit 1
  fi
  echo "generated code is current"
else
  rm -rf src/pushrpc/v1 && cp -r "$out/pushrpc/v1" src/pushrpc/v1
  "$python" clients/python/generate.py proto clients/python/pushrpc_client/v1
  clients/java/generate.sh
  clients/go/generate.sh
  clients/typescript/scripts/generate.sh
fi
