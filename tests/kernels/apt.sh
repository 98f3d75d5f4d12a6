# shellcheck shell=bash
# Fetching from the Debian archive without touching the host's own apt state, and without root.
# In:  a folder of ours, suites, package names.  Out: files unpacked into that folder.
# The host's apt configuration stays in force (it may name a proxy); only the state folders are replaced.
# Sourced by `run`, which defines CACHE, die and note.

# The archives the host's own apt uses, one address a line. The dollar sign is apt's own syntax.
# shellcheck disable=SC2016
host_archives() { apt-get indextargets --format '$(REPO_URI)'; }

# The address of an archive of the host's own mirror: `debian` or `debian-security`.
# DEBIAN_MIRROR (an address that has both below it) serves hosts that are not Debian.
mirror_of() {
    local archive=$1 found
    if [[ -n ${DEBIAN_MIRROR:-} ]]; then
        echo "${DEBIAN_MIRROR%/}/$archive"
        return
    fi
    found=$(host_archives | grep -m1 "/$archive/\$") || found=
    if [[ -z $found && $archive == debian-security ]]; then
        found=$(host_archives | grep -m1 '/debian/$' | sed 's,/debian/$,/debian-security/,') || found=
    fi
    [[ -n $found ]] || die "this host's apt knows no $archive archive: set DEBIAN_MIRROR to the address of a Debian mirror"
    echo "${found%/}"
}

keyring() {
    local key=${DEBIAN_KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}
    [[ -r $key ]] || die "no Debian archive keyring at $key (package debian-archive-keyring)"
    echo "$key"
}

# private_apt DIR ARCH[,ARCH...] SUITE...: sets the array APT to the options of an apt whose whole state lives in DIR.
# One folder a suite, so that the candidate is always the newest of that suite, with no pinning.
private_apt() {
    local dir=$1 arch=$2 suite archive key
    shift 2
    key=$(keyring)
    mkdir -p "$dir/lists/partial" "$dir/apt/archives/partial"
    for suite; do
        archive=debian
        [[ $suite == *-security ]] && archive=debian-security
        echo "deb [signed-by=$key] $(mirror_of "$archive") $suite main"
    done > "$dir/sources.list"
    APT=(-qq
        -o "APT::Architecture=${arch%%,*}" -o "APT::Architectures=$arch"
        -o "Dir::Etc::sourcelist=$dir/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o Dir::Etc::preferencesparts=/dev/null
        -o "Dir::State::Lists=$dir/lists" -o Dir::State::status=/dev/null -o "Dir::Cache=$dir/apt"
        -o "APT::Sandbox::User=$(id -un)" -o APT::Install-Recommends=false
        -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
        -o Debug::NoLocking=1)
}

# Fills the package lists of the private apt in APT. The archive is sometimes mid-update (an index newer than its
# Release file, "Hash Sum mismatch"): once more, later, is the cure. `update` says 0 on a failed download, so it is told not to.
private_update() {
    local try
    for try in 1 2; do
        if apt-get "${APT[@]}" -o APT::Update::Error-Mode=any update; then return 0; fi
        [[ $try == 2 ]] || sleep 3
    done
    return 1
}

