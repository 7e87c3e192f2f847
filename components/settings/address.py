"""Settings of where the hub is reached."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from components.settings import keypair, parsing
from components.settings.config import Config
from components.settings.keypair import KeyPair
from components.settings.parsing import RefusedError
from components.settings.setting import Setting

#: The port that browsers take when the address has none, and leave out of it.
HTTPS = 443

#: Ports inside the hub's network namespace: of the hub, of the proxy's API and of its metrics.
HUB_PORT = 8081
API_PORT = 8001
METRICS_PORT = 8002

#: What JupyterHub's addresses go on with, behind the base path. By them, the hub finds where in an
#: address a base path ends.
HUB_PARTS = {"hub", "services", "user"}

_PATH = re.compile(r"(/[A-Za-z0-9][A-Za-z0-9._-]*)+")


def _port(text: str) -> int:
    port = parsing.whole_number(1, 65535)(text)
    if port in {HUB_PORT, API_PORT, METRICS_PORT}:
        raise RefusedError("JupyterHub uses it itself, inside its container")
    return port


def _base_path(text: str) -> str:
    if text in {"", "/"}:
        return text
    if not _PATH.fullmatch(text):
        raise RefusedError(
            "not / and not a path such as /jupyter: a slash before each part, none at the end, and"
            " parts of letters, digits and . _ - that begin with a letter or digit"
        )
    if taken := HUB_PARTS & set(text.split("/")):
        raise RefusedError(
            f"has the part {min(taken)}, with which the hub's own addresses begin behind it"
        )
    return text


HOSTNAME = Setting(
    "hostname",
    "localhost",
    "Name or address users type; in the URL and the certificate",
    parsing.host,
    example="hub.example.com",
)
EXTRA_NAMES = Setting(
    "extraNames",
    (),
    "Further DNS names and addresses the certificate is valid for",
    parsing.list_of(parsing.host),
    example="hub.example.com",
)
PORT = Setting(
    "port", 11119, "HTTPS port, the same on the engine's machine and in the container", _port
)
BASE_PATH = Setting(
    "basePath",
    "",
    (
        "Path that all addresses of the hub begin with, such as /jupyter; empty for /<prefix>;"
        " / for none, where no other hub has the same host name"
    ),
    _base_path,
    example="/jupyter",
)
BIND_ADDRESS = Setting(
    "bindAddress",
    "0.0.0.0",  # noqa: S104 - a certificate and logins are what this port is for
    "Address of the engine's machine on which the port is opened; 127.0.0.1 for that machine alone",
    parsing.address,
)
SUBDOMAIN_HOST = Setting(
    "subdomainHost",
    "",
    (
        "Host name below which every user gets one of their own, for isolation in the browser;"
        " the same as hostname, or empty"
    ),
    parsing.or_none(parsing.domain),
    example="hub.example.com",
)
HSTS_SECONDS = Setting(
    "hstsSeconds",
    0,
    (
        "Seconds for which browsers refuse plain HTTP for the whole host name, on all ports"
        " (HSTS); 0 for never"
    ),
    parsing.whole_number(0, 2 * 31536000),
)
TRUSTED_PROXIES = Setting(
    "trustedProxies",
    (),
    "Networks and addresses, IPv4 or IPv6, of front proxies whose X-Forwarded-For the hub trusts",
    parsing.list_of(parsing.any_network),
    example="192.0.2.7",
)


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where the hub is reached, and by whom."""

    hostname: str
    extra_names: tuple[str, ...] = ()
    """Further names and addresses the certificate is valid for."""
    bind_address: str
    """Address of the engine's machine on which the port is open."""
    port: int
    base_path: str
    """Before all addresses; with a slash at both ends, or only one."""
    subdomain_host: str | None = None
    """What users' own names end in; None for one name for all."""
    hsts_seconds: int = 0
    """How long browsers insist on HTTPS for the host name; 0 for not at all."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks of the front proxies that may say who is calling."""

    @property
    def url(self) -> str:
        """Where users find the hub; its API is below `/hub/api`."""
        host = f"[{self.hostname}]" if ":" in self.hostname else self.hostname
        port = "" if self.port == HTTPS else f":{self.port}"
        return f"https://{host}{port}{self.base_path.rstrip('/')}"

    @property
    def certificate_names(self) -> tuple[str, ...]:
        """Names and addresses the certificate must be valid for, the one users type first."""
        wildcard = [f"*.{self.subdomain_host}"] if self.subdomain_host else []
        return tuple(dict.fromkeys((self.hostname, *wildcard, *self.extra_names)))

    @property
    def loopback(self) -> bool:
        """Whether only the engine's own machine gets in."""
        return ip_address(self.bind_address).is_loopback

    @property
    def apart(self) -> str:
        """The command that gives every user a name of their own; an address cannot have one."""
        try:
            name = parsing.domain(self.hostname)
        except RefusedError:
            name = SUBDOMAIN_HOST.example
        return SUBDOMAIN_HOST.set_command(name)


