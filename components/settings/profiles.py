"""Profiles: the kinds of servers that a stack offers, and the groups that may choose each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from components.settings import build, folders, ldap_entries, parsing, surroundings
from components.settings import users as servers
from components.settings.config import Config
from components.settings.objects import Objects, parsed, remove, some
from components.settings.parsing import RefusedError
from components.settings.setting import Setting
from components.settings.users import Profile, UserServers

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_-]*)*")
# Whoever may open these reads or changes the machine: memory, disks, networks, other machines.
_MACHINES = re.compile(
    r"(mem|kmem|port|kmsg|console|tty|pts|ptmx|fd|full|fuse|kvm|vfio|uhid|uinput|hpet|nvram|watchdog"
    r"|mapper|disk|block|bsg|sg|sd|vd|xvd|hd|nvme|dasd|dm-|loop|md|ram|zram|nbd|rbd|net|vhost|btrfs"
    r"|userfaultfd|vmcp|vmur|monreader|vmlogrdr|hmcdrv|chsc|cuse|autofs|snapshot|rtc|mqueue|shm|raw"
    r"|cpu|sclp|hvc|input|mei|scm|dcssblk|pmem|mmcblk|drbd|bcache|mtd|ublk|vcs|ipmi|uio)"
)


def _name(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise RefusedError("not a name of lower-case letters, digits and dashes, such as large")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise RefusedError("not one line of text")
    if len(value) > 200:
        raise RefusedError(f"has {len(value)} characters; the page has room for 200")
    return value.strip()


def _device(value: str) -> str:
    device = value.removeprefix("/dev/")
    if not _DEVICE.fullmatch(device):
        raise RefusedError("not a device below /dev, such as z90crypt")
    if _MACHINES.match(device):
        raise RefusedError("whoever may open it reads or changes the engine's machine")
    return device


#: Bytes of all profiles together, with room for what is not a variable of a server: hub and guard
#: get them as one variable, for which Linux has 128 KiB (execve(2), MAX_ARG_STRLEN).
MOST_BYTES = 120 << 10

#: What a profile may say: how it is checked, and a value for the command that fixes it.
FIELDS: dict[str, tuple[Callable[[object], Any], str]] = {
    "name": (_name, "large"),
    "description": (_text, "For large models"),
    "groups": (
        some(parsing.dn, otherwise="leave it out if everybody may have the profile"),
        "cn=quants,ou=groups,dc=example,dc=org",
    ),
    "memory": (parsed(parsing.size("128M")), "4G"),
    "sharedMemory": (parsed(parsing.size("64M")), "1G"),
    "cpus": (parsed(parsing.processors), "2.0"),
    "pids": (parsed(servers.PIDS.parse), "512"),
    "idleTimeout": (parsed(servers.IDLE_TIMEOUT.parse), "3600"),
    "environment": (parsed(surroundings.variables), "TZ=Europe/Berlin"),
    "devices": (parsed(parsing.list_of(_device)), "z90crypt"),
    "packages": (parsed(build.NOTEBOOK_PACKAGES.parse), "r-base-dev"),
    "requirements": (parsed(build.NOTEBOOK_REQUIREMENTS.parse), "workplace"),
}
OBJECTS = Objects(
    key="profiles",
    noun="profile",
    fields=FIELDS,
    lists={"groups", "environment", "devices", "packages", "requirements"},
)

PROFILES = Setting(
    "profiles",
    (),
    (
        "Kinds of servers that users choose from: each a name, groups (DNs; none for everybody) and"
        " what is different in it; docs/profiles.md"
    ),
    OBJECTS,
    example="large",
    member="name",
)


def read(config: Config, users: UserServers, *, recheck: bool) -> UserServers:
    """Read the profiles, and return the settings of users' servers with them.

    Args:
        config: of the stack.
        users: what servers get where a profile does not say otherwise.
        recheck: whether the hub can look users' groups up at any time.
    """
    found = []
    for number, given in enumerate(config.value(PROFILES)):
        memory = given.get("memory", users.memory)
        shared = given.get("sharedMemory") or min(
            max(memory // 4, 64) if "memory" in given else users.shared_memory, memory
        )
        profile = Profile(
            name=given["name"],
            description=given.get("description", given["name"]),
            groups=given.get("groups", ()),
            memory=memory,
            shared_memory=shared,
            cpus=given.get("cpus", users.cpus),
            pids=given.get("pids", users.pids),
            idle_timeout=given.get("idleTimeout", users.idle_timeout),
            environment=surroundings.added(users.environment, given.get("environment", ())),
            devices=given.get("devices", ()),
            packages=given.get("packages", ()),
            requirements=given.get("requirements", ()),
        )
        if profile.shared_memory > profile.memory:
            config.clash(
                PROFILES,
                f"profile {profile.name}: sharedMemory is more than its memory ({memory}M), which"
                f" it is a part of; see {servers.SHARED_MEMORY}",
                remove(f"profiles[{number}].sharedMemory"),
            )
        if users.all_memory and "memory" in given and profile.memory > users.all_memory:
            config.clash(
                PROFILES,
                f"profile {profile.name}: its memory ({memory}M) is more than {servers.ALL_MEMORY}"
                f" ({users.all_memory}M), so that no server with it could start",
                servers.ALL_MEMORY.set_command(f"{memory}M"),
                f"or {remove(f'profiles[{number}].memory')}",
            )
        found.append(profile)
    # What is in the images is in no variable.
    bare = (replace(profile, packages=(), requirements=()) for profile in found)
    size = sum(len(json.dumps(vars(profile))) for profile in bare)
    if size > MOST_BYTES:
        config.clash(
            PROFILES,
            f"has {len(found)} profiles with {size >> 10} KiB together, the variables of"
            f" {surroundings.ENVIRONMENT} in each; hub and guard take {MOST_BYTES >> 10} KiB",
            remove(f"profiles[{len(found) - 1}]"),
            f"or {surroundings.ENVIRONMENT.remove_command()}",
        )
    if PROFILES not in config.refused:
        folders.refuse_without_profile(config, users.folders, [one.name for one in found])
    if not recheck:
        groups = {profile.name: profile.groups for profile in found}
        ldap_entries.refuse_groups(config, PROFILES, groups)
    return replace(users, profiles=tuple(found))
