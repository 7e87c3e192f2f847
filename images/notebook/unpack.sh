#!/bin/sh
# Unpack the packages in /mnt/debs and /mnt/slimmed, of the latter without what slim.txt names.
#
# As in debootstrap: unpack all packages, then configure all, in dpkg's own order. What the base
# image leaves out of packages, such as translations, is left out of no package here.
set -eu
unpack="dpkg --force-depends --force-unsafe-io --unpack"

for package in /mnt/slimmed/*.deb; do
    [ ! -e "$package" ] || set -- "$@" "$package"
done
if [ $# -gt 0 ]; then
    set -f
    # shellcheck disable=SC2046 # several options
    $unpack $(grep -v '^#' /mnt/build/slim.txt) "$@"
    set +f
fi

set --
for package in /mnt/debs/*.deb; do
    [ ! -e "$package" ] || set -- "$@" "$package"
done
[ $# -eq 0 ] || $unpack '--path-include=/*' "$@"
