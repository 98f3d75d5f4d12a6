# shellcheck shell=bash
# What a guest runs: our own tests, built static, in an initramfs.
# In:  the workspace.  Out: $CACHE/tests-ARCH/list and $CACHE/tests-ARCH/here (`NAME PACKAGE_FOLDER PROGRAM`), $CACHE/initrd-ARCH.
# Tests find the tools by the absolute paths that cargo compiled into them (CARGO_BIN_EXE_*), so everything lies in the
# guest at the path it has here. Sourced by `run`, which defines CACHE, ROOT and die, and sources apt.sh and cross.sh.

# Tests that read the source tree, which is not in the guest, or that damage objects for minutes without asking the kernel.
NOT_FOR_GUESTS='^tests/(house|damaged_objects)\.rs$'

# Tests that ask no kernel: what they say of one is true for all. Programs for the host's own architecture run once, on the
# host, beside the guests. Those for another do run in its guests, where bytes may be ordered otherwise.
ASKS_NO_KERNEL='^(src/.*|tests/cli\.rs|loader/tests/(btf|btf_(distilled|for_kernel|hostile)|core_reloc.*|fuzz|linker.*|object.*)\.rs)$'

# Tests after which the kernel is not what it was.
LAST='^tests/lockdown\.rs '

# Programs put into the guest, with their libraries, when the host (or Debian for another architecture) has them: a real shell and
# real small programs (busybox runs its own applets through /proc/self/exe, which shows in exec rows), and bpftool as a second opinion.
GUEST_PROGRAMS=${GUEST_PROGRAMS:-bash dash true false echo cat sleep env id ls touch setpriv unshare bpftool}

# cargo_tests ARCH: builds every test and tool; prints cargo's JSON, one message a line. Static, because the guest has no
# libraries; optimised a little and without debug information, because a guest is ten times slower than the host and holds it
# all in memory. One build of both, so that what they share is compiled once: on its own, each would choose other features.
cargo_tests() {
    local environment
    local -a variables
    environment=$(cargo_environment "$1") || return 1
    mapfile -t variables <<< "$environment"
    env "${variables[@]}" CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_STRIP=debuginfo \
        cargo build --workspace --bins --tests --example bpfobj --locked --target "$(triple_of "$1")" \
        --config 'profile.dev.package.loader.opt-level=3' \
        --target-dir "${CARGO_TARGET_DIR:-$ROOT/target}/kernels" --message-format=json-render-diagnostics
}

# json_value KEY: the string value of the first KEY of each line. cargo escapes nothing in a path we can build in.
json_value() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }

