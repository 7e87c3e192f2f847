#!/bin/sh
# Install the proxy's npm packages, as locked, into the current folder. Runs on the building machine:
# they are plain JavaScript. In the environment: NPM_REGISTRY, empty for the public one.
set -eu
apt-get update --quiet
apt-get install --quiet --yes --no-install-recommends nodejs
apt-get clean

# npm writes registries with a slash at the end; corepack needs them without it.
export NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
export COREPACK_NPM_REGISTRY="${NPM_REGISTRY%/}" npm_config_registry="$NPM_REGISTRY"
corepack npm ci --omit=dev --ignore-scripts --no-audit --no-fund --no-update-notifier
find . -type f -name '*.map' -delete
find node_modules -mindepth 2 -maxdepth 2 -type d -name test -exec rm -r {} +
