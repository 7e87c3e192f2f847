#!/bin/sh
# Drop from the environment $1 what neither a notebook server nor a hub reads. Run on the building
# machine, before the files become a layer of the image.
set -eu
environment=$1
packages=$(echo "$environment"/lib/python3.*/site-packages)

find "$environment" -type f -name '*.map' -delete
find "$packages" -depth -type d \( -name tests -o -name test \) -exec rm -rf {} +
rm -rf "$packages"/sqlalchemy/testing "$packages"/alembic/testing
rm -rf "$environment"/share/man "$environment"/share/applications

# jsonschema, if it finds these, parses the grammar of internationalized web addresses at each start
# of a server or hub: half of all the time their imports take, for a format no Jupyter schema has.
rm -rf "$packages"/rfc3987_syntax* "$packages"/lark*

# A second copy of share/jupyter/lab/static, which is what the server serves.
if [ -d "$packages/jupyterlab/static" ]; then
    rm -rf "$packages/jupyterlab/static"
    ln -s "$environment/share/jupyter/lab/static" "$packages/jupyterlab/static"
fi

# Lab's own test framework, and a package manager for building Lab anew, which needs Node as well.
rm -rf "$packages"/jupyterlab/galata/@jupyterlab "$packages"/jupyter_builder/yarn.js

# Names of languages and their plurals, but for those that Lab is translated into.
for file in "$packages"/babel/locale-data/*.dat; do
    name=${file##*/}
    case ${name%%[_.]*} in
        root | ar | ca | cs | da | de | el | en | es | et | fi | fr | he | hu | hy | id | it | ja | ko | lt) ;;
        nb | nl | no | pl | pt | ro | ru | si | sv | th | tr | uk | vi | zh) ;;
        *) rm -f "$file" ;;
    esac
done

# Type stubs of packages that are not here, for completion; those of Python itself stay.
rm -rf "$packages"/jedi/third_party/typeshed/stubs/* "$packages"/jedi/third_party/django-stubs/*

# Debuggers to inject into running processes of other platforms, and sources of built extensions.
pydevd=$packages/debugpy/_vendored/pydevd
if [ -d "$pydevd" ]; then
    find "$pydevd/pydevd_attach_to_process" -type f ! -name '*.py' -delete
    rm -rf "$pydevd/pydevd_attach_to_process/winappdbg"
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
    rm -rf "$hub/components/jquery/src" "$hub/components/jquery/dist-module"
    find "$hub/components/jquery/dist" -type f ! -name jquery.min.js -delete
    find "$hub/components/bootstrap/dist/js" -type f ! -name bootstrap.bundle.min.js -delete
    find "$hub/components/moment" -mindepth 1 -maxdepth 1 ! -name moment.js ! -name LICENSE \
        -exec rm -rf {} +
fi
