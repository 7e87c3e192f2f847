"""The settings of hub and guard, as variables of their containers: everybody may read these."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pulumi

from components.files import FOLDER
from components.names import Names
from components.settings.folders import SharedFolders
from components.settings.homes import Homes
from components.settings.ldap import Ldap
from components.settings.logs import Logs
from components.settings.own_config import OwnConfig
from components.settings.services import Services
from components.settings.swarm import Swarm
from components.settings.users import Profile, UserServers

#: Names of files beside key and certificate, which variables name.
LDAP_CA = "ldap-ca.pem"
LDAP_PASSWORD = "ldap-password"  # noqa: S105 - the name of a file
SERVICE_TOKENS = "service-tokens.json"
OWN_CONFIG = "hub_config.py"


def shared(
    names: Names,
    notebook_image: pulumi.Input[str],
    base_path: str,
    users: UserServers,
    *,
    separate_proxy: bool,
) -> dict[str, pulumi.Input[str]]:
    """What hub and guard must agree on: the guard refuses requests that differ from it."""
    return {
        "ZHUB_PREFIX": names.prefix,
        "ZHUB_BASE_PATH": base_path,
        "ZHUB_NOTEBOOK_IMAGE": notebook_image,
        "ZHUB_USER_MEMORY": f"{users.memory}M",
        "ZHUB_USER_SHARED_MEMORY": f"{users.shared_memory}M",
        "ZHUB_USER_CPUS": users.cpus,
        "ZHUB_USER_PIDS": str(users.pids),
        "ZHUB_USER_ENVIRONMENT": json.dumps(users.environment),
        "ZHUB_KERNEL_IDLE_TIMEOUT": str(users.kernel_idle_timeout),
        "ZHUB_ACTIVITY_INTERVAL": str(users.activity_interval),
        "ZHUB_USER_INTERNET": json.dumps(users.internet_access),
        "ZHUB_USER_ALLOWED_NETWORKS": json.dumps(users.allowed_networks),
        "ZHUB_USER_NETWORK_POOL": users.network_pool,
        "ZHUB_MAX_SERVERS": str(users.max_servers),
        "ZHUB_SEPARATE_PROXY": json.dumps(separate_proxy),
        "ZHUB_PROFILES": json.dumps([described(profile) for profile in users.profiles]),
        **({"ZHUB_HOME_LIMIT": f"{users.homes.limit}M"} if users.homes.limit else {}),
    }


def images(
    profile_images: Mapping[str, pulumi.Input[str]],
) -> dict[str, pulumi.Input[str]]:
    """What both must agree on, of profiles with images of their own; nothing where there are none.

    Apart from the profiles, so that a preview shows these also before the images are built.
    """
    if not profile_images:
        return {}
    return {"ZHUB_PROFILE_IMAGES": pulumi.Output.json_dumps(profile_images)}


def described(profile: Profile) -> dict[str, object]:
    """What a server with the profile gets, without who may have it: that is the hub's to decide."""
    return {
        "name": profile.name,
        "description": profile.description,
        "memory": f"{profile.memory}M",
        "sharedMemory": f"{profile.shared_memory}M",
        "cpus": profile.cpus,
        "pids": profile.pids,
        "idleTimeout": profile.idle_timeout,
        "environment": profile.environment,
        "devices": profile.devices,
    }


def log(logs: Logs) -> dict[str, str]:
    """What both must agree on, of logs: users' servers log to where the stack's containers do."""
    return {
        "ZHUB_LOG_DRIVER": logs.driver,
        "ZHUB_LOG_OPTIONS": json.dumps(logs.options),
        "ZHUB_LOG_LEVEL": logs.level,
        "ZHUB_LOG_FORMAT": logs.form,
    }


def hub_folders(folders: SharedFolders) -> dict[str, str]:
    """Who gets which folder; where they are, only the guard knows."""
    if not folders.folders:
        return {}
    listed = [
        {"name": one.name, "mode": one.mode.short, "groups": one.groups}
        | ({"profiles": one.profiles} if one.profiles else {})
        for one in folders.folders
    ]
    return {"ZHUB_SHARED_FOLDERS": json.dumps(listed)}


