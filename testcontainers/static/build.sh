#!/usr/bin/env bash
# Builds twinlog as a static program, and an image of nothing else around it.
#
#   testcontainers/static/build.sh            the program target/static/twinlog, and the image twinlog:static
#   testcontainers/static/build.sh --binary   the program alone
#
# On Debian 12 on x86-64 it needs nothing but the registries of Debian and of crates: it installs the packages that are
# missing (as root), and builds Rust's standard library from source. The image is built with docker, podman or buildah,
# whichever is there and works, and kept by it; IMAGE names it otherwise.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=x86_64-unknown-linux-musl
folder=${CARGO_TARGET_DIR:-$PWD/target}
out=$folder/static
image=${IMAGE:-twinlog:static}

binary() {
    local kit=${XDG_CACHE_HOME:-$HOME/.cache}/twinlog/static-kit-1
    [ -x "$kit/linker-gcc" ] && [ -x /usr/bin/cargo ] || testcontainers/static/kit.sh "$kit"
    (
        # Debian's compiler by its full name: one of rustup, which has no sources of the standard library, comes
        # first in most paths.
        unset RUSTUP_TOOLCHAIN RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
        export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
        export CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER=$kit/linker-gcc
        export CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS="-C target-feature=+crt-static -C link-self-contained=no
            -L native=$kit -C link-arg=-lgcc"
        export CC_x86_64_unknown_linux_musl=musl-gcc AR_x86_64_unknown_linux_musl=ar
        /usr/bin/cargo build --config testcontainers/static/size.toml --locked --release --target "$target" \
            -Zbuild-std=std,panic_unwind --package twinlog --bin twinlog ${FEATURES:+--features "$FEATURES"}
    )
    mkdir -p "$out"
    strip -o "$out/twinlog" "$folder/$target/release/twinlog"
    # A program that needs a loader or a library would start nowhere but here.
    if readelf --program-headers --dynamic --wide "$out/twinlog" | grep -E 'INTERP|NEEDED'; then
        echo "static build: $out/twinlog is not static" >&2
        exit 1
    fi
    printf 'program: %s, %d bytes\n' "$out/twinlog" "$(stat -c %s "$out/twinlog")"
}

# The command that builds images here, as words.
engine() {
    if docker info >/dev/null 2>&1; then
        echo docker build
    elif podman info >/dev/null 2>&1; then
        echo podman build
    elif command -v buildah >/dev/null; then
        # Without a driver that needs the kernel's help: this one works in containers, too.
        echo buildah --storage-driver vfs build --isolation chroot
    else
        echo "static build: none of docker, podman and buildah is there; the program is built, the image is not" >&2
        exit 1
    fi
}

bundle() {
    local known
    for known in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
        if [ -s "$known" ]; then
            cp "$known" "$out/ca-certificates.crt"
            return
        fi
    done
    echo "static build: no bundle of CA certificates is here; install ca-certificates" >&2
    exit 1
}

# A bill of materials of the crates in the program, as CycloneDX. Not in it are what the toolchain brings along: musl,
# LLVM's libunwind and Rust's standard library, in the versions of Debian's packages.
sbom() {
    if ! cargo cyclonedx --version >/dev/null 2>&1; then
        echo "SKIPPED: no bill of materials is made without cargo-cyclonedx; cargo install cargo-cyclonedx --locked"
        return
    fi
    local name=twinlog.sbom
    cargo cyclonedx --quiet --format json --spec-version 1.5 --target "$target" --no-build-deps \
        --override-filename "$name"
    # It writes one beside each manifest, with the names of folders of this machine.
    sed "s|$PWD|twinlog|g" "$name.json" >"$out/twinlog.cdx.json"
    find . -path ./target -prune -o -name "$name.json" -exec rm {} +
    printf 'bill of materials: %s\n' "$out/twinlog.cdx.json"
}

binary
sbom
if [ "${1:-}" != --binary ]; then
    builder=$(engine)
    bundle
    # What the builder may see: nothing else of the tree.
    $builder --file testcontainers/static/Containerfile --tag "$image" "$out"
    echo "image: $image, by ${builder%% *}"
fi
