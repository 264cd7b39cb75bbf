#!/usr/bin/env bash
# The one test command: installs what is missing, then formatting, clippy, all tests, docs.
#
#   scripts/test.sh          the quick tier
#   scripts/test.sh --full   also long fuzzing, every seed and configuration, and SwiftShader where it is installed
#
# Needs Rust with cargo. The tests run on every adapter of this machine, a software one included, and fail where there
# is none. Set WGRAD_SAMPLE=conv2d/ to compare the kernels of one operator only.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

swiftshader=/usr/lib/chromium/libvk_swiftshader.so
full=0

main() {
    parse_arguments "$@"
    need_cargo
    need_packages
    note_missing_data
    note_missing_browser
    export WGRAD_REQUIRE_GPU=1
    # Mesa's device-select layer prints errors where there is no desktop session.
    export NODEVICE_SELECT=1
    if [ "$full" = 1 ]; then
        export WGRAD_FULL=1 PROPTEST_CASES="${PROPTEST_CASES:-20000}"
    fi

    stage "formatting" cargo fmt --check
    stage "clippy" cargo clippy --release --all-targets -- -D warnings
    stage "build of the tests" cargo test --release --no-run
    stage "tests" cargo test --release --no-fail-fast
    stage "docs" env RUSTDOCFLAGS="-D warnings" cargo doc --release --no-deps
    if [ "$full" = 1 ]; then
        stage "SPIR-V of cooperative matrices" scripts/validate_spirv.sh
        on_swiftshader
    fi
    echo
    echo "ALL PASSED in ${SECONDS} s$([ "$full" = 1 ] && echo ' (full)' || true)"
}

parse_arguments() {
    for argument in "$@"; do
        case "$argument" in
            --full) full=1 ;;
            -h | --help) sed -n '2,8s/^# \{0,1\}//p' scripts/test.sh; exit 0 ;;
            *) fail "unknown argument $argument; there is only --full" ;;
        esac
    done
}

# Runs a command under a title; says how long it took, and ends everything if it fails.
stage() {
    local title=$1 start=$SECONDS
    shift
    echo
    echo "== $title: $*"
    if ! "$@"; then
        echo
        fail "$title, after $((SECONDS - start)) s"
    fi
    echo "== $title: passed in $((SECONDS - start)) s"
}

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

need_cargo() {
    command -v cargo > /dev/null || fail "cargo is missing; install Rust (see rust-toolchain.toml for the version)"
    local component
    for component in fmt clippy; do
        if ! cargo "$component" --version > /dev/null 2>&1; then
            command -v rustup > /dev/null || fail "cargo $component is missing and there is no rustup to add it"
            rustup component add "${component/#fmt/rustfmt}"
        fi
    done
}

# A linker for Rust, a terminal and, on Linux, a Vulkan driver; Metal and DX12 come with their systems.
need_packages() {
    [ "$(uname -s)" = Linux ] || return 0
    local packages=()
    command -v cc > /dev/null || packages+=(gcc libc6-dev)
    have_vulkan_driver || packages+=(mesa-vulkan-drivers)
    have_vulkan_loader || packages+=(libvulkan1)
    # The dashboard is tested in a terminal of tmux.
    command -v tmux > /dev/null || packages+=(tmux)
    [ "${#packages[@]}" = 0 ] || install_packages "${packages[@]}"
}

# Whether any driver has a manifest where Vulkan's loader looks.
have_vulkan_driver() {
    [ -z "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ] || return 0
    local folder
    for folder in /usr/share /usr/local/share /etc "${XDG_DATA_HOME:-$HOME/.local/share}"; do
        compgen -G "$folder/vulkan/icd.d/*.json" > /dev/null && return 0
    done
    return 1
}

have_vulkan_loader() {
    local folder
    for folder in /usr/lib /usr/lib64 /usr/local/lib /lib; do
        compgen -G "$folder/libvulkan.so.1" > /dev/null && return 0
        compgen -G "$folder/*/libvulkan.so.1" > /dev/null && return 0
    done
    # Elsewhere (such as NixOS) only the linker knows.
    ldconfig -p 2> /dev/null | grep -q 'libvulkan\.so\.1'
}

install_packages() {
    command -v apt-get > /dev/null ||
        fail "install these, or what your system calls them, and run again: $* (a Vulkan driver such as Mesa's lavapipe, Vulkan's loader, a C linker)"
    local as_root=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo > /dev/null || fail "run as root: apt-get install $*"
        as_root=(sudo)
    fi
    stage "packages" "${as_root[@]}" apt-get update
    stage "packages" "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends "$@"
}

# cargo hides what passing tests print, so this is said here.
note_missing_data() {
    if [ ! -d ../shared/datasets/mnist ]; then
        echo "SKIPPED: ../shared/datasets/mnist is absent; tests on the real MNIST do nothing"
    fi
}

# Not installed here: it is larger than all the rest, and one test needs it.
note_missing_browser() {
    local name
    for name in chromium chromium-browser google-chrome; do
        command -v "$name" > /dev/null && return 0
    done
    echo "SKIPPED: there is no Chromium; the test that opens a page in it does nothing"
}

# The kernels once more on Chromium's software Vulkan, if it is there.
on_swiftshader() {
    if [ ! -f "$swiftshader" ]; then
        echo
        echo "SKIPPED: SwiftShader ($swiftshader) is not installed"
        return 0
    fi
    manifests=$(mktemp -d)
    trap 'rm -rf "$manifests"' EXIT
    local manifest="$manifests/swiftshader.json"
    printf '{"file_format_version": "1.0.0", "ICD": {"library_path": "%s", "api_version": "1.1.0"}}\n' \
        "$swiftshader" > "$manifest"
    stage "kernels on SwiftShader" env VK_DRIVER_FILES="$manifest" VK_ICD_FILENAMES="$manifest" \
        cargo test --release --test parity
}

main "$@"
