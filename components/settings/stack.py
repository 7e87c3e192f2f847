"""The stack's settings: all of its config is read, checked and given its meaning here."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pulumi
import yaml
from pulumi.runtime.config import CONFIG, is_config_secret

from components.settings import (
    address,
    build,
    deployed,
    folders,
    hub,
    keypair,
    ldap,
    local_engine,
    local_networks,
    login,
    logs,
    networks,
    own_config,
    prefix,
    profiles,
    services,
    site,
    surroundings,
    swarm,
    swarm_facts,
    users,
)
from components.settings import engine as engines
from components.settings.address import Address
from components.settings.build import Build
from components.settings.config import Config
from components.settings.deployed import Deployed
from components.settings.engine import Engine
from components.settings.entries import SETTINGS
from components.settings.homes import HOMES_PATH, refuse_change, refuse_unusable
from components.settings.keypair import KeyPair
from components.settings.ldap import Ldap
from components.settings.local_engine import LocalEngine
from components.settings.login import Login
from components.settings.logs import Logs
from components.settings.own_config import OwnConfig
from components.settings.parsing import RefusedError
from components.settings.services import Services
from components.settings.swarm import Swarm
from components.settings.swarm_facts import Facts
from components.settings.users import UserServers


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A stack, as its config describes it."""

    prefix: str
    """What the names of all that the stack makes on the engine start with."""
    engine: Engine
    address: Address
    key_pair: KeyPair | None
    """What the operator brought; None to have key and certificate made."""
    ldap: Ldap | None
    """None for the demo directory."""
    login: Login
    texts: str
    """What the site says on the hub's pages, as the file that the hub reads."""
    users: UserServers
    services: Services
    own_config: OwnConfig | None
    """None for no configuration of the site's own."""
    hub_memory: int
    """MiB."""
    separate_proxy: bool
    """Whether the proxy has a container of its own."""
    protect: bool
    retain: bool
    """Whether a destroy leaves the hub's database on the engine."""
    logs: Logs
    build: Build
    swarm: Swarm | None = None
    """Where users' servers run; None for the engine itself."""
    swarm_seen: Facts | None = None
    """What the engine says of its swarm; None if it is not asked, or does not answer."""
    hub_memory_lowered: bool = False
    """Whether the hub that is up may take more."""
    changes: tuple[str, ...] = ()
    """What an `up` changes for those who use the hub, a sentence each."""

    def warnings(self, now: datetime) -> list[str]:
        """What is allowed but not advised, a sentence each."""
        found = [*self.changes]
        here = self.address
        if self.key_pair:
            found += keypair.warnings(self.key_pair.chain, here.certificate_names, now)
        if here.hsts_seconds and not self.key_pair:
            found.append(
                "hstsSeconds is set for a self-signed certificate: where browsers come to trust it,"
                " nobody can click past the next one"
            )
        if here.hostname == "localhost" and not (here.loopback and self.engine.local):
            found.append(
                "hostname is localhost, so the URL and the certificate are of no use elsewhere;"
                f" {address.HOSTNAME.set_command()}"
            )
        if not here.subdomain_host and not here.loopback:
            found.append(
                "subdomainHost is not set, so all users' servers and the hub are one origin to a"
                " browser: a page of one user's acts as whoever opens it; apart:"
                f" {here.apart}"
            )
        if not self.separate_proxy and not here.loopback:
            found.append(
                "separateProxy is not set, so an update of the hub ends all connections to users'"
                " servers, and nobody reaches a server until the hub is back, in half a minute or"
                f" so; without that: {hub.SEPARATE_PROXY.set_command()}"
            )
        if not here.subdomain_host and self.login.admin_access:
            found.append(
                "adminAccess is set without subdomainHost: an administrator who opens a user's"
                " server runs that user's scripts with an administrator's rights; out:"
                f" {login.ADMIN_ACCESS.set_command('false')}, or apart: {here.apart}"
            )
        if self.engine.host.startswith("tcp://") and not self.engine.cert_path:
            found.append(
                f"docker:host is {self.engine.host} without docker:certPath: whoever reaches that"
                " port is root on the engine's machine; with TLS:"
                f" {engines.CERT_PATH.set_command()}, or use ssh://"
            )
        if self.ldap is None and not here.loopback:
            found.append(
                "demoDirectory is for trying things out, but bindAddress lets other machines in;"
                f" {address.BIND_ADDRESS.set_command('127.0.0.1')} keeps them out"
            )
        if self.ldap:
            found += self.ldap.warnings(now)
        found += self.build.warnings()
        found += surroundings.unreached(
            self.users.variables,
            self.users.allowed_networks,
            self.users.network_pool,
            internet=self.users.internet_access,
        )
        found += networks.warnings(self.users, self.ldap, self._named())
        found += self.services.warnings()
        found += own_config.warnings_of(self.own_config)
        found += self.logs.warnings()
        found += swarm_facts.warnings(self.swarm, self.swarm_seen, self.build.platform)
        return found

    def _named(self) -> dict[str, Sequence[str]]:
        """What settings name that is the site's and may be in the users' pool, by key."""
        return {
            address.HOSTNAME.key: [self.address.hostname],
            address.BIND_ADDRESS.key: [self.address.bind_address],
            address.TRUSTED_PROXIES.key: self.address.trusted_proxies,
            engines.HOST.key: [self.engine.host],
            logs.LOG_OPTIONS.key: [*self.logs.options.values()],
        }


