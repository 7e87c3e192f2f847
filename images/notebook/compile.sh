#!/bin/sh
# compile.sh ARCHITECTURE: compile the locked packages in /build/missing.txt, and put the wheels into
# /wheels. Runs on the target, with what Debian has for it in /usr, and what the sets have as wheels
# in /build/sets.
#
# What packages are built with is not downloaded by pip, which checks no hashes of it: it is
# Debian's, or named in the set.
set -eu
mkdir -p /wheels
[ -s /build/missing.txt ] || exit 0

missing=$(sed -n 's/^\([^ ;]*==[^ ;\\]*\).*/\1/p' /build/missing.txt | tr '\n' ' ')
echo "compiling for $1: $missing"
export PATH=/usr/bin:/bin:/usr/sbin:/sbin PYTHONPATH=/build/sets PYTHONUNBUFFERED=1
# With --verbose, the compiler's words are shown at once; with --log, pip would not show them at all.
{
    /usr/bin/python3 -m pip wheel --verbose --progress-bar=off --no-deps --require-hashes \
        --no-build-isolation --wheel-dir /wheels --requirement /build/missing.txt 2>&1 &&
        touch /build/done
} | tee /build/compile.log
[ ! -e /build/done ] || exit 0
nowhere=$(sed -n 's/.*ERROR: No matching distribution found for \([^ ;]*\).*/\1/p' /build/compile.log)
for package in $nowhere; do
    echo "${SETTING:-notebookRequirements}: PyPI has neither a wheel of $package for $1 nor its source." >&2
    echo "Debian may have it: search https://packages.debian.org/trixie/ for" >&2
    echo "python3-${package%%=*}, and name that among the Debian packages instead (docs/packages.md)." >&2
done
[ -z "$nowhere" ] || exit 1
echo "${SETTING:-notebookRequirements}: PyPI has no wheel for $1 of some packages, and one of them could not be" >&2
echo "compiled; the reason is above: $missing" >&2
echo "If a program, header or library is missing, name its Debian package in a file beside the lock," >&2
echo "images/notebook/requirements/NAME.debian. Or take the package itself from Debian (docs/packages.md)." >&2
exit 1
