#!/usr/bin/env bash
# setup-python.sh VENV REQUIREMENTS: a Python environment with exactly the packages of REQUIREMENTS.
# Installs python3 and python3-venv with apt when they are missing. Quick when all is there: the copy
# of REQUIREMENTS inside VENV is written last, so that an interrupted set-up is done again.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1
requirements=$2

fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

cmp -s "$requirements" "$venv/requirements.txt" && [ -x "$venv/bin/python" ] && exit 0

usable() {
    python3 -c 'import ensurepip, venv' 2>/dev/null
}

if ! usable; then
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null ||
            fail 'python3 and python3-venv are missing; install them as root: apt install python3 python3-venv'
        as_root=(sudo)
    fi
    command -v apt-get >/dev/null ||
        fail 'python3 with its venv module is missing and there is no apt-get; install it and try again'
    echo 'setup: installing python3 and python3-venv'
    install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 python3-venv)
    # The package lists of a fresh machine may be empty or old.
    "${install[@]}" || { "${as_root[@]}" apt-get update && "${install[@]}"; }
    usable || fail 'python3 still has no venv module'
fi

echo "setup: Python packages of $requirements into $venv"
rm -rf "$venv"
python3 -m venv "$venv"
# Wheels only: a package that would have to be compiled is a pin to correct, not an hour to wait.
"$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: -r "$requirements"
cp "$requirements" "$venv/requirements.txt"
