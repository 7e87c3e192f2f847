#!/bin/sh
# apart.sh ENVIRONMENT: keep the packages of users' kernels, in /usr/local, out of the hub's Python.
#
# The hub's image has them, since it is made from the notebook image. Python runs code of every
# package when it starts (*.pth), and takes modules from there before those of Debian. Of the
# system's packages, the hub needs Debian's alone.
set -eu
sed -i 's/^include-system-site-packages *=.*/include-system-site-packages = false/' "$1/pyvenv.cfg"
for packages in "$1"/lib/python3*/site-packages; do
    echo /usr/lib/python3/dist-packages >"$packages/debian.pth"
done
