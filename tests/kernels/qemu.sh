# shellcheck shell=bash
# The emulator: getting one that is good enough, and one guest's life from power-on to verdict.
# In:  $CACHE/NAME/vmlinuz, $CACHE/initrd-ARCH or INITRD.  Out: $CACHE/NAME/out/{result,console,qemu,seconds,note}.
# No KVM: every machine can run this, and the guests take 2-3 s to boot all the same.
# Sourced by `run`, which defines CACHE, die and note, and sources apt.sh.

# Older than 10 is not good enough: Debian 12's 7.2 loses a race with the kernel's text patching (which is what attaching
# BPF does), and crashes one 6.12 boot in seven whatever its settings. It looks exactly like a loader that corrupts the kernel.
QEMU_MIN=10

# Debian architecture -> name of the emulator, and the package that has it.
emulator_of() {
    case $1 in
        amd64) echo qemu-system-x86_64 qemu-system-x86 ;;
        arm64) echo qemu-system-aarch64 qemu-system-arm ;;
        s390x) echo qemu-system-s390x qemu-system-misc ;;
        *) die "no emulator known for $1" ;;
    esac
}

# Machine options of an architecture. Two processors always: per-CPU buffers and migrations are part of the test.
# amd64 has a second serial port for the results; the other machines have one console for both.
# The emulator goes through a `rep movsb` byte by byte. A processor that does not call it fast (-erms, -fsrm) is given loops over
# words by the kernel: a page is cleared in an eighth of the time, and everything together takes a quarter less.
machine_of() {
    local arch=$1 out=$2
    case $arch in
        amd64) echo "-cpu max,-erms,-fsrm -m ${GUEST_MEMORY:-1024} -serial file:$out/console -serial file:$out/result" ;;
        arm64) echo "-M virt -cpu cortex-a57 -m ${GUEST_MEMORY:-1024} -serial file:$out/console" ;;
        s390x) echo "-M s390-ccw-virtio -cpu max -m ${GUEST_MEMORY:-1024} -chardev file,id=c,path=$out/console -device sclpconsole,chardev=c" ;;
    esac
}

# cmdline_of ARCH NAME: kernel arguments. panic=-1 with -no-reboot ends the emulator at once after a panic, oops=panic makes
# an oops one.
# Emulated, some things cost more than they are worth here, a tenth of everything together: indirect calls made out of returns
# (spectre_v2=off, which is not what the verifier looks at) and clearing memory twice (init_on_alloc=0). Not for the taking is
# tsc=reliable: a kernel that starts on a busy host measures the frequency wrong, and its time runs ten times too fast.
# loglevel=5 and not `quiet`: a WARN splat is printed at level 4, which quiet would hide from the console we search.
cmdline_of() {
    case $1 in
        amd64) echo "console=ttyS0 result=ttyS1 spectre_v2=off init_on_alloc=0" ;;
        arm64) echo "console=ttyAMA0 result=ttyAMA0" ;;
        s390x) echo "console=ttysclp0 result=ttysclp0" ;;
    esac
    # What is not the kernel's own becomes the environment of process 1, and of the tests.
    echo "panic=-1 oops=panic loglevel=5 TEST_KERNEL=$2 TEST_LACKS=${LACKS_OF[$2]} ${GUEST_APPEND:-}"
}

major_version() { "$1" --version 2> /dev/null | sed -n '1s/.*version \([0-9]*\)\..*/\1/p'; }