# build_tests ARCH: builds, and writes the list of test programs (`list`: for guests, `here`: for the host) and the list of all
# files a guest needs. Tests that were chosen by TESTS all run in the guests.
build_tests() {
    local arch=$1 dir=$CACHE/tests-$1 line source program list
    rm -rf "$dir" && mkdir -p "$dir"
    : > "$dir/here"
    cargo_tests "$arch" > "$dir/cargo.json" || die "the tests for $arch do not build"
    grep '"reason":"compiler-artifact"' "$dir/cargo.json" | grep '"executable":"' | sort -u > "$dir/executables"
    while read -r line; do
        program=$(json_value executable <<< "$line")
        # The target of a tool says "test":true as well: that it could be tested. The profile says what this file is.
        [[ $line =~ \"profile\":\{[^}]*\"test\":true ]] || { echo "$program" >> "$dir/files" && continue; }
        source=$(json_value src_path <<< "$line")
        source=${source#"$ROOT/"}
        [[ $source =~ $NOT_FOR_GUESTS || ! $source =~ ${TESTS:-.} ]] && continue
        list=list
        [[ -z ${TESTS:-} && $arch == "$(dpkg --print-architecture)" && ${NAMES[*]} != host && $source =~ $ASKS_NO_KERNEL ]] && list=here
        echo "$source $(dirname "$(json_value manifest_path <<< "$line")") $program" >> "$dir/$list"
        [[ $list == here ]] || echo "$program" >> "$dir/files"
    done < "$dir/executables"
    # Objects that a test reads from where the build script put them.
    grep '"reason":"build-script-executed"' "$dir/cargo.json" | json_value out_dir |
        while read -r line; do find "$line" -name '*.bpf.o'; done >> "$dir/files"
    if grep "$LAST" "$dir/list" > "$dir/last"; then
        grep -v "$LAST" "$dir/list" > "$dir/others"
        cat "$dir/others" "$dir/last" > "$dir/list"
    fi
    [[ -s $dir/list ]] || die "no test program matches ${TESTS:-.}"
}

# compile_objects DIR: the loader's own small C programs, which its tests would compile themselves if a guest had a compiler
# (with the options that loader/tests/common/clang.rs has).
compile_objects() {
    local source target
    mkdir -p "$1"
    for source in "$ROOT"/loader/tests/bpf/*.c; do
        for target in bpfel bpfeb; do
            "${CLANG:-clang}" -target "$target" -g -O2 -Wall -Werror -c -o "$1/$(basename "$source" .c).$target.o" "$source" ||
                die "$source does not compile"
        done
    done
}

# stage_file FILE ROOT: FILE at the same path below ROOT.
stage_file() {
    mkdir -p "$2$(dirname "$1")"
    ln -f "$1" "$2$1" 2> /dev/null || cp -L --remove-destination "$1" "$2$1"
}

# stage_program NAME SYSTEM ROOT: a program that SYSTEM has in a folder for programs, below usr, with the libraries it needs.
stage_program() {
    local name=$1 system=$2 root=$3 path library
    path=$(cd "$system/" && PATH=usr/sbin:usr/bin:sbin:bin type -P "$name") || return 0
    [[ $path == usr/* ]] || path=usr/$path
    rm -f "$root/$path"
    cp -L --remove-destination "$system/$path" "$root/$path"
    for library in $(libraries_of "$system" "/$path"); do
        [[ ! -e $root$library ]] || continue
        mkdir -p "$root$(dirname "$library")"
        cp -L --remove-destination "$system$library" "$root$library"
    done
}

# libraries_of SYSTEM FILE: what FILE needs to be started, as absolute paths in SYSTEM. ldd would have to start the program,
# so that another architecture's are looked up by name; interpreters of programs lie in /lib.
libraries_of() {
    local system=$1 file=$2 name path
    if [[ -z $system ]]; then
        ldd "$file" 2> /dev/null | grep -o '/[^ ]*'
        return
    fi
    for name in $(readelf --dynamic "$system$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
        path=$(find "$system/usr/lib" -name "$name" | head -n 1)
        [[ -n $path ]] || die "${file##*/} needs $name, which is not in $system"
        echo "${path#"$system"}"
        [[ $name == ld*.so.* ]] || libraries_of "$system" "${path#"$system"}"
    done
    readelf --program-headers "$system$file" | sed -n 's/.*program interpreter: \(.*\)\]/\1/p'
}

# system_of ARCH: the root of a system that has what guests need besides our tests: the host itself (its name is empty), or for
# another architecture Debian's packages, unpacked.
system_of() {
    local dir=$CACHE/system-$1 APT=()
    [[ $1 != "$(dpkg --print-architecture)" ]] || return 0
    if [[ ! -e $dir/complete ]]; then
        note "unpacking Debian's small programs for $1 into $dir" >&2
        rm -rf "$dir"
        private_apt "$dir" "$1" bookworm
        private_update >&2 || die "cannot read the package lists for $1"
        apt-get "${APT[@]}" -y install --download-only busybox-static bash dash coreutils util-linux bpftool > "$dir/log" 2>&1 ||
            die "cannot fetch programs for $1: $(tail -n 1 "$dir/log")"
        unpack_all "$dir/r" "$dir"/apt/archives/*.deb
        rm -rf "$dir/lists" "$dir/apt"
        touch "$dir/complete"
    fi
    echo "$dir/r"
}

# stage_base ARCH ROOT: the system around the tests: busybox, process 1, the few files in /etc that programs read.
stage_base() {
    local arch=$1 root=$2 part applet system
    system=$(system_of "$arch") || exit 2
    mkdir -p "$root"/usr/{bin,sbin,lib,lib64,local/bin} "$root"/{dev,proc,sys,tmp,etc,run,root,test,var/tmp}
    for part in bin sbin lib lib64; do ln -s "usr/$part" "$root/$part"; done
    cp -L "$(PATH=$system/usr/bin:$system/usr/sbin:$system/bin type -P busybox)" "$root/usr/bin/busybox"
    for applet in $(busybox --list); do
        [[ $applet == busybox ]] || ln -s busybox "$root/usr/bin/$applet"
    done
    for part in $GUEST_PROGRAMS; do stage_program "$part" "$system" "$root"; done
    [[ ! -e $root/usr/bin/dash ]] || ln -sf dash "$root/usr/bin/sh"
    printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' > "$root/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' > "$root/etc/group"
    printf '127.0.0.1 localhost\n::1 localhost\n' > "$root/etc/hosts"
    # Without a time zone file every formatted time is a failed open: a storm of rows in opensnoop.
    cp -L /usr/share/zoneinfo/UTC "$root/etc/localtime" 2> /dev/null || printf 'UTC0\n' > "$root/etc/TZ"
    cp "$HERE/guest/init" "$root/init"
    cp "$HERE/guest/run" "$root/test/run"
}

# The variables guest/run sets before it starts a test. A guest is root on a kernel with BPF, so no test may skip, except
# where a program to compare with is not in the guest, or the kernel was asked and lacks what the test is about.
guest_environment() {
    echo "export REQUIRE_BPF=1 ALLOW_SKIP=${ALLOW_SKIP:-peer,ia32,kernel},\$TEST_LACKS RUST_BACKTRACE=1 PROPTEST_CASES=${PROPTEST_CASES:-16}"
    echo "export LOADER_TEST_OBJECTS=/test/objects"
    printf 'export TEST_LIMIT=%q TEST_ARGS=%q\n' "$TEST_LIMIT" "${TEST_ARGS:-}"
}

# stage_configurations ARCH DIR: the kernels' own, for `extern CONFIG_...`, where a distribution has them. All of them, as one
# archive serves all kernels.
stage_configurations() {
    local name
    mkdir -p "$2"
    for name in "${NAMES[@]}"; do
        [[ ${ARCH_OF[$name]:-} != "$1" ]] || cp "$CACHE/$name"/config-* "$2" 2> /dev/null || note "$name has no configuration"
    done
}

# build_archive ARCH -> $CACHE/initrd-ARCH, uncompressed: reading it takes the guest no longer than unpacking would.
build_archive() {
    local arch=$1 root=$CACHE/root-$1 file
    rm -rf "$root" && mkdir -p "$root"
    stage_base "$arch" "$root"
    while read -r file; do stage_file "$file" "$root"; done < "$CACHE/tests-$arch/files"
    cp "$CACHE/tests-$arch/list" "$root/test/list"
    compile_objects "$root/test/objects"
    stage_configurations "$arch" "$root/boot"
    guest_environment > "$root/test/environment"
    (cd "$root" && find . -print0 | cpio -0 -o -H newc --quiet -R 0:0) > "$CACHE/initrd-$arch"
    rm -rf "$root"
}
