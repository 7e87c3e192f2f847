"""Devices of the engine's machine that profiles name: whether servers can have and open them.

`zhub check-devices`, in the guard's container, prints what is wrong with them.
"""

from __future__ import annotations

import logging
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

from docker.errors import APIError, DockerException
from requests.exceptions import RequestException

from zhub import engine
from zhub.contract import PROFILE, SERVER_USER
from zhub.guard import look_command
from zhub.guard.helpers import Helpers, UnusableError
from zhub.guard.looking import printed
from zhub.settings import GuardSettings
from zhub.settings.profiles import Profile

FOLDER = PurePosixPath("/dev")

LOST = "gathering device information"
"""In what the engine says of a device that its machine does not have."""

log = logging.getLogger(__name__)


def look(helpers: Helpers, profiles: Iterable[Profile]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with devices, and what to do about it.

    Args:
        helpers: of an image with `stat`.
        profiles: of the stack.

    Raises:
        RuntimeError: the helper failed.
        docker.errors.DockerException: the engine does not answer.
    """
    users: dict[str, list[str]] = {}
    for profile in profiles:
        for device in profile.devices:
            users.setdefault(device, []).append(profile.name)
    if not users:
        return
    lines = printed(helpers, FOLDER, [tuple(device.split("/")) for device in users])
    for device, names in users.items():
        if wrong := _wrong(FOLDER / device, next(lines, "")):
            what, fix = wrong
            yield f"profiles, {' and '.join(names)}: {what}", fix


def _wrong(path: PurePosixPath, line: str) -> tuple[str, str] | None:
    """Return what is wrong with a device of which LOOK prints this line; None if nothing is."""
    try:
        owner, _, digits = line.split()
        user, mode = int(owner), int(digits, base=16)
    except ValueError:
        why = line.rpartition(": ")[2]
        return (
            f"the engine's machine has no {path} ({why}), so servers with it do not start",
            "load its driver on that machine, or remove it from the profile's devices",
        )
    if stat.S_ISBLK(mode):
        return (
            f"{path} is a disk or the like, and so the machine's own",
            "remove it from the profile's devices",
        )
    # The engine follows links, and takes all devices of a folder.
    if not stat.S_ISCHR(mode) or mode & 0o006 == 0o006 or (user == SERVER_USER and mode & 0o600):
        return None
    return (
        f"servers have {path}, and may not open it (owner {user}, mode {stat.S_IMODE(mode):o})",
        f"as root on the engine's machine: chmod 666 {path}, and a rule of udev that keeps it so",
    )


def report(helpers: Helpers, profiles: Sequence[Profile]) -> None:
    """Log what is wrong with devices: servers without them start."""
    try:
        for what, fix in look(helpers, profiles):
            log.warning("%s; %s", what, fix)
    except (RuntimeError, DockerException, RequestException) as error:
        log.warning("devices of profiles cannot be looked at: %s", error)


@contextmanager
def given(found: Mapping[str, Any]) -> Iterator[None]:
    """Tell the user where a device is lost, for the call that starts a server.

    Args:
        found: the server's container, as the engine describes it.

    Raises:
        UnusableError: the engine's machine does not have it.
    """
    try:
        yield
    except APIError as error:
        if LOST not in str(error.explanation):
            raise
        start = f"{PROFILE}="
        variables = found["Config"]["Env"]
        name = next((one.removeprefix(start) for one in variables if one.startswith(start)), "")
        raise UnusableError(
            f"A device of the profile {name} is missing, so servers with it do not start. Please"
            f" choose another profile, or tell your administrator: {error.explanation}"
        ) from None


def run(arguments: Sequence[str]) -> None:
    """Print a line for each device that is wrong; raises as `look_command.run`."""
    look_command.run("check-devices", arguments, lambda found: look(helpers(found), found.profiles))


def helpers(found: GuardSettings) -> Helpers:
    """Return those that look at devices: the packet filter's image has hardly a program."""
    return Helpers(engine.connect(), found.notebook_image, found.prefix)
