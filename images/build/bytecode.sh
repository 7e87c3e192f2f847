#!/bin/sh
# Compile the Python files of the Debian packages in /unpacked, as the packages' own scripts would,
# and put the bytecode into /bytecode.
#
# Runs on the building machine, whose Python has the target's minor version: bytecode is the same
# for all processors, and under emulation this step alone would take half a minute.
set -eu
mkdir /bytecode
# shellcheck disable=SC2016 # the inner shell expands it
find /unpacked -mindepth 4 -maxdepth 4 -path '*/usr/lib/python3*' -print0 |
    xargs -0 --no-run-if-empty -n 1 -P "$(nproc)" sh -euc '
        package=${0%/usr/lib/*}
        # Of the slimmed packages, test suites are not installed.
        not=^$
        [ ! -e "/slimmed/${package##*/}" ] || not="/tests?/"
        # Files that do not compile are not for this Python version.
        python3 -m compileall -qq -s "$package" -p / -x "$not" "$0" || true'
for package in /unpacked/*; do
    [ -d "$package" ] || continue # there are none
    cd "$package"
    find . -name __pycache__ -exec cp -a --parents -t /bytecode {} +
done
