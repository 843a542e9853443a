#!/usr/bin/env bash
# Writes what callers take besides stubs into build/contract: a descriptor set for grpcurl -protoset and for Envoy's
# transcoder, and a service config with the retries and the health checking that clients of any language understand.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
out=build/contract
mkdir -p "$out"
# google.rpc stands in it too: without it neither grpcurl nor Envoy can print what an error says.
common=$("$python" -c 'import google.rpc, pathlib; print(pathlib.Path(next(iter(google.rpc.__path__))).parent.parent)')
(cd proto && ls pushrpc/v1/*.proto) | xargs "$python" -m grpc_tools.protoc -I proto -I "$common" --include_imports \
  --include_source_info --descriptor_set_out="$out/pushrpc.protoset" google/rpc/status.proto google/rpc/error_details.proto
cp proto/service_config.json "$out/service_config.json"
echo "$out: pushrpc.protoset, service_config.json"