# The kernel image packages behind a package or pattern: the image is several dependencies away, and from
# 7.x on in a package of another name (linux-binary-V, with its configuration in linux-base-V), so follow Depends and keep
# every versioned name met.
kernel_packages() {
    local wanted=$1 todo next package entry depends level
    todo=$(apt-cache "${APT[@]}" pkgnames linux- | grep -x -E "$wanted" | sort -V | tail -n 1)
    [[ -n $todo ]] || return 1
    for level in 1 2 3 4; do
        next=
        for package in $todo; do
            # A name that is only depended on (6.18 has its configuration in the image) has no entry of its own.
            entry=$(apt-cache "${APT[@]}" show --no-all-versions "$package" 2> /dev/null) && [[ -n $entry ]] || continue
            [[ $package =~ ^linux-(image|binary|base)-[0-9] ]] && echo "$package"
            depends=$(sed -n 's/^Depends: //p' <<< "$entry" |
                tr , '\n' | sed 's/^ *//; s/[ :].*//' | grep -E '^linux-(image|binary|base)-[0-9]') || depends=
            next+=" $depends"
        done
        todo=$next
        [[ -n ${todo// /} && $level -lt 4 ]] || break
    done
}

# unpack DEB DIR [TAR ARGUMENT...]
unpack() {
    local deb=$1 dir=$2
    shift 2
    dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$dir" "$@"
}

# unpack_all ROOT DEB...: whole packages over the links of a system whose /bin is /usr/bin.
unpack_all() {
    local root=$1 part
    shift
    mkdir -p "$root"/usr/{bin,sbin,lib,lib64}
    for part in bin sbin lib lib64; do ln -sfn "usr/$part" "$root/$part"; done
    for part; do unpack "$part" "$root"; done
    rm -rf "$root"/usr/share/{doc,man,locale}
}

# program_in ROOT PROGRAM: the command words that run a program of such a system by its own C library.
program_in() {
    local root=$1 program=$2 interpreter
    interpreter=$(find "$root/usr/lib" "$root/usr/lib64" -name 'ld-linux*.so.*' | head -n 1)
    echo "'$interpreter' --library-path '$(dirname "$interpreter")' '$root/usr/bin/$program'"
}

kernel_is_fresh() {
    compgen -G "$1/config-*" > /dev/null && [[ -s $1/vmlinuz && -n $(find "$1/vmlinuz" -mtime "-${MAX_AGE_DAYS:-30}") ]]
}

# fetch_from_suite DIR ARCH SUITE PACKAGE: one attempt. The result replaces DIR/vmlinuz and DIR/config-* only when it is
# complete.
fetch_from_suite() {
    local dir=$1 arch=$2 suite=$3 wanted=$4 deb image config APT=()
    local -a packages
    private_apt "$dir" "$arch" "$suite"
    private_update || return 1
    mapfile -t packages < <(kernel_packages "$wanted" | sort -u)
    [[ ${#packages[@]} -gt 0 ]] || { echo "no package matches $wanted in $suite"; return 1; }
    rm -rf "$dir/x" && mkdir "$dir/x"
    (cd "$dir/x" && apt-get "${APT[@]}" download "${packages[@]}") || return 1
    for deb in "$dir"/x/*.deb; do
        # A package without some of the members is no error: that is how the shells of 7.x are told apart.
        unpack "$deb" "$dir/x" --wildcards './boot/vmlinu[xz]-*' './usr/lib/modules/*/vmlinu[xz]' \
            './boot/config-*' './usr/lib/modules/*/config' 2> /dev/null || true
    done
    image=$(find "$dir/x" -name 'vmlinu[xz]*' -type f | sort | head -n 1)
    [[ -n $image ]] || { echo "no kernel image in ${packages[*]}"; return 1; }
    config=$(find "$dir/x" -name 'config*' -type f | sort | head -n 1)
    [[ -n $config ]] || { echo "no kernel configuration in ${packages[*]}"; return 1; }
    rm -f "$dir"/config-*
    mv -f "$config" "$dir/$(config_name "$config")"
    mv -f "$image" "$dir/vmlinuz" && touch "$dir/vmlinuz"       # tar kept the package's date; ours is the day of the fetch
    echo "$suite ${packages[*]}" > "$dir/origin"
    rm -rf "$dir/x" "$dir/lists" "$dir/apt"
}

# config_name FILE: what the file is called in /boot; below /usr/lib/modules it is the folder that has the release.
config_name() {
    if [[ $1 == */config ]]; then echo "config-$(basename "$(dirname "$1")")"; else basename "$1"; fi
}

# fetch_kernel NAME ARCH SUITES PACKAGE -> $CACHE/NAME/vmlinuz. Fails only if there is no kernel at all afterwards:
# a suite that left the archive, or a mirror that is down, must not take away a kernel that is in the cache.
fetch_kernel() {
    local name=$1 arch=$2 suites=$3 package=$4 dir=$CACHE/$1 suite
    mkdir -p "$dir"
    kernel_is_fresh "$dir" && return 0
    : > "$dir/fetch.log"
    for suite in ${suites//,/ }; do
        if fetch_from_suite "$dir" "$arch" "$suite" "$package" >> "$dir/fetch.log" 2>&1; then
            note "fetched $name: $(cat "$dir/origin")"
            return 0
        fi
    done
    if [[ -s $dir/vmlinuz ]]; then
        note "$name: the archive does not answer, the cached kernel is used ($(cat "$dir/origin"))"
        return 0
    fi
    note "$name: cannot be fetched: $(tail -n 1 "$dir/fetch.log") (all of it in $dir/fetch.log)"
    return 1
}
