# shellcheck shell=bash
# Building for other architectures: a Rust compiler with their standard libraries, and the environment cargo needs.
# In:  Debian's name of an architecture.  Out: $CACHE/cross/rustc, and lines NAME=VALUE for `env`.
# The caller's own toolchain is used if it has the architecture's standard library (rustup target add); else Debian's
# compiler is unpacked into the cache, with its own C library, and nothing is installed. Linker and static C library are
# the host's (`.ci/setup cross`). Sourced by `run` and by .ci/dist, which define CACHE, die and note, and source apt.sh.

# A suite where one version of the compiler is there on every architecture: a package moves to testing on all or none.
CROSS_SUITE=${CROSS_SUITE:-testing}

triple_of() {
    case $1 in
        amd64) echo x86_64-unknown-linux-gnu ;;
        arm64) echo aarch64-unknown-linux-gnu ;;
        s390x) echo s390x-unknown-linux-gnu ;;
        *) die "no target known for $1" ;;
    esac
}

# has_std COMMAND ARCH: whether that compiler has the architecture's standard library.
has_std() {
    local folder
    folder=$("$1" --print target-libdir --target "$(triple_of "$2")" 2> /dev/null) || return 1
    compgen -G "$folder/libstd-*.rlib" > /dev/null
}

# Downloads the compiler, what it runs on, and every architecture's standard library in the compiler's version.
download_rustc() {
    local dir=$1 version runtime arch APT=()
    private_apt "$dir" "$(dpkg --print-architecture),arm64,s390x" "$CROSS_SUITE"
    private_update || return 1
    version=$(apt-cache "${APT[@]}" show --no-all-versions rustc | sed -n 's/^Version: //p')
    # The compiler proper is a library, libstd-rust-X. The package rustc would bring a whole gcc as well.
    runtime=$(apt-cache "${APT[@]}" show --no-all-versions libstd-rust-dev | sed -n 's/^Depends: \(libstd-rust-[0-9.]*\).*/\1/p')
    [[ -n $version && -n $runtime ]] || { echo "no rustc in $CROSS_SUITE"; return 1; }
    apt-get "${APT[@]}" -y install --download-only "$runtime=$version" || return 1
    cd "$dir/apt/archives" && apt-get "${APT[@]}" download "rustc=$version" "libstd-rust-dev=$version" || return 1
    for arch in arm64 s390x; do
        apt-get "${APT[@]}" download "libstd-rust-dev:$arch=$version" || return 1
    done
}

# Unpacks that compiler below $CACHE and writes a starter, $CACHE/cross/rustc.
unpack_rustc() {
    local dir=$CACHE/cross
    note "this Rust toolchain has no standard library for $1: unpacking Debian's into $dir"
    rm -rf "$dir" && mkdir -p "$dir"
    (download_rustc "$dir") > "$dir/log" 2>&1 || die "cannot download a Rust compiler: $(tail -n 1 "$dir/log") (all of it in $dir/log)"
    unpack_all "$dir/r" "$dir"/apt/archives/*.deb
    rm -rf "$dir/lists" "$dir/apt"
    printf '#!/bin/sh\nexec %s --sysroot %q "$@"\n' "$(program_in "$dir/r" rustc)" "$dir/r/usr" > "$dir/rustc"
    chmod +x "$dir/rustc"
}

# get_rustc ARCH: prints the compiler to use, if it is another than the caller's.
get_rustc() {
    local arch=$1
    if has_std rustc "$arch"; then return; fi
    # The starter holds absolute paths: a cache that was moved is unpacked again.
    has_std "$CACHE/cross/rustc" "$arch" || unpack_rustc "$arch" >&2
    has_std "$CACHE/cross/rustc" "$arch" || die "$CACHE/cross/rustc has no standard library for $arch"
    echo "$CACHE/cross/rustc"
}

# cargo_environment ARCH: what cargo needs to build static programs for ARCH, one NAME=VALUE a line.
# With --target, the flags stay away from build scripts and procedural macros, which cannot be static.
cargo_environment() {
    local arch=$1 variable rustc
    variable=CARGO_TARGET_$(triple_of "$arch" | tr 'a-z-' 'A-Z_')
    echo "${variable}_RUSTFLAGS=-C target-feature=+crt-static"
    [[ $arch != "$(dpkg --print-architecture)" ]] || return 0
    rustc=$(get_rustc "$arch") || exit 2
    [[ -z $rustc ]] || echo "RUSTC=$rustc"
    echo "${variable}_LINKER=$(triple_of "$arch" | sed 's/-unknown//')-gcc"
}
