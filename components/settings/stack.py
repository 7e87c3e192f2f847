"""The stack's settings: all of its config is read, checked and given its meaning here."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pulumi
from pulumi.runtime.config import CONFIG, is_config_secret

from components.settings import build, keypair, ldap, parsing, users
from components.settings import engine as engines
from components.settings.build import Build
from components.settings.config import Config, Schema, remove_command, schema_defaults, set_command
from components.settings.engine import Engine
from components.settings.keypair import KeyPair
from components.settings.ldap import Ldap
from components.settings.parsing import RefusedError
from components.settings.users import UserServers

NAMESPACE = "zhub"
PROJECT = Path(__file__).parents[2] / "Pulumi.yaml"

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

DAY = 86400
"""Seconds."""

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


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A stack, as its config describes it."""

    prefix: str
    """What the names of all that the stack makes on the engine start with."""
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
            told += self.ldap.warnings(now)
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
                settings.engine, settings.prefix, settings.bind_address, settings.port
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
    key_pair = keypair.read(config, now)
    directory = ldap.read(config, now)
    return Settings(
        prefix=f"{NAMESPACE}-{stack}",
        engine=engines.read(config),
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
        users=users.read(config),
        hub_memory=config.value("hubMemory", parsing.size("256M")),
        protect=config.value("protect", parsing.boolean),
        build=build.read(config),
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


def _port(text: str) -> int:
    port = parsing.whole_number(1024, 65535)(text)
    if port in HUB_PORTS:
        raise RefusedError("JupyterHub uses it itself, inside its container")
    return port
