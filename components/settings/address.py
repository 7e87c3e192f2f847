"""Settings of where the hub is reached."""

from __future__ import annotations

from components.settings import keypair, parsing
from components.settings.config import Config
from components.settings.keypair import KeyPair
from components.settings.parsing import RefusedError
from components.settings.setting import Setting

#: The port that browsers take when the address has none, and leave out of it.
HTTPS = 443

#: Ports that JupyterHub and its proxy use inside the hub's container.
HUB_PORTS = {8001, 8081}


def _port(text: str) -> int:
    port = parsing.whole_number(1, 65535)(text)
    if port in HUB_PORTS:
        raise RefusedError("JupyterHub uses it itself, inside its container")
    return port


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
    "port", 11119, "HTTPS port, of the engine's machine and inside the container alike", _port
)
BIND_ADDRESS = Setting(
    "bindAddress",
    "0.0.0.0",  # noqa: S104 - a certificate and logins are what this port is for
    "Address of the engine's machine the port is opened on; 127.0.0.1 for that machine alone",
    parsing.address,
)
SUBDOMAIN_HOST = Setting(
    "subdomainHost",
    "",
    (
        "Name that every user gets a name of their own under, for isolation in the browser; the"
        " same as hostname, or empty"
    ),
    parsing.or_none(parsing.domain),
    example="hub.example.com",
)
HSTS_SECONDS = Setting(
    "hstsSeconds",
    0,
    (
        "Seconds browsers then refuse plain HTTP for the whole host name, all its ports (HSTS);"
        " 0 for never"
    ),
    parsing.whole_number(0, 2 * 31536000),
)
TRUSTED_PROXIES = Setting(
    "trustedProxies",
    (),
    (
        "Networks and addresses, IPv4 or IPv6, of front proxies that are believed who is"
        " calling (X-Forwarded-For)"
    ),
    parsing.list_of(parsing.any_network),
    example="192.0.2.7",
)


def subdomain_host(config: Config, hostname: str, key_pair: KeyPair | None) -> str | None:
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
