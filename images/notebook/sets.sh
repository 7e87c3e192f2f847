#!/bin/sh
# sets.sh ARCHITECTURE: put the packages of /build/sets, and those that compile.sh has made, into the
# folder /sets of the building machine.
#
# They become part of /usr/local: there, unlike in the server's own environment, a user's newer
# version in the home comes first.
set -eu
packages=/sets/usr/local/lib/python3.13/dist-packages
mkdir -p "$packages"

cd /wheels
for wheel in *.whl; do
    [ -e "$wheel" ] || continue # there are none
    echo "file:///wheels/$wheel --hash=sha256:$(sha256sum "$wheel" | cut -d ' ' -f 1)"
done >/build/wheels.txt
if [ -s /build/wheels.txt ]; then
    sh /build/pip.sh "$1" /build/compiled /build/wheels.txt
    # pip leaves folders alone that are there already, such as bin.
    cp -a /build/compiled/. /build/sets/
fi

cd /build/sets
for folder in bin etc share; do
    [ ! -d $folder ] || mv $folder /sets/usr/local/
done
[ -z "$(ls -A)" ] || mv ./* "$packages/"

# Front ends of the classic notebook, and a second copy of plotly's.
# Maps of scripts go as well; other files with this ending may be what a package needs.
rm -rf /sets/usr/local/share/jupyter/nbextensions /sets/usr/local/etc/jupyter/nbconfig \
    /sets/usr/local/etc/jupyter/jupyter_notebook_config.d "$packages/widgetsnbextension/static" \
    "$packages/plotly/labextension"
find /sets -type f -name '*.js.map' -delete

python3 /build/repair.py "$packages"
# Files that do not compile are not for this Python version.
python3 -m compileall -qq -j 0 -s /sets -p / "$packages" || true
