#!/usr/bin/env bash
# Writes src/generated, or the directory named, from proto/ and google.rpc's error details.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v npm >/dev/null; then
  echo "clients/typescript is left as it is: generating it needs Node.js and npm" >&2
  exit 0
fi
out=$(realpath -m "${1:-src/generated}")
scripts/install.sh
cd ../..
python=${PYTHON:-.venv/bin/python}
google=$("$python" -c 'import google.rpc, pathlib; print(pathlib.Path(google.rpc.__path__[0]).parents[1])')
rm -rf "$out" && mkdir -p "$out"
"$python" -m grpc_tools.protoc -I proto -I "$google" \
  --plugin=protoc-gen-es=build/clients/typescript/node_modules/.bin/protoc-gen-es \
  --es_out="$out" --es_opt=target=ts,import_extension=js \
  proto/pushrpc/v1/*.proto "$google"/google/rpc/{error_details,status}.proto
