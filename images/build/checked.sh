#!/bin/sh
# checked.sh NAME STAMP: check that the image of that name is the notebook image its stack has built,
# by its stamp, which is in the folder /checked. The empty stamp, by hand, takes any notebook image.
set -eu
if [ "$2" ] && ! grep -qxF "$2" /checked/stamp; then
    echo "$1 is not the notebook image that this stack has built: somebody has" >&2
    echo "moved the name. Build it again: docs/operations.md, An image went missing" >&2
    exit 1
fi