# Unpacks qemu from bookworm-backports below $CACHE, with its own C library, and writes a starter. Nothing is installed.
unpack_qemu() {
    local program=$1 package=$2 dir=$CACHE/$1 APT=()
    note "$program $QEMU_MIN is not installed: unpacking one into $dir"
    rm -rf "$dir" && mkdir -p "$dir"
    private_apt "$dir" "$(dpkg --print-architecture)" bookworm bookworm-backports
    private_update || die "cannot read the package lists of bookworm-backports"
    apt-get "${APT[@]}" -t bookworm-backports -y install --download-only "$package" > "$dir/log" 2>&1 ||
        die "cannot download $package: $(tail -n 1 "$dir/log")"
    unpack_all "$dir/r" "$dir"/apt/archives/*.deb
    rm -rf "$dir/lists" "$dir/apt"
    write_starter "$dir/r" "$program" > "$dir/run"
    chmod +x "$dir/run"
}

write_starter() {
    cat << STARTER
#!/bin/sh
exec $(program_in "$1" "$2") \\
    -L '$1/usr/share/qemu' -L '$1/usr/share/seabios' "\$@"
STARTER
}

# get_qemu ARCH: prints the command to run.
get_qemu() {
    local program package version
    read -r program package < <(emulator_of "$1")
    version=$(major_version "$program") || version=
    if [[ -n $version && $version -ge $QEMU_MIN ]]; then
        echo "$program"
        return
    fi
    # The starter holds absolute paths: a cache that was moved is unpacked again.
    [[ -n $(major_version "$CACHE/$program/run") ]] || unpack_qemu "$program" "$package" >&2
    version=$(major_version "$CACHE/$program/run") || version=
    [[ -n $version && $version -ge $QEMU_MIN ]] || die "$CACHE/$program/run is not a working qemu $QEMU_MIN"
    echo "$CACHE/$program/run"
}

# run_guest QEMU ARCH DIR: one boot. Ends the emulator itself in three cases: no first line from user space within
# BOOT_LIMIT, the end marker is there but the machine does not go off, GUEST_LIMIT is over.
# The two processors of a guest take turns on one thread of the host: what they have to say to each other all the time (wake up,
# flush, wait for me) then costs a third less, and the host has other guests for its other processors.
run_guest() {
    local qemu=$1 arch=$2 dir=$3 out=$3/out result pid ticks=0 marked=0
    result=$(result_file "$dir" "$arch")
    # Word splitting is wanted: the machine is a list of options.
    # shellcheck disable=SC2046
    timeout -k 5 "$GUEST_LIMIT" "$qemu" -accel tcg,thread=single -smp 2 $(machine_of "$arch" "$out") \
        -display none -nodefaults -no-user-config -no-reboot \
        -kernel "$dir/vmlinuz" -initrd "${INITRD:-$CACHE/initrd-$arch}" -append "$(cmdline_of "$arch" "${dir##*/}" | tr '\n' ' ')" \
        < /dev/null > "$out/qemu" 2>&1 9>&- &
    pid=$!
    # shellcheck disable=SC2064  # the pid of now is meant
    trap "kill $pid 2> /dev/null" EXIT
    while kill -0 "$pid" 2> /dev/null; do
        sleep 0.2
        ticks=$((ticks + 1))
        if ((ticks == BOOT_LIMIT * 5)) && ! grep -a -q '^@@BOOT' "$result"; then kill "$pid" 2> /dev/null; fi
        if ((ticks % 10 == 0)) && grep -a -q '^@@EXIT' "$result"; then
            marked=$((marked + 1))
            ((marked < 3)) || kill "$pid" 2> /dev/null
        fi
    done
    wait "$pid"
    trap - EXIT
}

result_file() {
    if [[ $2 == amd64 ]]; then echo "$1/out/result"; else echo "$1/out/console"; fi
}

# boot_guest QEMU NAME ARCH: a guest that never reached user space is started once more, and the report says so
# (one boot in 140 hung that early, under a good qemu). A guest that died later is a failure, never a retry.
boot_guest() {
    local qemu=$1 dir=$CACHE/$2 arch=$3 start=$SECONDS try
    rm -rf "$dir/out" "$dir/first-boot"
    for try in 1 2; do
        [[ $try == 1 ]] || mv "$dir/out" "$dir/first-boot"
        mkdir -p "$dir/out"
        : > "$dir/out/console"
        : > "$dir/out/result"
        run_guest "$qemu" "$arch" "$dir"
        [[ $try == 1 ]] || echo "first boot died before user space, its console is in $dir/first-boot" > "$dir/out/note"
        grep -a -q '^@@BOOT' "$(result_file "$dir" "$arch")" && break
    done
    echo $((SECONDS - start)) > "$dir/out/seconds"
}
