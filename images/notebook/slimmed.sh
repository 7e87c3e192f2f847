#!/bin/sh
# Move the packages of slimmed.txt from /debs to /slimmed.
set -eu
mkdir /slimmed
grep -v '^#' /build/slimmed.txt | while read -r name; do
    find /debs -name "${name}_*.deb" -exec mv -t /slimmed {} +
done