def load() -> Settings:
    """Read the config of the stack that is being previewed or deployed.

    Raises:
        pulumi.RunError: with every mistake there is, and the commands that fix them.
    """
    # Pulumi has no public way to list the keys that are set; without it, misspelt ones stay unseen.
    values = {key: str(value) for key, value in CONFIG.get().items()}
    config = declared(values, {key for key in values if is_config_secret(key)})
    stack = pulumi.get_stack()
    settings = read(config, stack, datetime.now(UTC))
    before = deployed.last()
    prefix.refuse_another(config, settings.prefix, before)
    services.refuse_in_clear(config, _stack_file(stack))
    if swarm.SWARM not in config.refused:
        swarm.refuse_change(config, settings.swarm, settings.users.homes, before)
        refuse_change(config, settings.users.homes, before.guard)
    homes = settings.users.homes.after(before.outputs, before.guard)
    folders.refuse_in_homes(config, settings.users.folders, homes.paths)
    settings = replace(
        settings,
        users=replace(settings.users, homes=homes),
        changes=(
            *address.other_base_path(settings.address.base_path, before.outputs),
            *homes.changes(before.outputs),
            *folders.changes(settings.users.folders, settings.prefix, before.guard),
            *ldap.changes(settings.ldap, before.hub),
            *hub.changes(settings.hub_memory, before),
        ),
        hub_memory_lowered=hub.less_memory(settings.hub_memory, before),
    )
    config.check(engines.HOST, lambda: engines.refuse_context(os.environ))
    if engines.HOST not in config.refused:
        local = local_engine.ask(settings.engine)
        if local:
            settings = replace(
                settings,
                engine=replace(settings.engine, id=local.id),
                swarm_seen=local.swarm,
            )
        engines.refuse_move(config, settings.engine, before)
        if engines.HOST not in config.refused:
            if local:
                _refuse_taken(config, local, settings, before)
            # What an engine had lost before counts as well where it is not asked any more.
            lost = local_engine.lost_images(local, before) if local else before.lost_images
            settings = replace(settings, build=replace(settings.build, lost=lost))
    if config.problems:
        raise pulumi.RunError(
            f"the settings of stack {stack} cannot be used; nothing was changed\n\n"
            + "\n".join(map(str, config.problems))
        )
    return settings


def _stack_file(stack: str) -> Mapping[str, Any]:
    """What the stack's file says; empty where it is not in the project's folder."""
    try:
        # Pulumi's own name for it: without an organization in front.
        found = yaml.safe_load(Path(f"Pulumi.{stack.rpartition('/')[2]}.yaml").read_text())
    except FileNotFoundError:
        return {}
    return found if isinstance(found, dict) else {}


