#!/bin/sh
# sets.sh ARCHITECTURE NAME...: install the packages of requirements/NAME.txt for users' kernels,
# into the folder /sets of the building machine.
#
# They become part of /usr/local: there, unlike in the server's own environment, a user's newer
# version in the home comes first.
set -eu
architecture=$1
shift
packages=/sets/usr/local/lib/python3.13/dist-packages
mkdir -p "$packages"
[ $# -gt 0 ] || exit 0

for name; do
    shift
    set -- "$@" "/build/requirements/$name.txt"
done
if ! sh /build/pip.sh "$architecture" /build/sets "$@" 2>/build/pip.log; then
    cat /build/pip.log >&2
    sed -n 's/^ERROR: No matching distribution found for \([^ ;]*\).*/\1/p' /build/pip.log |
        while read -r package; do
            echo "${SETTING:-notebookRequirements}: PyPI has no wheel of $package for $architecture, and this build" >&2
            echo "compiles nothing. Debian may have it: search https://packages.debian.org/trixie/ for" >&2
            echo "python3-${package%%=*}, and name that among the Debian packages instead (docs/packages.md)." >&2
        done
    exit 1
fi
cat /build/pip.log >&2
cd /build/sets
for folder in bin etc share; do
    [ ! -d $folder ] || mv $folder /sets/usr/local/
done
mv ./* "$packages/"

# Front ends of the classic notebook, and a second copy of plotly's.
rm -rf /sets/usr/local/share/jupyter/nbextensions /sets/usr/local/etc/jupyter/nbconfig \
    /sets/usr/local/etc/jupyter/jupyter_notebook_config.d "$packages/widgetsnbextension/static" \
    "$packages/plotly/labextension"
find /sets -type f -name '*.map' -delete

python3 /build/repair.py "$packages"
python3 -m compileall -q -j 0 -s /sets -p / "$packages"