def guard_folders(folders: SharedFolders) -> dict[str, str]:
    """Which folders may be mounted, without who gets which: that is the hub's to decide."""
    if not folders.folders:
        return {}
    listed = [
        {"name": one.name, "mode": one.mode.short} | ({"path": one.path} if one.path else {})
        for one in folders.folders
    ]
    root = {"ZHUB_SHARED_ROOT": folders.root} if folders.root else {}
    return {"ZHUB_SHARED_FOLDERS": json.dumps(listed), **root}


def homes_paths(homes: Homes) -> dict[str, str]:
    """Where homes may be; nothing where they are in the engine's own folder."""
    path = {"ZHUB_HOMES_PATH": homes.path} if homes.path else {}
    former = {"ZHUB_FORMER_HOMES_PATHS": json.dumps(homes.former)} if homes.former else {}
    driver = {"ZHUB_HOMES_DRIVER": homes.driver} if homes.driver else {}
    options = {"ZHUB_HOMES_OPTIONS": json.dumps(homes.options)} if homes.options else {}
    return {**path, **former, **driver, **options}


def swarm(found: Swarm | None) -> dict[str, str]:
    """Which nodes servers run on, and how; nothing where they run on the engine itself."""
    if found is None:
        return {}
    nodes = {"ZHUB_SWARM_NODES": found.label} if found.label else {}
    encryption = {"ZHUB_SWARM_ENCRYPTION": "true"} if found.encrypted else {}
    return {"ZHUB_SWARM": "true", **nodes, **encryption}


def services(args: Services) -> dict[str, str]:
    """What services and roles may do; the services' tokens are in a file."""
    found = {}
    if args.services:
        found["ZHUB_SERVICES"] = json.dumps(args.services)
        found["ZHUB_SERVICE_TOKENS_FILE"] = f"{FOLDER}/{SERVICE_TOKENS}"
    if args.roles:
        found["ZHUB_ROLES"] = json.dumps(args.roles)
    return found


def own_config(config: OwnConfig | None) -> dict[str, str]:
    """Where the site's own configuration is; nothing without one."""
    return {"ZHUB_CONFIG_FILE": f"{FOLDER}/{OWN_CONFIG}"} if config else {}


def hub_profiles(profiles: Sequence[Profile]) -> dict[str, str]:
    """What servers with the profiles get, and who may have which."""
    listed = [described(one) | {"groups": one.groups} for one in profiles]
    return {"ZHUB_PROFILES": json.dumps(listed)}


def directory(ldap: Ldap) -> dict[str, str]:
    """The settings of the directory, but for its servers; empty is the hub's own default."""
    return {
        "ZHUB_LDAP_PORT": str(ldap.port or ""),
        "ZHUB_LDAP_TLS": ldap.tls,
        "ZHUB_LDAP_CA_FILE": f"{FOLDER}/{LDAP_CA}" if ldap.ca_pem is not None else "",
        "ZHUB_LDAP_BIND_DN": ldap.bind_dn,
        "ZHUB_LDAP_BIND_PASSWORD_FILE": f"{FOLDER}/{LDAP_PASSWORD}" if ldap.bind_dn else "",
        "ZHUB_LDAP_SEARCH_BASE": ldap.search_base,
        "ZHUB_LDAP_NAME_ATTRIBUTES": json.dumps(ldap.name_attributes),
        "ZHUB_LDAP_USER_FILTER": ldap.user_filter,
        "ZHUB_LDAP_DN_TEMPLATES": json.dumps(ldap.dn_templates) if ldap.dn_templates else "",
        "ZHUB_LDAP_ALLOWED_GROUPS": json.dumps(ldap.allowed_groups),
        "ZHUB_LDAP_ALLOW_EVERYONE": json.dumps(ldap.allow_everyone),
        "ZHUB_LDAP_ADMIN_GROUPS": json.dumps(ldap.admin_groups),
        "ZHUB_LDAP_GROUP_BASE": ldap.group_base,
        "ZHUB_LDAP_NESTED_GROUPS": json.dumps(ldap.nested_groups),
        "ZHUB_LDAP_RECHECK": str(ldap.recheck),
    }
