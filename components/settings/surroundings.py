"""Settings of what surrounds a user's server: the site's variables, proxies and mirrors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, ip_address
from urllib.parse import urlsplit

from components.settings import parsing
from components.settings.build import Build
from components.settings.config import Config
from components.settings.disclosure import holds_a_secret, names_a_secret
from components.settings.parsing import RefusedError
from components.settings.setting import Setting

#: Value of a mirror's setting that stands for the public source.
PUBLIC = "public"

#: Variables that decide how a server itself runs, and those that the image sets.
OWN_NAMES = {
    *("PATH", "HOME", "HOSTNAME", "USER", "LOGNAME", "SHELL", "PWD", "LANG", "TMPDIR"),
    *("BASH_ENV", "ENV", "PYTHONHOME", "PYTHONPATH", "PYTHONUSERBASE"),
    *("MEM_LIMIT", "CPU_LIMIT", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
}
OWN_PREFIXES = ("JUPYTERHUB_", "JUPYTER_", "JPY_", "ZHUB_", "LD_", "GLIBC_", "MALLOC_")

#: Hosts that a server reaches without a proxy: itself, and the hub.
NO_PROXY = ("localhost", "127.0.0.1", "hub")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY")
WITHOUT_PROXY = ("NO_PROXY", "no_proxy")

#: Where images have all CA certificates, the site's included.
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"

#: Characters; all of a program's variables must fit in what Linux gives it (execve(2)).
LONGEST = 4096

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_READ_BY_ALL = (
    "every program of every user reads it, and so does whoever may inspect containers;"
    " a user keeps secrets in a file of the home"
)


def variable(text: str) -> str:
    """Variables as NAME=VALUE, but for secrets and what the server itself needs."""
    name, equals, value = text.partition("=")
    if not equals or not _NAME.fullmatch(name):
        raise RefusedError("not a variable, such as TZ=Europe/Berlin", secret="=" not in text)
    if name in OWN_NAMES or name.startswith(OWN_PREFIXES):
        raise RefusedError("the server itself needs this variable", superfluous=True)
    if name in OWNERS:
        raise RefusedError(f"the setting {OWNERS[name]} is for this", superfluous=True)
    if names_a_secret(name):
        raise RefusedError(
            f"{name} looks like a secret: {_READ_BY_ALL}", secret=True, superfluous=True
        )
    if holds_a_secret(value):
        raise RefusedError(
            f"{name} holds what looks like a secret, such as a password in a URL: {_READ_BY_ALL}",
            secret=True,
            superfluous=True,
        )
    if not value.isprintable() or len(value) > LONGEST:
        raise RefusedError(f"{name} is not one line of at most {LONGEST} printable characters")
    return text


def variables(text: str) -> tuple[str, ...]:
    """Lists of variables, none of them twice."""
    return parsing.assignments_of(variable)(text)


def as_mapping(given: tuple[str, ...]) -> dict[str, str]:
    """Variables by name, each proxy in both spellings, for programs read one or the other."""
    found = dict(one.split("=", 1) for one in given)
    for name in PROXIES:
        values = [found[each] for each in (name, name.lower()) if each in found]
        if values:
            found = {name: values[0], name.lower(): values[0]} | found
    if any(name in found for name in PROXIES):
        for name in WITHOUT_PROXY:
            listed = [host for host in found.get(name, "").split(",") if host]
            found[name] = ",".join(dict.fromkeys([*listed, *NO_PROXY]))
    return found


def added(variables: Mapping[str, str], given: tuple[str, ...]) -> dict[str, str]:
    """Variables, as `as_mapping` returns them, and others that count where both have one.

    A proxy among the others does not undo which hosts are reached without one.
    """
    own = as_mapping(given)
    if not {one.partition("=")[0] for one in given} & set(WITHOUT_PROXY):
        own = {
            name: own[name] for name in own if name not in WITHOUT_PROXY or name not in variables
        }
    return {**variables, **own}


def _mirror(text: str) -> str:
    return text if text == PUBLIC else parsing.url(text)


def git_mirror(text: str) -> str:
    """Pairs of web addresses: what a repository's address begins with, and what it is instead."""
    match = re.fullmatch(r"(https?://[^=\s]+)=(https?://\S+)", text)
    if not match:
        raise RefusedError(
            "not ADDRESS=MIRROR, such as https://github.com/=https://git.example.com/github/",
            secret="@" in text,
        )
    for url in match.groups():
        parsing.url(url)
    return text


