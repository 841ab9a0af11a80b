#!/usr/bin/env bash
# features.sh [CARGO FLAG...]: checks every library and binary that has features with none of them,
# with each alone and with all; the guest SDK for both wasm targets too, features or not, and the
# tunnel without its only feature, which is for native platforms; the client for browsers. Guests are
# left out: their features make other components, and `make guests` builds each.
set -euo pipefail
cd "$(dirname "$0")/.."

# features MANIFEST: the names in its [features] section but `default`.
features() {
    awk '/^\[/ { inside = ($0 == "[features]") } inside && /^[a-zA-Z0-9_-]+ *=/ { print $1 }' "$1" | grep -vx default || true
}

run() {
    echo "cargo $*"
    cargo "$@"
}

for manifest in */Cargo.toml; do
    names=$(features "$manifest")
    crate=$(sed -n 's/^name = "\(.*\)"/\1/p' "$manifest" | head -n 1)
    platforms=('')
    case $crate in switchboard-guest | switchboard-tunnel) platforms+=(wasm32-wasip2 wasm32-unknown-unknown) ;; esac
    [ "$crate" = switchboard-client ] && platforms+=(wasm32-unknown-unknown)
    for platform in "${platforms[@]}"; do
        base=(check --quiet -p "$crate" ${platform:+--target "$platform"} "$@")
        # Without features there is one way to build it, which `make check` has seen natively.
        [ -z "$names$platform" ] || run "${base[@]}" --no-default-features
        [ -n "$names" ] || continue
        if [ "$crate" = switchboard-tunnel ] && [ -n "$platform" ]; then continue; fi
        for name in $names; do run "${base[@]}" --no-default-features --features "$name"; done
        run "${base[@]}" --all-features
    done
done
