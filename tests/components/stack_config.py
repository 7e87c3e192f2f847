"""Config of stacks, and how the program reads it."""

from __future__ import annotations

import json
import re
import secrets
import shlex
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from typing import Any

import yaml

from components.settings import stack as settings
from components.settings.config import Config
from components.settings.stack import Settings
from toolchain.places import ROOT

NOW = datetime.now(UTC)
SITE = {
    "docker:host": "ssh://ops@z.example.com",
    "zhub:hostname": "hub.example.com",
    "zhub:ldapServer": "ldap.example.com",
    "zhub:ldapDnTemplates": '["uid={username},ou=people,dc=example,dc=com"]',
    "zhub:ldapAllowEveryone": "true",
}
DEMO = {"docker:host": SITE["docker:host"], "zhub:demoDirectory": "true"}


@cache
def schema() -> dict[str, Any]:
    declared: dict[str, Any] = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    return {key: about for key, about in declared.items() if ":" not in key}


def read(
    config: dict[str, str], *, secret: tuple[str, ...] = (), stack: str = "test"
) -> tuple[Settings, Config]:
    declared = settings.declared(config, secret)
    return settings.read(declared, stack, NOW), declared


def refused(config: dict[str, str], *, secret: tuple[str, ...] = ()) -> str:
    """What is said about a config with a single mistake."""
    [problem] = read(config, secret=secret)[1].problems
    return str(problem)


def fixed(config: dict[str, str], secret: set[str]) -> Settings:
    """What a config says once the first command of every message was followed, until none is."""
    config, secret = dict(config), set(secret)
    # Some objects in a list take several commands each.
    for _ in range(60):
        found, declared = read(config, secret=tuple(secret))
        if not declared.problems:
            return found
        follow(declared.problems[0].commands, config, secret)
    raise AssertionError(f"still wrong: {declared.problems}")


def follow(lines: tuple[str, ...], config: dict[str, str], secret: set[str]) -> None:
    """Do what a message says, as `pulumi config` would, up to the first alternative."""
    for line in lines:
        if line.startswith("or"):
            return
        options = {"--path", "--", "--secret"}
        # A program may make the value.
        command = line.rpartition("| ")[2]
        words = [word for word in shlex.split(command)[2:] if word not in options]
        key = words[1] if ":" in words[1] else f"zhub:{words[1]}"
        name, *path = _path(key) if "[" in key else [key]
        if words[0] == "rm" and path:
            items = json.loads(config[name])
            del _place(items, path)[path[-1]]
            config[name] = json.dumps(items)
        elif words[0] == "rm" or key.endswith(("File", "certPath", "tlsKey")):
            # What a key is, or what a file holds, no message can say.
            config.pop(key, None)
        elif "--secret" in line and path:
            items = json.loads(config[name])
            _place(items, path)[path[-1]] = secrets.token_hex(32)
            config[name] = json.dumps(items)
            secret.add(name)
        elif "--secret" in line:
            config[key] = "as typed"
            secret.add(key)
        elif path:
            items = json.loads(config.get(name, "[]"))
            last: Any = _place(items, path)
            place: Any = path[-1]
            if isinstance(last, list):
                last[place : place + 1] = [words[2]]
            else:
                last[place] = words[2]
            config[name] = json.dumps(items)
        else:
            config[key] = words[2]
            secret.discard(key)


def _path(key: str) -> list[Any]:
    """The parts of a key as `pulumi config --path` takes it: numbers are places in lists."""
    name, *rest = re.findall(r'\["((?:[^"\\]|\\.)*)"\]|\[(\d+)\]|\.?([^.\[]+)', key)
    parts = [
        int(number) if number else word or json.loads(f'"{quoted}"')
        for quoted, number, word in rest
    ]
    return [name[2], *parts]


def _place(items: Any, path: list[Any]) -> Any:
    """What holds the element at a path, made where it is missing."""
    for part, following in pairwise(path):
        empty: Any = [] if isinstance(following, int) else {}
        if isinstance(items, list):
            if part == len(items):
                items.append(empty)
            if not isinstance(items[part], dict | list):
                items[part] = empty
        elif not isinstance(items.get(part), dict | list):
            items[part] = empty
        items = items[part]
    return items
