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
sh /build/pip.sh "$architecture" /build/sets "$@"
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
