#!/usr/bin/env bash
# Makes sure that the toolchain of rust-toolchain.toml is there with its components and targets.
# Silent and quick when it is: looks at files, asks no network.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

# list KEY: the strings of the array KEY in rust-toolchain.toml, one a line.
list() {
    sed -n "s/^$1 *= *\[\(.*\)\].*/\1/p" rust-toolchain.toml | tr -d '" ' | tr ',' '\n'
}

channel=$(sed -n 's/^channel *= *"\(.*\)".*/\1/p' rust-toolchain.toml)
[ -n "$channel" ] || fail 'rust-toolchain.toml names no channel'

complete() {
    local sysroot target
    command -v cargo >/dev/null || return 1
    sysroot=$(rustc --print sysroot 2>/dev/null) || return 1
    [[ $(rustc --version 2>/dev/null) == "rustc $channel "* ]] || return 1
    [ -x "$sysroot/bin/cargo-clippy" ] && [ -x "$sysroot/bin/rustfmt" ] || return 1
    for target in $(list targets); do
        [ -d "$sysroot/lib/rustlib/$target/lib" ] || return 1
    done
}

command -v cc >/dev/null ||
    fail 'no C compiler: install one first, for example with `apt install build-essential`'
if ! complete; then
    command -v rustup >/dev/null ||
        fail "rustc $channel with the targets $(list targets | xargs) is needed, and there is no rustup to install it: see https://rustup.rs"
    echo "setup: installing Rust $channel with its wasm targets"
    arguments=()
    for component in $(list components); do arguments+=(--component "$component"); done
    for target in $(list targets); do arguments+=(--target "$target"); done
    rustup toolchain install "$channel" --profile minimal --no-self-update "${arguments[@]}"
    complete || fail "Rust $channel is installed, yet \`rustc\` here is another: $(command -v rustc || echo none)"
fi
