"""The `docker` provider: its configuration and the engine behind it."""

from __future__ import annotations

from plugins.base import Provider
from plugins.docker import engine, registries
from plugins.docker.container import Container
from plugins.docker.image import Image
from plugins.docker.network import Network
from plugins.docker.volume import Volume
from plugins.properties import BOOLEAN, STRING, ListOf, Object, Property

#: The release of the official plugin that this one stands in for.
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
    """Connects to the engine where the configuration says."""

    engine: engine.Engine

    def __init__(self) -> None:
        super().__init__(
            "docker",
            VERSION,
            [Image, Container, Network, Volume],
            [
                Property("host", STRING),
                Property("context", STRING, unsupported=True),
                Property("sshOpts", ListOf(STRING)),
                Property("caMaterial", STRING),
                Property("certMaterial", STRING),
                Property("keyMaterial", STRING, secret=True),
                Property("certPath", STRING),
                Property("registryAuth", ListOf(REGISTRY_AUTH)),
                # Without effect, as in the official plugin: its half that builds images asks the
                # engine anyway.
                Property("disableDockerDaemonCheck", BOOLEAN),
            ],
        )

    def registry_headers(self, image: str) -> dict[str, str]:
        """Return the header by which the engine may pull an image."""
        return registries.provider_header(self.config.get("registryAuth", []), image)

    def configured(self) -> None:
        self.engine = engine.from_config(self.config)
        # A preview against an `ssh://` engine needs no engine, so that one is not even looked for.
        if self.engine.address.scheme != "ssh":
            _ = self.engine.client
