#!/bin/sh
# Prepare a bare Debian for the build stages: install Python with pip, and the certificates to
# trust, the public ones and those in $EXTRA_CA. Runs on the building machine.
set -eu

# shellcheck source=/dev/null # the image's
. /etc/os-release
if [ "$ID $VERSION_CODENAME" != "debian trixie" ]; then
    echo "baseImage, buildImage: must be Debian 13 (trixie), but one is $PRETTY_NAME" >&2
    echo "Fix it: pulumi config set baseImage debian:trixie-slim; pulumi config rm buildImage" >&2
    exit 1
fi

# update-ca-certificates needs one certificate per file; it runs when its package is installed.
mkdir -p /usr/local/share/ca-certificates
echo "$EXTRA_CA" |
    awk '/-BEGIN CERTIFICATE-/ { n++ } n { print > "/usr/local/share/ca-certificates/site-" n ".crt" }'

# With a delay between retries, apt can loop forever: "Tried to start delayed item". The same as in
# debs.sh; later stages use apt as well.
echo 'Acquire::Retries::Delay "false";' >/etc/apt/apt.conf.d/90retries

export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet
apt-get install --quiet --yes --no-install-recommends ca-certificates python3 python3-pip
apt-get clean
