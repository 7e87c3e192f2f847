"""The stack's settings: all of its config is read, checked and given its meaning here."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from ipaddress import IPv4Network, ip_address
from pathlib import Path

import pulumi
from pulumi.runtime.config import CONFIG, is_config_secret

from components import engine as engines
from components import keypair, ldap, machine, parsing
from components.config import Config, Schema, remove_command, schema_defaults, set_command
from components.engine import Engine
from components.keypair import KeyPair
from components.ldap import Ldap
from components.names import Names
from components.parsing import RefusedError

NAMESPACE = "zhub"
PROJECT = Path(__file__).parents[1] / "Pulumi.yaml"

#: Settings of Pulumi's Docker provider that reach all of it, and the `docker` command too. Of the
#: others, context and sshOpts reach only half, and keyMaterial would stay in the state in clear.
DOCKER_DEFAULTS = {"docker:host": "", "docker:certPath": ""}

#: Ports that JupyterHub and its proxy use inside the hub's container.
HUB_PORTS = {8001, 8081}

#: What names of containers and volumes may consist of, with room for a user's name behind it.
STACK_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")

#: What stands between a stack's prefix and a user in names; as part of a stack's name, `dev-home`
#: would have for its certificates the volume that is the home of the user `certs` of `dev`.
USER_WORDS = {"user", "home"}

#: Of a user's network, and how many of them the largest pool that is of use has.
SUBNET_PREFIX = 28
MOST_SERVERS = 4096
DAY = 86400
"""Seconds."""

#: Value of a setting that stands for what an administrator set up on this machine.
SYSTEM = "system"

#: Settings that must be encrypted, with what their value is read from when they are set.
SECRETS = {"ldapBindPassword": "", "registryPassword": "", "tlsKey": " < hub.example.com.key"}

#: What a command that mends a setting shows where the default would not do.
EXAMPLES = {
    "adminUsers": "alice",
    "buildImage": "debian:trixie-slim",
    "docker:certPath": "engine-certificates",
    "docker:host": "ssh://user@z.example.com",
    "extraCaFile": "site-ca.pem",
    "extraNames": "hub.example.com",
    "hostname": "hub.example.com",
    "imageSource": "https://git.example.com/jupyterhub",
    "notebookPackages": "python3-numpy",
    "npmRegistry": "https://packages.example.com/npm",
    "pipIndexUrl": "https://packages.example.com/simple",
    "registry": "registry.example.com/jupyter",
    "registryUsername": "NAME",
    "subdomainHost": "hub.example.com",
    "tlsCertFile": "hub.example.com.crt",
    "tlsKeyFile": "hub.example.com.key",
    "trustedProxies": "192.0.2.7",
    "userAllowedNetworks": "10.20.30.0/24",
    "userBlockedNetworks": "198.51.100.0/24",
    **ldap.EXAMPLES,
}


class Platform(StrEnum):
    """Platforms that all parts of the images exist for."""

    S390X = "linux/s390x"
    AMD64 = "linux/amd64"
    ARM64 = "linux/arm64"


@dataclass(frozen=True, kw_only=True)
class UserServers:
    """What each user's server gets, as the hub is told it."""

    memory: int
    """MiB."""
    cpus: str
    pids: int
    internet_access: bool
    network_pool: str
    allowed_networks: tuple[str, ...]
    """Private ones that servers reach all the same."""
    blocked_networks: tuple[str, ...]
    """Public ones that servers do not reach."""
    max_servers: int
    """At the same time."""
    idle_timeout: int
    """Seconds; 0 for never."""
    start_timeout: int
    """Seconds."""


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


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A stack, as its config describes it."""

    names: Names
    engine: Engine
    hostname: str
    extra_names: tuple[str, ...]
    port: int
    bind_address: str
    subdomain_host: str | None
    """What users' own names end in; None for one name for all."""
    hsts_seconds: int
    """0 for no HSTS."""
    trusted_proxies: tuple[str, ...]
    """Networks of the front proxies that may say who is calling."""
    key_pair: KeyPair | None
    """What the operator brought; None to have key and certificate made."""
    ldap: Ldap | None
    """None for the demo directory."""
    admin_users: tuple[str, ...]
    admin_access: bool
    """Whether administrators get into users' servers."""
    token_max_age: int
    """Seconds."""
    users: UserServers
    hub_memory: int
    """MiB."""
    protect: bool
    build: Build

    @property
    def url(self) -> str:
        """Where users find the hub."""
        host = f"[{self.hostname}]" if ":" in self.hostname else self.hostname
        return f"https://{host}:{self.port}"

    @property
    def certificate_names(self) -> tuple[str, ...]:
        """Names and addresses the certificate must be valid for, the one users type first."""
        wildcard = [f"*.{self.subdomain_host}"] if self.subdomain_host else []
        return tuple(dict.fromkeys((self.hostname, *wildcard, *self.extra_names)))

    def _apart(self) -> str:
        """The command that gives every user a name of their own; an address cannot have one."""
        try:
            name = parsing.domain(self.hostname)
        except RefusedError:
            name = EXAMPLES["subdomainHost"]
        return set_command("subdomainHost", name)

    def warnings(self, now: datetime) -> list[str]:
        """What is allowed but not advised, a sentence each."""
        told = []
        loopback = ip_address(self.bind_address).is_loopback
        if self.key_pair:
            told += keypair.warnings(self.key_pair.chain, self.certificate_names, now)
        if self.hsts_seconds and not self.key_pair:
            told.append(
                "hstsSeconds is set for a self-signed certificate: where browsers come to trust it,"
                " nobody can click past the next one"
            )
        if self.hostname == "localhost" and not (loopback and self.engine.local):
            told.append(
                "hostname is localhost, so the URL and the certificate are of no use elsewhere"
            )
        if not self.subdomain_host and not loopback:
            told.append(
                "subdomainHost is not set, so all users' servers and the hub are one origin to a"
                " browser: a page of one user's acts as whoever opens it; apart:"
                f" {self._apart()}"
            )
        if not self.subdomain_host and self.admin_access:
            told.append(
                "adminAccess is set without subdomainHost: an administrator who opens a user's"
                " server runs that user's scripts with an administrator's rights; out:"
                f" {set_command('adminAccess', 'false')}, or apart: {self._apart()}"
            )
        if self.engine.host.startswith("tcp://") and not self.engine.cert_path:
            told.append(
                f"docker:host is {self.engine.host} without docker:certPath: whoever reaches that"
                " port is root on the engine's machine; use ssh:// or TLS"
            )
        if self.ldap is None and not loopback:
            told.append(
                "demoDirectory is for trying things out, but bindAddress lets other machines in;"
                f" {set_command('bindAddress', '127.0.0.1')} keeps them out"
            )
        if self.ldap:
            told += self.ldap.warnings()
        return told