ENVIRONMENT = Setting(
    "userEnvironment",
    (),
    "Variables of users' servers, each NAME=VALUE, such as proxies or the time zone; no secrets",
    variables,
    example="TZ=Europe/Berlin",
)
PIP_INDEX_URL = Setting(
    "userPipIndexUrl",
    "",
    (
        "Python package index that pip uses in users' servers; empty for pipIndexUrl,"
        f' "{PUBLIC}" for the public one'
    ),
    parsing.or_none(_mirror),
    example="https://packages.example.com/simple",
)
NPM_REGISTRY = Setting(
    "userNpmRegistry",
    "",
    (
        "npm registry that users' servers use, where the image has npm; empty for npmRegistry,"
        f' "{PUBLIC}" for the public one'
    ),
    parsing.or_none(_mirror),
    example="https://packages.example.com/npm",
)
CRAN_MIRROR = Setting(
    "userCranMirror",
    "",
    "CRAN mirror that R uses in users' servers, where the image has R; empty for the public one",
    parsing.or_none(parsing.url),
    example="https://packages.example.com/cran",
)
GIT_MIRRORS = Setting(
    "userGitMirrors",
    (),
    (
        "Mirrors that git uses in users' servers, each as ADDRESS=MIRROR: addresses that begin with"
        " the one are taken from the other"
    ),
    parsing.list_of(git_mirror),
    example="https://github.com/=https://git.example.com/github/",
)

#: Variables by which a server's programs learn of mirrors, with the setting they come from.
OWNERS = {
    "PIP_INDEX_URL": PIP_INDEX_URL,
    "PIP_TRUSTED_HOST": PIP_INDEX_URL,
    "npm_config_registry": NPM_REGISTRY,
    "NPM_CONFIG_REGISTRY": NPM_REGISTRY,
    "COREPACK_NPM_REGISTRY": NPM_REGISTRY,
    "CRAN_MIRROR": CRAN_MIRROR,
    "GIT_CONFIG_COUNT": GIT_MIRRORS,
}


def read(config: Config, build: Build) -> dict[str, str]:
    """Read the variables of users' servers: the site's own, and those that name the mirrors."""
    return {**_mirrors(config, build), **as_mapping(config.value(ENVIRONMENT))}


def _mirrors(config: Config, build: Build) -> dict[str, str]:
    found = {}
    pip = _chosen(config.value(PIP_INDEX_URL), build.pip_index_url)
    if pip:
        found["PIP_INDEX_URL"] = pip
        if pip.startswith("http://"):
            # pip ignores an index without TLS unless it is told that this is meant.
            found["PIP_TRUSTED_HOST"] = urlsplit(pip).netloc
    npm = _chosen(config.value(NPM_REGISTRY), build.npm_registry)
    if npm:
        # npm's own name is in lower case.
        found["npm_config_registry"] = npm
        found["COREPACK_NPM_REGISTRY"] = npm.removesuffix("/")
    if build.extra_ca_pem or npm:
        # Of the CAs, node knows only its own.
        found["NODE_EXTRA_CA_CERTS"] = CERTIFICATES
    if cran := config.value(CRAN_MIRROR):
        found["CRAN_MIRROR"] = cran
    git = config.value(GIT_MIRRORS)
    if git:
        found["GIT_CONFIG_COUNT"] = str(len(git))
    for number, pair in enumerate(git):
        address, _, mirror = pair.partition("=")
        found[f"GIT_CONFIG_KEY_{number}"] = f"url.{mirror}.insteadOf"
        found[f"GIT_CONFIG_VALUE_{number}"] = address
    return found


def _chosen(own: str | None, of_builds: str) -> str:
    """The address of a mirror; empty for the public source.

    What builds reach on the engine's own machine is of no use to servers, which are machines of
    their own.
    """
    if own:
        return "" if own == PUBLIC else own
    return "" if _address(of_builds, lambda a: a.is_loopback) else of_builds


def _address(url: str, wanted: Callable[[IPv4Address], bool]) -> IPv4Address | None:
    """The address in a URL, if it names its host by one and it is a wanted one."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        host = "127.0.0.1"
    if not parsing.is_address(host):
        return None
    address = ip_address(host)
    return address if isinstance(address, IPv4Address) and wanted(address) else None


def unreached(
    variables: Iterable[tuple[str, str]], allowed: tuple[str, ...], pool: str, *, internet: bool
) -> Iterator[str]:
    """Warn of mirrors and proxies whose addresses are closed to users' servers.

    Of those that are given by name, only the servers' name server knows the address.
    """
    networks = [IPv4Network(text) for text in allowed]
    users = IPv4Network(pool)

    def closed(address: IPv4Address) -> bool:
        inside = any(address in network for network in networks)
        return address in users or (not inside and (not internet or address.is_private))

    seen: set[str] = set()
    for name, value in variables:
        urls = re.findall(r"https?://[^\s]+", value.removesuffix(".insteadOf"))
        for address in filter(None, (_address(url, closed) for url in urls)):
            if str(address) not in seen:
                seen.add(str(address))
                # Spelt out: this module is read before the one with these settings.
                fix = "add it to userAllowedNetworks"
                if address in users:
                    fix = f"it is in userNetworkPool ({pool}): set that to another network"
                yield f"{name} of users' servers names {address}, which they do not reach; {fix}"
