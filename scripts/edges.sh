#!/usr/bin/env bash
# Fails when a dependency edge exists that docs/architecture.md forbids. Reads what cargo resolved for
# normal and build dependencies (`cargo tree`), all features and all targets, not what manifests say.
set -euo pipefail
cd "$(dirname "$0")/.."
broken=0

# tree CRATE: every crate that CRATE stands on, itself first, one name a line.
tree() {
    cargo tree --quiet --locked -p "$1" -e "${2:-normal,build}" --all-features --target all --prefix none -f '{p}' |
        sed 's/ .*//' | awk 'NF && !seen[$0]++'
}

# forbid CRATE KINDS NAME...: CRATE must not stand on any NAME by dependencies of these KINDS.
forbid() {
    local crate=$1 kinds=$2 name
    shift 2
    local below
    below=$(tree "$crate" "$kinds" | tail -n +2)
    for name in "$@"; do
        if [ "$name" != "$crate" ] && grep -qx -- "$name" <<<"$below"; then
            echo "forbidden: $crate depends on $name" >&2
            broken=1
        fi
    done
}

members=$(cargo metadata --quiet --locked --no-deps --format-version 1 |
    grep -o '"name":"[^"]*","version":"[^"]*","id":"path+' | cut -d'"' -f4)
guests=$(for manifest in guests/*/Cargo.toml; do sed -n 's/^name = "\(.*\)"/\1/p' "$manifest" | head -n 1; done)
[ -n "$members" ] && [ -n "$guests" ] || { echo 'edges: found no crates to look at' >&2; exit 1; }

if [ "$(tree switchboard-guest | wc -l)" -ne 1 ]; then
    echo "forbidden: switchboard-guest has dependencies: $(tree switchboard-guest | tail -n +2 | xargs)" >&2
    broken=1
fi
# Host and guests meet only in wit/. A guest's code generator never reaches the component, so guests are
# asked about normal dependencies only.
native=(switchboard switchboard-host switchboard-benches switchboard-test-support wasmtime wasmtime-wasi tokio h2 hyper tonic)
for guest in $guests; do
    # shellcheck disable=SC2086
    forbid "$guest" normal "${native[@]}" switchboard-guest-build $(xargs <<<"$guests")
done
forbid switchboard-guest-build normal,build "${native[@]}" switchboard-guest
# shellcheck disable=SC2086
forbid switchboard-host normal,build switchboard switchboard-guest switchboard-guest-build $guests
# shellcheck disable=SC2086
forbid switchboard normal,build switchboard-guest switchboard-guest-build $guests
# The tunnel knows no runtime, no browser and no HTTP implementation; tokio comes with its feature.
forbid switchboard-tunnel normal,build switchboard wasmtime hyper h2 tonic web-sys tracing
below=$(cargo tree --quiet --locked -p switchboard-tunnel -e normal,build --no-default-features --target all --prefix none -f '{p}')
if grep -q '^tokio ' <<<"$below"; then
    echo 'forbidden: switchboard-tunnel depends on tokio without its feature' >&2
    broken=1
fi
# Whoever calls needs nothing of what serves.
forbid switchboard-client normal,build switchboard switchboard-host switchboard-guest wasmtime
forbid switchboard-host normal,build switchboard-client
# In a browser the channel brings no HTTP/1.1, no TLS and no event loop of its own.
below=$(cargo tree --quiet --locked -p switchboard-client -e normal,build --all-features --target wasm32-unknown-unknown --prefix none -f '{p}')
for name in hyper rustls tokio-rustls mio getrandom; do
    if grep -q "^$name " <<<"$below"; then
        echo "forbidden: switchboard-client depends on $name in browsers" >&2
        broken=1
    fi
done
# What is released, and what is compared, has no doors for the ladder: only criterion's benches switch them on.
for member in $members; do
    [ "$member" != switchboard-host ] || continue
    below=$(cargo tree --quiet --locked -p "$member" -e normal,build,features --target all --prefix none)
    if grep -qF 'switchboard-host feature "ladder"' <<<"$below"; then
        echo "forbidden: $member switches on the feature ladder of switchboard-host" >&2
        broken=1
    fi
done
for member in $members; do
    forbid "$member" normal,build switchboard-benches switchboard-test-support
    case $member in switchboard-client*) ;; *) forbid "$member" normal,build switchboard-client-peer ;; esac
done

[ "$broken" -eq 0 ] && echo "edges: none forbidden in $(wc -w <<<"$members") crates"
exit "$broken"
