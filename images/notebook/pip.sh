#!/bin/sh
# pip.sh ARCHITECTURE FOLDER FILE...: install the packages that requirements files lock by hash.
#
# Runs on the building machine. pip selects the target's wheels; with --only-binary, a missing wheel
# stops the build.
set -eu
case $1 in amd64) machine=x86_64 ;; arm64) machine=aarch64 ;; *) machine=$1 ;; esac
folder=$2
shift 2

platforms="--platform manylinux2014_$machine --platform linux_$machine"
for glibc in $(seq 17 41); do platforms="--platform manylinux_2_${glibc}_$machine $platforms"; done
for file; do
    shift
    set -- "$@" --requirement "$file"
done
# The environment's own interpreter runs pip, so that the scripts' first lines point to it.
# shellcheck disable=SC2086 # several options
exec /opt/jupyter/bin/python3 -m pip install --quiet --no-compile --no-deps --require-hashes \
    --only-binary=:all: $platforms --target "$folder" "$@"
