#!/bin/sh
# Drop from the environment $1 what neither a notebook server nor a hub reads. Run on the building
# machine, before the files become a layer of the image.
set -eu
environment=$1
packages=$(echo "$environment"/lib/python3.*/site-packages)

find "$environment" -type f -name '*.map' -delete
find "$packages" -depth -type d \( -name tests -o -name test \) -exec rm -rf {} +
rm -rf "$environment"/share/man "$environment"/share/applications

# jsonschema, if it finds these, parses the grammar of internationalized web addresses at each start
# of a server or hub: half of all the time their imports take, for a format no Jupyter schema has.
rm -rf "$packages"/rfc3987_syntax* "$packages"/lark*

# A second copy of share/jupyter/lab/static, which is what the server serves.
if [ -d "$packages/jupyterlab/static" ]; then
    rm -rf "$packages/jupyterlab/static"
    ln -s "$environment/share/jupyter/lab/static" "$packages/jupyterlab/static"
fi

# Debuggers to inject into running processes of other platforms, and sources of built extensions.
pydevd=$packages/debugpy/_vendored/pydevd
if [ -d "$pydevd" ]; then
    find "$pydevd/pydevd_attach_to_process" -type f ! -name '*.py' -delete
    find "$pydevd" -type f \( -name '*.c' -o -name '*.cpp' -o -name '*.pyx' -o -name '*.pxd' \
        -o -name '*.so' -o -name '*.pyd' \) -delete
fi

# Sources of the hub pages' styles and scripts; the pages load the built ones.
hub=$environment/share/jupyterhub/static
if [ -d "$hub" ]; then
    find "$hub/components/@fortawesome/fontawesome-free" -mindepth 1 -maxdepth 1 \
        ! -name LICENSE.txt ! -name css ! -name webfonts -exec rm -rf {} +
    rm -rf "$hub/scss" "$hub/components/bootstrap/scss" "$hub/components/bootstrap/js" \
        "$hub/components/bootstrap/dist/css" "$hub/components/requirejs/bin"
    find "$hub/components/bootstrap/dist/js" -type f ! -name bootstrap.bundle.min.js -delete
    find "$hub/components/moment" -mindepth 1 -maxdepth 1 ! -name moment.js ! -name LICENSE \
        -exec rm -rf {} +
fi
