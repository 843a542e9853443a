#!/usr/bin/env bash
# Installs the Debian packages that tests need; does nothing where they are there, or where there is no apt-get.
set -euo pipefail
packages=(
  chromium       # the browser of tests/web
  dbus-daemon    # the bus on which tests/web plays the desktop that shows Chromium's notifications
  libnghttp2-14  # one of the four HTTP/2 servers of tests/conformance
  nghttp2-server # nghttpd, the same as a program
)
command -v apt-get >/dev/null || exit 0
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
root=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { echo "Needs root or sudo: apt-get install ${missing[*]}" >&2; exit 1; }
  root=(sudo)
fi
install=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}")
"${install[@]}" >/dev/null 2>&1 || { "${root[@]}" apt-get update -qq && "${install[@]}" >/dev/null; }