def _refuse_taken(config: Config, local: LocalEngine, settings: Settings, before: Deployed) -> None:
    """Note what the stack's settings ask for and the engine on this machine cannot give."""
    local_engine.refuse_taken_prefix(config, local, settings.prefix, before)
    if settings.swarm and local.swarm and swarm.SWARM_NODES not in config.refused:
        swarm_facts.refuse_unfit(
            config, settings.swarm, local.swarm, settings.engine, settings.build.platform
        )
    if address.BIND_ADDRESS not in config.refused:
        config.check(
            address.BIND_ADDRESS,
            lambda: local_engine.refuse_foreign_address(settings.address.bind_address),
        )
    if not config.refused & {address.BIND_ADDRESS, address.PORT}:
        config.check(
            address.PORT,
            lambda: local_engine.refuse_taken_port(
                local,
                # That its own hub has the port is no second mistake.
                before.prefix or settings.prefix,
                settings.address.bind_address,
                settings.address.port,
                before,
            ),
        )
    if (path := settings.users.homes.path) and HOMES_PATH not in config.refused:
        config.check(HOMES_PATH, lambda: refuse_unusable(path, local.root))
    own = before.prefix or settings.prefix
    if users.NETWORK_POOL not in config.refused and config.check(
        users.NETWORK_POOL, lambda: local_networks.refuse_taken_pool(local, own, settings.users)
    ):
        chosen = config.is_set(users.NETWORK_POOL)
        for warning in local_networks.warnings(local, own, settings.users, chosen=chosen):
            pulumi.log.warn(warning)
    hidden = local_networks.hidden_directory(local, settings.ldap) if settings.ldap else ()
    for warning in (*hidden, *logs.without_journal(settings.logs)):
        pulumi.log.warn(warning)


def declared(values: Mapping[str, str], secret: Collection[str]) -> Config:
    """The config of a stack: what is set, and the keys of what is encrypted."""
    return Config(SETTINGS, prefix.NAMESPACE, values, secret)


def read(config: Config, stack: str, now: datetime) -> Settings:
    """Read the settings; they are of use only when `config` then has no problems."""
    _secrets(config)
    config.refuse_unknown(but="pulumi")
    key_pair = keypair.read(config, now)
    directory = ldap.read(config, now)
    names = prefix.read(config, stack)
    images = build.read(config)
    # The demo directory has a service account.
    recheck = directory is None or bool(directory.bind_dn)
    servers = users.read(
        config, surroundings.read(config, images), folders.read(config, recheck=recheck)
    )
    networks.check(config, servers, directory)
    settings = Settings(
        prefix=names,
        engine=engines.read(config),
        address=address.read(config, names, key_pair),
        key_pair=key_pair,
        ldap=directory,
        login=login.read(config, directory),
        texts=site.read(config),
        users=profiles.read(config, servers, recheck=recheck),
        services=services.read(config, directory),
        own_config=config.value(own_config.HUB_CONFIG_FILE),
        hub_memory=config.value(hub.HUB_MEMORY),
        separate_proxy=config.value(hub.SEPARATE_PROXY),
        protect=config.value(hub.PROTECT),
        retain=config.value(hub.RETAIN),
        logs=logs.read(config),
        build=images,
    )
    settings = replace(settings, swarm=swarm.read(config, images, settings.users))
    config.check_unread()
    return settings


def _secrets(config: Config) -> None:
    """Refuse secrets in clear, and encrypted values that the hub would get in clear."""
    for setting in config.settings:
        if setting.secret and config.is_set(setting) and not config.is_secret(setting):
            config.refuse(setting, RefusedError("stored in clear in the stack's file", secret=True))
    for setting in sorted(config.settings, key=str):
        if config.is_secret(setting) and not (setting.secret or setting.secret_member):
            config.refuse(
                setting,
                RefusedError("encrypted, but used where it can be read; set it without --secret"),
            )
