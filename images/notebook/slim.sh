#!/bin/sh
# Delete files from the environment $1 that neither a notebook server nor a hub reads. Runs on the
# building machine, before the files become a layer of the image.
set -eu
environment=$1
packages=$(echo "$environment"/lib/python3.*/site-packages)

find "$environment" -type f -name '*.map' -delete
find "$packages" -depth -type d \( -name tests -o -name test \) -exec rm -rf {} +
rm -rf "$packages"/sqlalchemy/testing "$packages"/alembic/testing
rm -rf "$environment"/share/man "$environment"/share/applications

# If jsonschema finds these, it parses the grammar of internationalized URLs at each start of a
# server or hub. This takes half of their import time, for a format that no Jupyter schema uses.
rm -rf "$packages"/rfc3987_syntax* "$packages"/lark*

# A second copy of share/jupyter/lab/static; the server serves the other one.
if [ -d "$packages/jupyterlab/static" ]; then
    rm -rf "$packages/jupyterlab/static"
    ln -s "$environment/share/jupyter/lab/static" "$packages/jupyterlab/static"
fi

# Lab's own test framework, and a package manager for rebuilding Lab, which would need Node as well.
rm -rf "$packages"/jupyterlab/galata/@jupyterlab "$packages"/jupyter_builder/yarn.js

# Locale data, except for the languages that Lab is translated into.
for file in "$packages"/babel/locale-data/*.dat; do
    name=${file##*/}
    case ${name%%[_.]*} in
        root | ar | ca | cs | da | de | el | en | es | et | fi | fr | he | hu | hy | id | it | ja | ko | lt) ;;
        nb | nl | no | pl | pt | ro | ru | si | sv | th | tr | uk | vi | zh) ;;
        *) rm -f "$file" ;;
    esac
done

# Type stubs for completion, of packages that are not in the image; those of Python itself stay.
rm -rf "$packages"/jedi/third_party/typeshed/stubs/* "$packages"/jedi/third_party/django-stubs/*

# Debuggers that attach to running processes on other platforms, and sources of compiled extensions.
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
