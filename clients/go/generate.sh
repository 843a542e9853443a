#!/usr/bin/env bash
# Writes pushrpc/v1 from proto/, with the plugins that tools/go.mod pins. With a directory, writes there instead.
set -euo pipefail
cd "$(dirname "$0")/../.."
if ! command -v go >/dev/null; then
  echo "clients/go is left as it is: generating it needs Go" >&2
  exit 0
fi
python=${PYTHON:-.venv/bin/python}
module=github.com/pushrpc/pushrpc/clients/go
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
mkdir "$made/bin"
go -C clients/go/tools build -o "$made/bin/" \
  google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
PATH="$made/bin:$PATH" "$python" -m grpc_tools.protoc -I proto \
  --go_out="$made" --go_opt=module=$module --go-grpc_out="$made" --go-grpc_opt=module=$module \
  proto/pushrpc/v1/*.proto
out=${1:-clients/go/pushrpc/v1}
rm -rf "$out" && mkdir -p "$(dirname "$out")" && cp -r "$made/pushrpc/v1" "$out"
