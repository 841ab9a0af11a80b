#!/usr/bin/env bash
# guests.sh [CARGO FLAG...]: builds every guests/NAME into target/guests/NAME.wasm and prints their sizes.
#
# A guest may list `variants` under [package.metadata.switchboard]: features, each of which makes
# another component of the same code. They land in target/guests-NAME/NAME-VARIANT.wasm, outside the
# folder of things worth serving.
#
# One cargo call for each guest: built together, all would get the union of the SDK features that any
# of them asks for. A file is replaced in one step and only when its content changed, so a host that
# is reading it never sees half of one.
set -euo pipefail
cd "$(dirname "$0")/.."
built="${CARGO_TARGET_DIR:-target}/wasm32-wasip2/guest"
target=wasm32-wasip2

mkdir -p target/guests
# Another `make` in the same checkout waits here: both would write the same files.
exec 9>target/guests.lock
flock 9

# build NAME DESTINATION [CARGO FLAG...]
build() {
    local name=$1 destination=$2
    shift 2
    cargo build --quiet --profile guest --target "$target" -p "$name" "$@"
    local from="$built/${name//-/_}.wasm"
    [ -f "$from" ] || { echo "guests/$name left no $from: is its crate-type cdylib?" >&2; exit 1; }
    if ! cmp -s "$from" "$destination"; then
        cp "$from" "$destination.new"
        mv "$destination.new" "$destination"
    fi
    printf '  %9d  %s\n' "$(stat -c %s "$destination")" "$destination"
}

# variants MANIFEST: the strings of the array `variants`, which may span lines, one a line.
variants() {
    awk '/^\[/ { inside = ($0 == "[package.metadata.switchboard]") } inside' "$1" | sed 's/#.*//' | tr '\n' ' ' |
        sed -n 's/.*variants *= *\[\([^]]*\)\].*/\1/p' | grep -o '"[^"]*"' | tr -d '"' || true
}

echo '      bytes  component'
kept=" "
for manifest in guests/*/Cargo.toml; do
    name=$(basename "$(dirname "$manifest")")
    build "$name" "target/guests/$name.wasm" "$@"
    kept+="$name.wasm "
    for variant in $(variants "$manifest"); do
        mkdir -p "target/guests-$name"
        build "$name" "target/guests-$name/$name-$variant.wasm" "$@" --features "$variant"
    done
done

# A guest that was renamed or removed must not go on being served.
for file in target/guests/*.wasm; do
    [[ $kept == *" $(basename "$file") "* ]] || rm -v "$file"
done
