#!/usr/bin/env bash
# Writes src/generated/java from proto/, with the plugins that pom.xml pins. With a directory, writes there instead.
set -euo pipefail
cd "$(dirname "$0")"
if ! command -v mvn >/dev/null; then
  echo "clients/java is left as it is: generating it needs Maven and Java 17" >&2
  exit 0
fi
out=${1:-$PWD/src/generated/java}
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
mvn -q -B -P generate -Dgenerated.directory="$made/java" io.github.ascopes:protobuf-maven-plugin:generate
rm -rf "$out" && mkdir -p "$(dirname "$out")" && cp -r "$made/java" "$out"
