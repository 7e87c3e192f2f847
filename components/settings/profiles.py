"""Profiles: the kinds of servers that a stack offers, and the groups that may choose each."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from components.settings import build, folders, ldap_entries, parsing, surroundings
from components.settings import users as servers
from components.settings.config import Config
from components.settings.parsing import RefusedError
from components.settings.setting import Setting
from components.settings.users import Profile, UserServers

#: A page that lists more is of no use, and hub and guard get all of them as one variable.
MOST = 32

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_-]*)*")
# Whoever may open these reads or changes the machine: memory, disks, networks, other machines.
_MACHINES = re.compile(
    r"(mem|kmem|port|kmsg|console|tty|pts|ptmx|fd|full|fuse|kvm|vfio|uhid|uinput|hpet|nvram|watchdog"
    r"|mapper|disk|block|bsg|sg|sd|vd|xvd|hd|nvme|dasd|dm-|loop|md|ram|zram|nbd|rbd|net|vhost|btrfs"
    r"|userfaultfd|vmcp|vmur|monreader|vmlogrdr|hmcdrv|chsc|cuse|autofs|snapshot|rtc|mqueue|shm|raw"
    r"|cpu|sclp|hvc|input|mei)"
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


def _parsed(parse: Callable[[str], Any]) -> Callable[[object], Any]:
    """What takes a value as YAML has it, for a parser of what Pulumi's config has: text."""

    def take(value: object) -> Any:
        return parse(value if isinstance(value, str) else json.dumps(value))

    return take


#: What a profile may say: how it is checked, and a value for the command that fixes it.
FIELDS: dict[str, tuple[Callable[[object], Any], str]] = {
    "name": (_name, "large"),
    "description": (_text, "For large models"),
    "groups": (_parsed(parsing.dns), "cn=quants,ou=groups,dc=example,dc=org"),
    "memory": (_parsed(parsing.size("128M")), "4G"),
    "sharedMemory": (_parsed(parsing.size("64M")), "1G"),
    "cpus": (_parsed(parsing.processors), "2.0"),
    "pids": (_parsed(servers.PIDS.parse), "512"),
    "idleTimeout": (_parsed(servers.IDLE_TIMEOUT.parse), "3600"),
    "environment": (_parsed(surroundings.variables), "TZ=Europe/Berlin"),
    "devices": (_parsed(parsing.list_of(_device)), "z90crypt"),
    "packages": (_parsed(build.NOTEBOOK_PACKAGES.parse), "r-base-dev"),
    "requirements": (_parsed(build.NOTEBOOK_REQUIREMENTS.parse), "workplace"),
}
LISTS = {"groups", "environment", "devices", "packages", "requirements"}


def _set(number: int, field: str, item: int = 0) -> str:
    path = f"profiles[{number}].{field}" + (f"[{item}]" if field in LISTS else "")
    return shlex.join(["pulumi", "config", "set", "--path", path, FIELDS[field][1]])


def _remove(path: str) -> str:
    return shlex.join(["pulumi", "config", "rm", "--path", path])


def _field(number: int, key: str, value: object) -> Any:
    """The checked value of a field of the profile of that number."""
    if key not in FIELDS:
        raise RefusedError(
            f"{json.dumps(key)}: no part of a profile; those are {', '.join(FIELDS)}",
            fix=_remove(f"profiles[{number}][{json.dumps(key)}]"),
        )
    try:
        return FIELDS[key][0](value)
    except RefusedError as error:
        if error.superfluous and error.item is not None:
            fix = _remove(f"profiles[{number}].{key}[{error.item}]")
        elif key in LISTS and error.item is None:
            fix = _remove(f"profiles[{number}].{key}")
        else:
            fix = _set(number, key, error.item or 0)
        shown = "" if error.secret else f" {json.dumps(value)}"[:100]
        raise RefusedError(f"{key}{shown}: {error}", secret=error.secret, fix=fix) from None


def parse(text: str) -> tuple[dict[str, Any], ...]:
    """Lists of profiles, each with the checked fields that it has."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise RefusedError("not a list of profiles, each with a name")
    if len(given) > MOST:
        raise RefusedError(f"more than {MOST} profiles", item=MOST, superfluous=True)
    found: list[dict[str, Any]] = []
    for number, each in enumerate(given):
        if "name" not in each:
            raise RefusedError(f"element {number + 1}: has no name", fix=_set(number, "name"))
        try:
            made = {key: _field(number, key, value) for key, value in each.items()}
        except RefusedError as error:
            which = f"profile {each['name']}" if isinstance(each["name"], str) else "a profile"
            raise RefusedError(f"{which}, {error}", secret=error.secret, fix=error.fix) from None
        if made["name"] in [other["name"] for other in found]:
            raise RefusedError(
                f"profile {made['name']}: given twice", item=number, superfluous=True
            )
        found.append(made)
    return tuple(found)


PROFILES = Setting(
    "profiles",
    (),
    (
        "Kinds of servers that users choose from: each a name, groups (DNs; none for everybody) and"
        " what is different in it; docs/profiles.md"
    ),
    parse,
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
            environment={
                **users.environment,
                **surroundings.as_mapping(given.get("environment", ())),
            },
            devices=given.get("devices", ()),
            packages=given.get("packages", ()),
            requirements=given.get("requirements", ()),
        )
        if profile.shared_memory > profile.memory:
            config.clash(
                PROFILES,
                f"profile {profile.name}: sharedMemory is more than its memory ({memory}M), which"
                f" it is a part of; see {servers.SHARED_MEMORY}",
                _remove(f"profiles[{number}].sharedMemory"),
            )
        found.append(profile)
    if PROFILES not in config.refused:
        folders.refuse_without_profile(config, users.folders, [one.name for one in found])
    if not recheck:
        of_groups = [profile.name for profile in found if profile.groups]
        ldap_entries.refuse_groups(config, PROFILES, of_groups)
    return replace(users, profiles=tuple(found))
