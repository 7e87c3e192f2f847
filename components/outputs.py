"""The stack's outputs: what operators, `make` and the next run read of the last `up`."""

from __future__ import annotations

import pulumi

from components.certificate import Certificate
from components.directory import USERS, Directory
from components.hub import Hub
from components.images import Images, of_profile
from components.settings import own_config
from components.settings.deployed import LOST_IMAGES
from components.settings.homes import OUTPUT as HOMES_PATHS
from components.settings.stack import Settings


def export(
    settings: Settings,
    images: Images,
    certificate: Certificate,
    directory: Directory | None,
    hub: Hub,
) -> None:
    """Export them; those of what a stack does not have are left out."""
    pulumi.export("url", settings.address.url)
    pulumi.export("basePath", settings.address.base_path)
    pulumi.export("prefix", settings.prefix)
    pulumi.export("container", hub.container)
    pulumi.export("certificateFingerprint", certificate.fingerprint)
    pulumi.export("certificateExpires", certificate.expires)
    pulumi.export("notebookDigest", images.notebook)
    pulumi.export("hubDigest", images.hub)
    pulumi.export("filterDigest", images.filter)
    if images.proxy is not None:
        pulumi.export("proxyDigest", images.proxy.repo_digest)
    for profile, digest in images.profiles.items():
        pulumi.export(f"{of_profile('profile', profile)}Digest", digest)
    if directory is not None:
        pulumi.export("directoryDigest", directory.image)
        pulumi.export("demoUsers", directory.users)
        pulumi.export("demoRoles", USERS)
    if settings.build.lost:
        pulumi.export(LOST_IMAGES, dict(settings.build.lost))
    if settings.own_config:
        pulumi.export(own_config.OUTPUT, settings.own_config.digest)
    if settings.users.homes.output:
        pulumi.export(HOMES_PATHS, settings.users.homes.output)
    pulumi.export("engine", settings.engine.host)
    if settings.engine.id:
        # An address such as unix:///var/run/docker.sock is that of another engine on every machine.
        pulumi.export("engineId", settings.engine.id)
