"""Settings of the images: for which machine, from which sources, kept where."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import pulumi

from components.settings import certificates, machine, parsing
from components.settings.config import Config
from components.settings.parsing import RefusedError
from components.settings.setting import Setting

#: Value of a setting that stands for what an administrator set up on this machine.
SYSTEM = "system"


class Platform(StrEnum):
    """Platforms that all parts of the images exist for."""

    S390X = "linux/s390x"
    AMD64 = "linux/amd64"
    ARM64 = "linux/arm64"


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


REQUIREMENTS = Path(__file__).parents[2] / "images/notebook/requirements"
"""Folder of the sets of packages from PyPI: NAME.in by hand, NAME.txt by `make lock`."""


def _requirements(name: str) -> str:
    known = sorted(file.stem for file in REQUIREMENTS.glob("*.txt"))
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name):
        raise RefusedError(f"no name of a set of packages; there are {', '.join(known)}")
    if name not in known:
        raise RefusedError(
            f"images/notebook/requirements has no {name}.txt; there are {', '.join(known)}."
            f" Write {name}.in and run `make lock`: docs/packages.md"
        )
    return name


PLATFORM = Setting(
    "platform",
    "linux/s390x",
    "Platform of the images, of linux/s390x, linux/amd64 and linux/arm64",
    parsing.one_of(Platform),
)
BASE_IMAGE = Setting(
    "baseImage",
    "debian:trixie-slim",
    "Debian 13 image for the platform, which the images are made from",
    parsing.image,
)
BUILD_IMAGE = Setting(
    "buildImage",
    "",
    "The same for the engine's own platform, if that needs another image; empty for baseImage",
    parsing.or_none(parsing.image),
    example="debian:trixie-slim",
)
NOTEBOOK_PACKAGES = Setting(
    "notebookPackages",
    (
        *("python3-numpy", "python3-pandas", "python3-matplotlib", "python3-scipy"),
        *("python3-sklearn", "python3-seaborn", "python3-statsmodels", "python3-openpyxl"),
        *("fonts-wqy-microhei", "git", "openssh-client", "less", "curl", "zip", "unzip", "nano"),
        *("file", "make"),
    ),
    "Debian packages users find in their servers; whatever Debian has for the platform",
    parsing.list_of(parsing.package),
    example="python3-numpy",
)
NOTEBOOK_REQUIREMENTS = Setting(
    "notebookRequirements",
    ("workplace",),
    "Sets of packages from PyPI in users' servers: names of files in images/notebook/requirements",
    parsing.list_of(_requirements),
    example="workplace",
)
IMAGE_SOURCE = Setting(
    "imageSource",
    "",
    "Web address of the repository that the images are made from, for their label",
    parsing.or_none(parsing.url),
    example="https://git.example.com/jupyterhub",
)
REGISTRY = Setting(
    "registry",
    "",
    "Registry the images are pushed to, as host[:port][/path]; empty to keep them on the engine",
    parsing.or_none(parsing.registry),
    example="registry.example.com/jupyter",
)
REGISTRY_USERNAME = Setting(
    "registryUsername", "", "User name at the registry", parsing.or_none(str), example="NAME"
)
REGISTRY_PASSWORD = Setting(
    "registryPassword",
    "",
    "Password at the registry; set it with --secret",
    parsing.or_none(pulumi.Output.secret),
    secret=True,
)
EXTRA_CA_FILE = Setting(
    "extraCaFile",
    "",
    (
        'PEM file with the site\'s CA certificates, trusted in builds and images; "system" for'
        " this machine's"
    ),
    _extra_ca,
    example="site-ca.pem",
)
PIP_INDEX_URL = Setting(
    "pipIndexUrl",
    "",
    (
        'Python package index for builds; empty for the public one, "system" for the one that'
        " pip has here"
    ),
    _site_url(machine.pip_index_url),
    example="https://packages.example.com/simple",
)
NPM_REGISTRY = Setting(
    "npmRegistry",
    "",
    'npm registry for builds; empty for the public one, "system" for the one that npm has here',
    _site_url(machine.npm_registry),
    example="https://packages.example.com/npm",
)


@dataclass(frozen=True, kw_only=True)
class Registry:
    """Where images are pushed to."""

    address: str
    """As host[:port][/path]."""
    username: str | None
    password: pulumi.Output[str] | None

    @property
    def server(self) -> str:
        """As host[:port]."""
        return self.address.partition("/")[0]


@dataclass(frozen=True, kw_only=True)
class Build:
    """How images are built, and for what."""

    platform: Platform
    base_image: str
    build_image: str
    """Runs on the engine's own platform."""
    notebook_packages: tuple[str, ...]
    """Debian's, for the users' servers."""
    notebook_requirements: tuple[str, ...]
    """Names of files in images/notebook/requirements, without the ending."""
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
    lost: Mapping[str, int] = field(default_factory=dict)
    """How often the engine had lost an image that was on it, by its folder; no setting."""

    def warnings(self) -> list[str]:
        """What is allowed but not advised, a sentence each."""
        pem = self.extra_ca_pem.encode()
        return certificates.warnings_of_extra(parsing.certificates(pem)) if pem else []


def read(config: Config) -> Build:
    """Read the settings of the images."""
    base_image = config.value(BASE_IMAGE)
    build_image = config.value(BUILD_IMAGE)
    return Build(
        platform=config.value(PLATFORM),
        base_image=base_image,
        build_image=build_image or base_image,
        notebook_packages=config.value(NOTEBOOK_PACKAGES),
        notebook_requirements=config.value(NOTEBOOK_REQUIREMENTS),
        source_url=config.value(IMAGE_SOURCE) or "",
        registry=_registry(config),
        extra_ca_pem=config.value(EXTRA_CA_FILE),
        pip_index_url=config.value(PIP_INDEX_URL),
        npm_registry=config.value(NPM_REGISTRY),
    )


def _registry(config: Config) -> Registry | None:
    address = config.value(REGISTRY)
    username = config.value(REGISTRY_USERNAME)
    password = config.value(REGISTRY_PASSWORD)
    if not address:
        for setting in (REGISTRY_USERNAME, REGISTRY_PASSWORD):
            if config.is_set(setting):
                config.clash(setting, f"has no use without {REGISTRY}", setting.remove_command())
        return None
    if (username is None) != (password is None):
        missing = REGISTRY_USERNAME if username is None else REGISTRY_PASSWORD
        config.clash(
            missing,
            f"must be set when the other of {REGISTRY_USERNAME} and {REGISTRY_PASSWORD} is",
            missing.set_command(),
        )
    return Registry(address=address, username=username, password=password)