def read(config: Config, prefix: str, key_pair: KeyPair | None) -> Address:
    """Read where the hub is reached; the prefix is part of it where no path is set."""
    hostname = config.value(HOSTNAME)
    return Address(
        hostname=hostname,
        extra_names=config.value(EXTRA_NAMES),
        bind_address=config.value(BIND_ADDRESS),
        port=config.value(PORT),
        base_path=_read_base_path(config, prefix),
        subdomain_host=_read_subdomain_host(config, hostname, key_pair),
        hsts_seconds=config.value(HSTS_SECONDS),
        trusted_proxies=config.value(TRUSTED_PROXIES),
    )


def _read_subdomain_host(config: Config, hostname: str, key_pair: KeyPair | None) -> str | None:
    """Read the name that users' own names end in; None for one name for all."""
    name = config.value(SUBDOMAIN_HOST)
    if not name or config.refused & {HOSTNAME, SUBDOMAIN_HOST}:
        return name
    if name != hostname:
        config.clash(
            SUBDOMAIN_HOST,
            f"must be the same as {HOSTNAME}, which is {hostname}: JupyterHub has users log in"
            " there",
            # The other way round would not do for a hostname that is an address, or has no dot.
            HOSTNAME.set_command(name),
            f"or {SUBDOMAIN_HOST.remove_command()}",
        )
    elif key_pair and any(keypair.uncovered(key_pair.chain[0], [f"*.{name}"])):
        config.clash(
            SUBDOMAIN_HOST,
            f"needs a certificate for *.{name} as well, which the one in {keypair.CERT_FILE} is"
            " not: users' names could not be reached",
            keypair.CERT_FILE.set_command(),
            f"or {SUBDOMAIN_HOST.remove_command()}",
        )
    return name


def _read_base_path(config: Config, prefix: str) -> str:
    """Read the path before all of the hub's addresses; it has a slash at both ends.

    Cookies belong to a host and a path, not to a port. So by default each stack has its own.
    """
    path = config.value(BASE_PATH) or f"/{prefix}"
    if path[1:] in HUB_PARTS:
        config.clash(
            BASE_PATH,
            f"is not set, so it is {path}, from the prefix; but with {path[1:]} the hub's own"
            " addresses begin behind it",
            BASE_PATH.set_command(),
        )
    return path if path == "/" else f"{path}/"


def other_base_path(path: str, outputs: Mapping[str, Any]) -> list[str]:
    """What to know before an `up` that changes the base path; nothing where it stays.

    Args:
        path: from now on.
        outputs: of the stack, as of its last `up`.
    """
    if "url" not in outputs:
        return []
    # In releases before this setting, the output had no path, and the path was the prefix.
    old = urlsplit(outputs["url"]).path
    if not old and "basePath" not in outputs:
        old = f"/{outputs['prefix']}" if "prefix" in outputs else path
    if old.strip("/") == path.strip("/"):
        return []
    return [
        (
            f"basePath changes from {old or '/'} to {path.rstrip('/') or '/'}: servers that run"
            " stay at the old address until their next start, and links to it lead to the new one;"
            " everybody has to log in again"
        )
    ]