def load() -> Settings:
    """Read the config of the stack that is being previewed or deployed.

    Raises:
        pulumi.RunError: with every mistake there is, and the commands that mend them.
    """
    # Pulumi has no public way to list the keys that are set; without it, misspelt ones stay unseen.
    values = {key: str(value) for key, value in CONFIG.get().items()}
    config = declared(values, {key for key in values if is_config_secret(key)})
    stack = pulumi.get_stack()
    settings = read(config, stack, datetime.now(UTC))
    config.check("docker:host", lambda: engines.refuse_context(os.environ))
    if not config.refused & {"docker:host", "bindAddress"}:
        config.check(
            "bindAddress",
            lambda: engines.refuse_foreign_address(settings.engine, settings.bind_address),
        )
    if not config.refused & {"docker:host", "bindAddress", "port"}:
        config.check(
            "port",
            lambda: engines.refuse_taken_port(
                settings.engine, settings.names.prefix, settings.bind_address, settings.port
            ),
        )
    if config.problems:
        raise pulumi.RunError(
            f"the settings of stack {stack} cannot be used; nothing was changed\n\n"
            + "\n".join(map(str, config.problems))
        )
    return settings


def declared(values: Mapping[str, str], secret: Collection[str]) -> Config:
    """The config of a stack: what is set, in front of the defaults Pulumi.yaml declares."""
    defaults = schema_defaults(PROJECT, NAMESPACE) | DOCKER_DEFAULTS
    schema = Schema(namespace=NAMESPACE, defaults=defaults, examples=EXAMPLES, confidential=SECRETS)
    return Config(schema, values, secret)


