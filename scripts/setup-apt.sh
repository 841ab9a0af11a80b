#!/usr/bin/env bash
# setup-apt.sh COMMAND=PACKAGE...: installs each PACKAGE with apt whose COMMAND is not there yet.
set -euo pipefail

fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

packages=()
for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null || packages+=("${pair#*=}")
done
[ "${#packages[@]}" -gt 0 ] || exit 0

command -v apt-get >/dev/null || fail "install these and try again (no apt-get here): ${packages[*]}"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "install these as root and try again: apt install ${packages[*]}"
    as_root=(sudo)
fi
echo "setup: installing ${packages[*]}"
install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}")
# The package lists of a fresh machine may be empty or old.
"${install[@]}" >/dev/null || { "${as_root[@]}" apt-get update -q && "${install[@]}"; }
