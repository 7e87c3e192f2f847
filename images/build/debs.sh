#!/bin/sh
# debs.sh ARCHITECTURE PACKAGE...: download Debian packages for an architecture, with the
# dependencies that the base image lacks (its /etc/apt and dpkg status are under /base). Puts the
# packages into /debs and their contents into /unpacked.
#
# Runs on the building machine: under emulation, apt would take ten seconds only to read its lists.
# The target's own dpkg then installs the packages, with all their scripts.
set -eu
architecture=$1
shift

mkdir /debs /unpacked
[ $# -gt 0 ] || exit 0
export APT_CONFIG=/build/apt.conf
cat >"$APT_CONFIG" <<EOF
APT::Architecture "$architecture";
APT::Architectures { "$architecture"; };
Dir::Etc "/base/etc/apt";
Dir::State::status "/base/var/lib/dpkg/status";
Dir::Cache::archives "/var/cache/apt/archives";
Acquire::Languages "none";
Acquire::Retries "3";
# With a delay between retries, apt fills the screen with "Tried to start delayed item".
Acquire::Retries::Delay "false";
EOF

# Bytecode is made for the Python of Debian 13, and wheels are chosen for its libc.
version=$(sed -n '/^Package: base-files$/,/^$/s/^Version: //p' /base/var/lib/dpkg/status)
case $version in
    13.*) ;;
    *)
        echo "baseImage: must be Debian 13 (trixie), but its package base-files is ${version:-missing}" >&2
        echo "Fix it: pulumi config set baseImage debian:trixie-slim" >&2
        exit 1
        ;;
esac

# A base image made from another archive would give other versions.
grep -v '^#' /build/debian-archives.txt | while read -r archive; do
    for apt in /base/etc/apt /etc/apt; do
        grep -rqsF "$archive" "$apt/sources.list" "$apt/sources.list.d" && continue
        echo "baseImage, buildImage: one is not made from $archive," >&2
        echo "which images/build/debian-archives.txt names. On the machine that builds them: make base" >&2
        exit 1
    done
done
apt-get update --quiet

unknown=
for package; do
    apt-cache show "$package" >/dev/null 2>&1 || unknown="$unknown $package"
done
if [ "$unknown" ]; then
    echo "${SETTING:-notebookPackages}: Debian has no package for $architecture that is called$unknown" >&2
    case ${SETTING:-} in
        images/*) echo "Fix it in that file." >&2 ;;
        ?*) echo "Fix the list in the stack's file." >&2 ;;
        *) echo "Fix the list in the stack's file; for the default: pulumi config rm notebookPackages" >&2 ;;
    esac
    exit 1
fi
apt-get install --quiet --yes --no-install-recommends --download-only "$@"

# Repacked without compression: decompressing is most of dpkg's work, and slow under emulation.
# shellcheck disable=SC2016 # the inner shell expands it
find /var/cache/apt/archives -name '*.deb' -print0 |
    xargs -0 --no-run-if-empty -n 1 -P "$(nproc)" sh -euc '
        dpkg-deb --raw-extract "$0" "/unpacked/${0##*/}"
        dpkg-deb --build -Znone "/unpacked/${0##*/}" /debs/ >/dev/null'
apt-get clean
