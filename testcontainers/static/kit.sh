#!/usr/bin/env bash
# Prepares what links a static program of Rust against musl on Debian 12 on x86-64, from Debian's packages alone, in the
# folder that is named. `rustup target add` would bring a finished musl target, where its server can be reached.
set -euo pipefail
kit=$1
musl=/usr/lib/x86_64-linux-musl

packages=(rustc-web cargo-web rust-web-src musl-tools musl-dev gcc binutils make)
if ! dpkg --status "${packages[@]}" >/dev/null 2>&1; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "static build: Debian's packages ${packages[*]} are needed; install them as root" >&2
        exit 1
    fi
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}"
fi

new=$kit.$$
trap 'rm -rf "$new"' EXIT
mkdir -p "$new"

# Panics unwind by LLVM's library: that of gcc asks for a symbol that only glibc has. Its package holds other things
# that would get in the way if they were installed, so it is only unpacked.
(
    cd "$new"
    apt-get download -q -o APT::Sandbox::User=root libunwind-14-dev
    dpkg -x libunwind-14-dev_*.deb unpacked
)
mv "$new/unpacked/usr/lib/llvm-14/lib/libunwind.a" "$new/libunwind.a"
# It was compiled for glibc, where printing goes by a function of this name.
cat >"$new/printing.c" <<'C'
#include <stdarg.h>
#include <stdio.h>

int __fprintf_chk(FILE *to, int level, const char *format, ...) {
    (void)level;
    va_list rest;
    va_start(rest, format);
    int written = vfprintf(to, format, rest);
    va_end(rest);
    return written;
}
C
musl-gcc -O2 -fPIC -c "$new/printing.c" -o "$new/printing.o"
ar rs "$new/libunwind.a" "$new/printing.o"

# Debian's description of musl to gcc knows programs at a fixed place and dynamic ones. Ours is neither: static, and
# loaded wherever the kernel likes. Such a one begins in rcrt1.o, which relocates it.
sed -e "s|^%{!shared: $musl/Scrt1.o}|%{static-pie:$musl/rcrt1.o; !shared:$musl/Scrt1.o}|" \
    -e "s|^-dynamic-linker /lib/ld-musl-x86_64.so.1|%{static-pie:-static -pie --no-dynamic-linker -z text; :&}|" \
    "$musl/musl-gcc.specs" >"$new/static-pie.specs"
for changed in rcrt1.o no-dynamic-linker; do
    if ! grep -q -- "$changed" "$new/static-pie.specs"; then
        echo "static build: $musl/musl-gcc.specs is not what it was in Debian 12: there is no place for $changed" >&2
        exit 1
    fi
done
# rustc guesses from the end of this name how to talk to it.
printf '#!/bin/sh\nexec x86_64-linux-gnu-gcc "$@" -specs %q\n' "$kit/static-pie.specs" >"$new/linker-gcc"
chmod +x "$new/linker-gcc"

rm -rf "$new/unpacked" "$new"/*.deb "$new"/printing.* "$kit"
mv "$new" "$kit"
