"""Config of stacks, and how the program reads it."""

from __future__ import annotations

import json
import re
import shlex
from datetime import UTC, datetime
from functools import cache
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
    for _ in range(20):
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
        words = [word for word in shlex.split(line)[2:] if word not in options]
        key = words[1] if ":" in words[1] else f"zhub:{words[1]}"
        if words[0] == "rm" and "[" in key:
            name, items, at, last = _inside(config, key)
            del at[last]
            config[name] = json.dumps(items)
        elif words[0] == "rm" or key.endswith(("File", "certPath", "tlsKey")):
            # What a key is, or what a file holds, no message can say.
            config.pop(key, None)
        elif "--secret" in line:
            config[key] = "as typed"
            secret.add(key)
        elif "[" in key:
            name, items, at, last = _inside(config, key)
            if isinstance(last, int):
                at[last : last + 1] = [words[2]]
            else:
                at[last] = words[2]
            config[name] = json.dumps(items)
        else:
            config[key] = words[2]
            secret.discard(key)


def _inside(config: dict[str, str], key: str) -> tuple[str, Any, Any, Any]:
    """The setting of a path such as x[0].name, its value, what has the last step, and that step."""
    name, _, path = key.partition("[")
    steps = re.findall(r"\[(\d+)\]|\.(\w+)", f"[{path}")
    found = at = json.loads(config.get(name, "[]"))
    *before, last = [int(number) if number else member for number, member in steps]
    for step in before:
        at = at[step]
    return name, found, at, last
