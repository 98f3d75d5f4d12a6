#!/usr/bin/env bash
# The tutorial, run by itself: both kinds of set, execsnoop filtered by each, commands inside and outside.
#
# usage: [BIN_DIR=DIRECTORY OF THE BINARIES] tests/demo.sh     (as root; `make demo` does it)
#
# Everything happens in a mount namespace of its own, on a bpffs that is mounted only there, and in a cgroup of
# its own, all of which are gone at the end. Exit status: 0 when execsnoop printed exactly the rows it should, 1 when
# one is missing or one leaked.
set -euo pipefail

bin=$(cd "${BIN_DIR:-target/release}" && pwd)
if [ "$(id -u)" != 0 ]; then
    echo "demo: loading BPF programs needs root; run: sudo make demo" >&2
    exit 1
fi
if [ "${NSMAP_DEMO_NAMESPACE:-}" != private ]; then
    BIN_DIR=$bin NSMAP_DEMO_NAMESPACE=private exec unshare --mount --propagation private "$0"
fi

work=$(mktemp -d)
pins=/sys/fs/bpf
tracer=
cgroup=
failures=0

cleanup() {
    [ -z "$tracer" ] || kill "$tracer" 2>/dev/null || true
    [ -z "$cgroup" ] || rmdir "$cgroup/inner" "$cgroup" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

step() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }

# start_tracer OPTION...: execsnoop in the background, its rows in $work/rows; returns once it is attached.
start_tracer() {
    echo "$ execsnoop $* &"
    execsnoop "$@" >"$work/rows" &
    tracer=$!
    for _ in $(seq 200); do
        [ -s "$work/rows" ] && return
        kill -0 "$tracer" 2>/dev/null || break
        sleep 0.05
    done
    echo "demo: execsnoop did not start" >&2
    exit 1
}

# stop_tracer: ends execsnoop, waits for its last rows, and shows them.
stop_tracer() {
    kill -INT "$tracer"
    wait "$tracer"
    tracer=
    echo "execsnoop printed:"
    sed 's/^/    /' "$work/rows"
}

# expect COUNT TEXT: how many rows hold TEXT.
expect() {
    local found
    found=$(grep -c -F -- "$2" "$work/rows" || true)
    if [ "$found" = "$1" ]; then
        echo "ok: $1 row(s) with \"$2\""
    else
        echo "FAILED: expected $1 row(s) with \"$2\", found $found"
        failures=$((failures + 1))
    fi
}

mount -t bpf nsmap-demo "$pins"
export PATH=$bin:$PATH

step "A set of mount namespaces"
run nsmap create "$pins/mnt_ns_set"
start_tracer --mntnsmap "$pins/mnt_ns_set"
/bin/echo "outside, before"
# The inner shell is the container: it adds itself, works, and takes itself out again.
# shellcheck disable=SC2016
unshare --mount --propagation private sh -c '
    /bin/echo "inside, not yet in the set"
    nsmap add-self-mntns
    /bin/echo "inside, in the set"
    nsmap list
    nsmap remove-self-mntns
    /bin/echo "inside, taken out again"'
/bin/echo "outside, after"
stop_tracer
expect 1 "inside, in the set"
expect 0 "not yet in the set"
expect 0 "taken out again"
expect 0 "outside"

step "A set of cgroups"
root=$(awk '$0 ~ / - cgroup2 / { print $5; exit }' /proc/self/mountinfo)
if [ -z "$root" ]; then
    echo "skipped: this host has no cgroup v2 hierarchy"
else
    cgroup=$root/nsmap-demo.$$
    mkdir "$cgroup" "$cgroup/inner"
    run nsmap create --kind cgroup "$pins/cgroup_set"
    run nsmap add-cgroup "$cgroup"
    start_tracer --cgroupmap "$pins/cgroup_set"
    /bin/echo "outside the cgroup"
    # shellcheck disable=SC2016
    sh -c 'echo $$ >"$0/cgroup.procs"; exec /bin/echo "inside the cgroup"' "$cgroup"
    # shellcheck disable=SC2016
    sh -c 'echo $$ >"$0/cgroup.procs"; exec /bin/echo "below it, exact match"' "$cgroup/inner"
    run nsmap add-cgroup --subtree "$cgroup"
    # shellcheck disable=SC2016
    sh -c 'echo $$ >"$0/cgroup.procs"; exec /bin/echo "below it, subtree"' "$cgroup/inner"
    run nsmap list --map "$pins/cgroup_set"
    stop_tracer
    expect 1 "inside the cgroup"
    expect 0 "outside the cgroup"
    expect 0 "below it, exact match"
    expect 1 "below it, subtree"
fi

step "Result"
if [ "$failures" != 0 ]; then
    echo "$failures expectation(s) failed"
    exit 1
fi
echo "every row that should be there is there, and no other"