def read(config: Config, stack: str, now: datetime) -> Settings:
    """Read the settings; they are of use only when `config` then has no problems."""
    if not STACK_NAME.fullmatch(stack):
        config.clash(
            "stack",
            f"the name {stack} cannot be part of container names: 1 to 32 of a-z, 0-9 and -",
            "pulumi stack rename site",
        )
    elif taken := USER_WORDS & set(stack.split("-")):
        word = min(taken)
        other = "-".join(f"{part}s" if part in taken else part for part in stack.split("-"))
        config.clash(
            "stack",
            f"the name {stack} has the word {word}: with it, things of this stack could get the"
            f" names of things of another stack's users, zhub-STACK-{word}-NAME; choose another for"
            " a new stack; for one that is up, see CHANGELOG.md",
            # Not `rename`: homes are found by the stack's name, and users would start with none.
            f"pulumi stack init {other}",
        )
    _secrets(config)
    config.refuse_unknown(but="pulumi")
    hostname = config.value("hostname", parsing.host)
    extra_names = config.value("extraNames", parsing.list_of(parsing.host))
    key_pair = _key_pair(config, now)
    directory = ldap.read(config)
    return Settings(
        names=Names(f"{NAMESPACE}-{stack}"),
        engine=_engine(config),
        hostname=hostname,
        extra_names=extra_names,
        port=config.value("port", _port),
        bind_address=config.value("bindAddress", parsing.address),
        subdomain_host=_subdomain_host(config, hostname, key_pair),
        hsts_seconds=config.value("hstsSeconds", parsing.whole_number(0, 2 * 31536000)),
        trusted_proxies=config.value("trustedProxies", parsing.list_of(parsing.any_network)),
        key_pair=key_pair,
        ldap=directory,
        admin_users=config.value("adminUsers", parsing.list_of(parsing.user)),
        admin_access=config.value("adminAccess", parsing.boolean),
        token_max_age=_token_max_age(config, directory),
        users=_users(config),
        hub_memory=config.value("hubMemory", parsing.size("256M")),
        protect=config.value("protect", parsing.boolean),
        build=_build(config),
    )


def _subdomain_host(config: Config, hostname: str, key_pair: KeyPair | None) -> str | None:
    name = config.value("subdomainHost", parsing.or_none(parsing.domain))
    if not name or config.refused & {"hostname", "subdomainHost"}:
        return name
    if name != hostname:
        config.clash(
            "subdomainHost",
            f"must be the same as hostname, which is {hostname}: JupyterHub has users log in there",
            # The other way round would not do for a hostname that is an address, or has no dot.
            set_command("hostname", name),
            f"or {remove_command('subdomainHost')}",
        )
    elif key_pair and any(keypair.uncovered(key_pair.chain[0], [f"*.{name}"])):
        config.clash(
            "subdomainHost",
            f"needs a certificate for *.{name} as well, which the one in tlsCertFile is not: users'"
            " names could not be reached",
            config.set_command("tlsCertFile"),
            f"or {remove_command('subdomainHost')}",
        )
    return name


def _token_max_age(config: Config, directory: Ldap | None) -> int:
    seconds = config.value("tokenMaxAge", parsing.whole_number(300, 366 * DAY))
    told = config.is_set("tokenMaxAge") and not config.refused & {"tokenMaxAge", "ldapBindDn"}
    if told and seconds > DAY and directory and not directory.bind_dn:
        config.clash(
            "tokenMaxAge",
            f"is more than a day ({DAY}), but without ldapBindDn nobody can ask whether a token's"
            " owner was removed: nothing of a user then lasts longer than that",
            set_command("tokenMaxAge", str(DAY)),
            f"or {remove_command('tokenMaxAge')}",
        )
    return seconds


