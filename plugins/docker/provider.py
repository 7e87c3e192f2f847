"""The `docker` provider: its configuration and its engine."""

from __future__ import annotations

from plugins.base import Provider
from plugins.docker import engine, registries
from plugins.docker.container import Container
from plugins.docker.image import Image
from plugins.docker.network import Network
from plugins.docker.service import Service
from plugins.docker.volume import Volume
from plugins.properties import Object, Property
from plugins.property_types import BOOLEAN, STRING, ListOf

#: The release of the official plugin that this one replaces.
VERSION = "5.2.0"

REGISTRY_AUTH = Object(
    "docker:index/ProviderRegistryAuth:ProviderRegistryAuth",
    (
        Property("address", STRING, required=True),
        Property("username", STRING),
        Property("password", STRING, secret=True),
        Property("configFile", STRING),
        Property("configFileContent", STRING),
        Property("authDisabled", BOOLEAN),
    ),
)


class DockerProvider(Provider):
    """Connects to the engine that the configuration names."""

    engine: engine.Engine

    def __init__(self) -> None:
        super().__init__(
            "docker",
            VERSION,
            [Image, Container, Network, Volume, Service],
            [
                Property("host", STRING),
                Property("context", STRING, unsupported=True),
                Property("sshOpts", ListOf(STRING)),
                Property("caMaterial", STRING),
                Property("certMaterial", STRING),
                Property("keyMaterial", STRING, secret=True),
                Property("certPath", STRING),
                Property("registryAuth", ListOf(REGISTRY_AUTH)),
                # Without effect, as in the official plugin, whose image builds connect anyway.
                Property("disableDockerDaemonCheck", BOOLEAN),
            ],
        )

    def registry_headers(self, image: str) -> dict[str, str]:
        """Return the header that lets the engine pull an image."""
        return registries.provider_header(self.config.get("registryAuth", []), image)

    def configured(self) -> None:
        self.engine = engine.from_config(self.config)
        # A preview must work without reaching an `ssh://` engine, so do not connect yet.
        if self.engine.address.scheme != "ssh":
            _ = self.engine.client
