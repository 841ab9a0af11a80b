#!/usr/bin/env bash
# fuzz.sh SECONDS [TARGET...]: runs the tunnel's fuzz targets (all without a name) for so long each.
# Needs a C++ compiler for libFuzzer, and nothing else: the compiler's own coverage passes are switched
# on by hand, so the pinned toolchain does. What libFuzzer finds stays in tunnel/fuzz/corpus, a failing
# input in tunnel/fuzz/artifacts; put it into tunnel/fuzz/seeds with the mending.
set -euo pipefail
cd "$(dirname "$0")/../tunnel/fuzz"
seconds=$1
shift
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    for file in fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi

if ! command -v "${CXX:-c++}" >/dev/null; then
    echo 'fuzz: libFuzzer is C++: install a compiler for it (Debian: g++)' >&2
    exit 1
fi

# No sanitizer: the crate has no unsafe code, and panics and failed assertions are what we look for.
passes=(-Cpasses=sancov-module)
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    passes+=("-Cllvm-args=-sanitizer-coverage-$option")
done
export RUSTFLAGS="${passes[*]} --cfg fuzzing -Cdebug-assertions -Coverflow-checks -Ccodegen-units=1"
export CARGO_TARGET_DIR="$PWD/../../target/fuzz"
# Naming the platform keeps the flags away from build scripts.
platform=$(rustc -vV | sed -n 's/^host: //p')
cargo build --quiet --release --target "$platform"

for target in "${targets[@]}"; do
    mkdir -p "corpus/$target" artifacts
    log="artifacts/$target.log"
    if ! "$CARGO_TARGET_DIR/$platform/release/$target" -max_total_time="$seconds" -max_len=1024 \
        -artifact_prefix="artifacts/$target-" "corpus/$target" "seeds/$target" >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        echo "fuzz: $target failed; its log is tunnel/fuzz/$log" >&2
        exit 1
    fi
    echo "fuzz: $target: $(tail -n 1 "$log")"
done
