"""Versions and sums of everything the toolchain gets. Python's and Go's are in their lock files."""

from __future__ import annotations

#: Of the CLI and of the `pulumi` package in requirements.txt: engine and SDK go together.
PULUMI = "3.259.0"

#: Provider plugins; the versions are those of the packages in requirements.txt.
PLUGINS = {"docker": "5.2.0", "tls": "5.6.2", "command": "1.2.1"}

#: Where Pulumi publishes its own release of the CLI; asked in this order.
CLI_RELEASES = (
    "https://github.com/pulumi/pulumi/releases/download/v{version}/{file}",
    "https://get.pulumi.com/releases/sdk/{file}",
)

#: SHA-256 of the release's archives, as in Pulumi's Homebrew formula for this version.
CLI_SHA256 = {
    "linux-x64": "94ba357acac23d01474084c4b00098dc0f7bc70ce13f34c777459254a5f718e5",
    "linux-arm64": "edc8327463a72160bb36cf82cf5062da9c8a244290a706d9980988e7bf486853",
    "darwin-x64": "eaca4c3b8277bfa3ab061fa3b270d1c66358a0b2e613da8c5587a04b7226c534",
    "darwin-arm64": "57c27f179e527e2cf9f62b841a448af72a020e44b2fb4ee0d9bd85556c00c864",
}

#: Where base images come from: a tag of the image registry, or a suite of a Debian mirror.
BASE_TAG = "debian:trixie-slim"
BASE_CODENAME = "trixie"
