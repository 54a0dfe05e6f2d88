#!/bin/sh
# Installs the Debian packages that are missing, and does nothing, without a network, when none is.
# usage: packaging/install-deps.sh [build] [test] [check]     (no argument: all of them)
set -eu

build='gcc libc6-dev libjansson-dev libssl-dev libxxhash-dev libcurl4-openssl-dev libyaml-dev libedit-dev'
test='libcmocka-dev libpcre2-dev groff-base curl openssl python3 python3-venv ca-certificates'
check='clang libclang-rt-14-dev llvm clang-format clang-tidy cppcheck python3'

[ $# -gt 0 ] || set -- build test check
wanted=
for group; do
    case $group in
    build) wanted="$wanted $build" ;;
    test) wanted="$wanted $test" ;;
    check) wanted="$wanted $check" ;;
    *)
        echo "install-deps.sh: no group '$group' (build, test, check)" >&2
        exit 64
        ;;
    esac
done

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "install-deps.sh: not Debian; what this needs is called there:$wanted" >&2
    exit 0 # the build will name what it misses
fi

missing=
for package in $wanted; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=
    case $status in
    installed*) ;; # once for each architecture
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "install-deps.sh: as root run: apt-get install$missing" >&2
        exit 1
    fi
    root=sudo
fi
echo "Installing$missing"
apt() {
    $root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@"
}
apt update
# shellcheck disable=SC2086 # a list of words
apt install -y --no-install-recommends $missing
