"""What the names of all that a stack makes on the engine begin with: its identity there."""

from __future__ import annotations

import re

from components.settings.config import Config
from components.settings.deployed import Deployed
from components.settings.parsing import RefusedError, or_none
from components.settings.setting import Setting

NAMESPACE = "zhub"

#: What names of containers and volumes may consist of, with room for a user's name behind it; the
#: default has 32 characters for the stack's name.
_PREFIX = re.compile(r"[a-z0-9]([a-z0-9-]{0,35}[a-z0-9])?")

#: What stands between a stack's prefix and a user in names. A prefix `zhub-dev-home` would have for
#: its certificates the volume that is the home of the user `certs` of `zhub-dev`.
USER_WORDS = {"user", "home"}


def parse(text: str) -> str:
    """Parse a prefix.

    Raises:
        RefusedError: names could not begin with it, or could be those of another stack's users.
    """
    if not _PREFIX.fullmatch(text):
        raise RefusedError(
            "cannot be the first part of container names: 1 to 37 of a-z, 0-9 and -, the first and"
            " the last no -"
        )
    if taken := USER_WORDS & set(text.split("-")):
        raise RefusedError(
            f"has the word {min(taken)}: containers and volumes of this stack could then have the"
            f" names of those of another stack's users, PREFIX-{min(taken)}-NAME",
            fix=PREFIX.set_command(_instead(text)),
        )
    return text


PREFIX = Setting(
    "prefix",
    "",
    "First part of the names of containers, networks and volumes, and tag of the images; empty"
    " for zhub-<stack>; a renamed stack must keep the one it has",
    or_none(parse),
    example="zhub-site",
)


def _instead(text: str) -> str:
    """The nearest text that is a prefix."""
    parts = re.sub(r"[^a-z0-9-]", "-", text.lower()).split("-")
    words = [f"{part}s" if part in USER_WORDS else part for part in parts if part]
    return "-".join(words)[:37].rstrip("-") or PREFIX.example


def read(config: Config, stack: str) -> str:
    """Read the prefix of the stack with that name; what cannot be one is noted in `config`."""
    prefix = config.value(PREFIX)
    if prefix:
        return prefix
    default = f"{NAMESPACE}-{stack}"
    try:
        if not config.refused & {PREFIX}:
            parse(default)
    except RefusedError as error:
        taken = USER_WORDS & set(stack.split("-"))
        up = "; for a stack that is up, see CHANGELOG.md" if taken else ""
        config.clash(
            "stack",
            f"without prefix, names on the engine begin with {default}, which {error}{up}",
            PREFIX.set_command(_instead(default)),
        )
    return default


def refuse_another(config: Config, prefix: str, deployed: Deployed) -> None:
    """Refuse a prefix that the stack does not have on the engine, as after `pulumi stack rename`.

    All it has there is found by name. An `up` would replace it by things that are empty.
    """
    old = deployed.prefix
    if old in {None, prefix} or config.refused & {PREFIX}:
        return
    reason = (
        f"names on the engine begin with {old} now and would begin with {prefix}: `pulumi up` would"
        " replace the database, and users would get empty homes"
    )
    try:
        parse(old or "")
    except RefusedError as error:
        # Of a release that took such names: no setting keeps it, so no command is right.
        config.clash(PREFIX, f"{reason}. {old} {error}; see CHANGELOG.md")
        return
    renamed = "" if config.is_set(PREFIX) else ". A stack that was renamed keeps its prefix"
    config.clash(PREFIX, f"{reason}{renamed}", PREFIX.set_command(old))
