#!/bin/sh
# Make of a bare Debian what the build stages run in: a Python with pip, and the certificates to
# trust, the public ones and those in $EXTRA_CA. Runs on the building machine.
set -eu

# update-ca-certificates wants one certificate a file, and runs when its package is installed.
mkdir -p /usr/local/share/ca-certificates
echo "$EXTRA_CA" |
    awk '/-BEGIN CERTIFICATE-/ { n++ } n { print > "/usr/local/share/ca-certificates/site-" n ".crt" }'

# With a pause before it tries again, apt can spin for good: "Tried to start delayed item". As in
# debs.sh; stages on top of this one use apt, too.
echo 'Acquire::Retries::Delay "false";' >/etc/apt/apt.conf.d/90retries

export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet
apt-get install --quiet --yes --no-install-recommends ca-certificates python3 python3-pip
apt-get clean
