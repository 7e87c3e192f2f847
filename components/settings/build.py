"""Settings of the images: for which machine, from which sources, kept where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import pulumi

from components.settings import machine, parsing
from components.settings.config import Config, remove_command

#: Value of a setting that stands for what an administrator set up on this machine.
SYSTEM = "system"


class Platform(StrEnum):
    """Platforms that all parts of the images exist for."""

    S390X = "linux/s390x"
    AMD64 = "linux/amd64"
    ARM64 = "linux/arm64"


@dataclass(frozen=True, kw_only=True)
class Registry:
    """Where images are pushed to."""

    address: str
    """As host[:port][/path]."""
    username: str | None
    password: pulumi.Output[str] | None


@dataclass(frozen=True, kw_only=True)
class Build:
    """How images are built, and for what."""

    platform: Platform
    base_image: str
    build_image: str
    """Runs on the engine's own platform."""
    notebook_packages: tuple[str, ...]
    """Debian's, for the users' servers."""
    source_url: str
    """Of the repository, for the images' labels; may be empty."""
    registry: Registry | None
    """None to keep images on the engine."""
    extra_ca_pem: str
    """CA certificates to trust besides the public ones; may be empty."""
    pip_index_url: str
    """Empty for the public one."""
    npm_registry: str
    """Empty for the public one."""


def read(config: Config) -> Build:
    """Read the settings of the images."""
    base_image = config.value("baseImage", parsing.image)
    build_image = config.value("buildImage", parsing.or_none(parsing.image))
    return Build(
        platform=config.value("platform", parsing.one_of(Platform)),
        base_image=base_image,
        build_image=build_image or base_image,
        notebook_packages=config.value("notebookPackages", parsing.list_of(parsing.package)),
        source_url=config.value("imageSource", parsing.or_none(parsing.url)) or "",
        registry=_registry(config),
        extra_ca_pem=config.value("extraCaFile", _extra_ca),
        pip_index_url=config.value("pipIndexUrl", _site_url(machine.pip_index_url)),
        npm_registry=config.value("npmRegistry", _site_url(machine.npm_registry)),
    )


def _registry(config: Config) -> Registry | None:
    address = config.value("registry", parsing.or_none(parsing.registry))
    username = config.text("registryUsername")
    password = config.text("registryPassword")
    if not address:
        for key in filter(config.is_set, ("registryUsername", "registryPassword")):
            config.clash(key, "has no use without registry", remove_command(key))
        return None
    if bool(username) != bool(password):
        config.clash(
            "registryUsername" if password else "registryPassword",
            "must be set when the other of registryUsername and registryPassword is",
            config.set_command("registryUsername" if password else "registryPassword"),
        )
    return Registry(
        address=address,
        username=username or None,
        password=pulumi.Output.secret(password) if password else None,
    )


def _extra_ca(text: str) -> str:
    if text != SYSTEM:
        return parsing.ca_certificates(parsing.content(text)) if text else ""
    found = machine.ca_certificates()
    return parsing.ca_certificates(found) if found else ""


def _site_url(of_this_machine: Callable[[], str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        found = of_this_machine() if text == SYSTEM else text
        return parsing.url(found) if found else ""

    return parse