def _users(config: Config) -> UserServers:
    users = UserServers(
        memory=config.value("userMemory", parsing.size("128M")),
        cpus=config.value("userCpus", parsing.processors),
        pids=config.value("userPids", parsing.whole_number(64, 4194304)),
        internet_access=config.value("userInternetAccess", parsing.boolean),
        network_pool=config.value("userNetworkPool", parsing.pool),
        allowed_networks=config.value("userAllowedNetworks", parsing.list_of(parsing.network)),
        blocked_networks=config.value("userBlockedNetworks", parsing.list_of(parsing.network)),
        max_servers=config.value("maxServers", parsing.whole_number(1, MOST_SERVERS)),
        idle_timeout=config.value("idleTimeout", parsing.whole_number(60, 31536000, also=0)),
        start_timeout=config.value("startTimeout", parsing.whole_number(10, 86400)),
    )
    if not config.refused & {"userAllowedNetworks", "userNetworkPool"}:
        pool = IPv4Network(users.network_pool)
        for text in users.allowed_networks:
            if IPv4Network(text).subnet_of(pool):
                config.clash(
                    "userAllowedNetworks",
                    f"holds {text}, which is in userNetworkPool ({pool}): there are only users'"
                    " servers, and none reaches another's",
                    remove_command("userAllowedNetworks"),
                )
    if config.is_set("maxServers") and not config.refused & {"maxServers", "userNetworkPool"}:
        length = IPv4Network(users.network_pool).prefixlen
        subnets = 1 << (SUBNET_PREFIX - length)
        if users.max_servers > subnets:
            larger = SUBNET_PREFIX - (users.max_servers - 1).bit_length()
            config.clash(
                "maxServers",
                f"needs a network for each of {users.max_servers} servers, but userNetworkPool,"
                f" {users.network_pool}, has {subnets}",
                set_command("maxServers", str(subnets)),
                f"or set userNetworkPool to a /{larger}",
            )
    return users


def _secrets(config: Config) -> None:
    """Refuse secrets in clear, and encrypted values that the hub would be told in clear."""
    for key in SECRETS:
        if config.is_set(key) and not config.is_secret(key):
            reason = "stored in clear in the stack's file"
            config.refuse(key, RefusedError(reason, secret=True))
    for key in sorted(config.secret_keys() - SECRETS.keys()):
        config.refuse(
            key, RefusedError("encrypted, but used where it can be read; set it without --secret")
        )


def _engine(config: Config) -> Engine:
    host = config.value("docker:host", engines.host)
    cert_path = config.value("docker:certPath", parsing.or_none(_cert_path))
    if cert_path and not host.startswith("tcp://"):
        config.clash(
            "docker:certPath",
            "is for engines at tcp:// addresses only",
            remove_command("docker:certPath"),
        )
    socket = config.value("engineSocket", parsing.absolute_path)
    return Engine(host=host, cert_path=cert_path, socket=socket)


def _cert_path(text: str) -> str:
    for name in ("ca.pem", "cert.pem", "key.pem"):
        try:
            parsing.content(f"{text}/{name}")
        except RefusedError as error:
            raise RefusedError(f"needs a file {name}: {error}") from None
    return text


def _port(text: str) -> int:
    port = parsing.whole_number(1024, 65535)(text)
    if port in HUB_PORTS:
        raise RefusedError("JupyterHub uses it itself, inside its container")
    return port


def _key_pair(config: Config, now: datetime) -> KeyPair | None:
    chain = config.value(
        "tlsCertFile",
        parsing.or_none(lambda path: keypair.read_certificate(parsing.content(path), now)),
    )
    keys = {
        "tlsKeyFile": config.value(
            "tlsKeyFile",
            parsing.or_none(lambda path: keypair.read_key(parsing.content(path), chain or [])),
        ),
        "tlsKey": config.value(
            "tlsKey", parsing.or_none(lambda pem: keypair.read_key(pem.encode(), chain or []))
        ),
    }
    given = list(filter(config.is_set, keys))
    if len(given) > 1:
        config.clash("tlsKeyFile", "contradicts tlsKey", remove_command("tlsKeyFile"))
    if given and not config.is_set("tlsCertFile"):
        config.clash(
            "tlsCertFile",
            f"must be set when {given[0]} is",
            config.set_command("tlsCertFile"),
            f"or, to have both made: {remove_command(given[0])}",
        )
    if config.is_set("tlsCertFile") and not given:
        config.clash(
            "tlsKeyFile",
            "must be set, or tlsKey, when tlsCertFile is",
            config.set_command("tlsKeyFile"),
            f"or, to have both made: {remove_command('tlsCertFile')}",
        )
    key = keys["tlsKeyFile"] or keys["tlsKey"]
    return KeyPair(chain=chain, key_pem=pulumi.Output.secret(key)) if chain and key else None


def _build(config: Config) -> Build:
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
