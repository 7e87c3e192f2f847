"""Looks at folders of the engine's machine: whose they are, and who may write there."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath

from docker.types import Mount

from zhub.contract import NO_NETWORK
from zhub.guard.helpers import Helpers

SEEN = "/seen"
"""Where a helper has what it looks at."""

#: Prints owner, group and mode (`st_mode`, in hexadecimal digits) of each path, and of one that it
#: cannot look at the reason instead.
LOOK = """for at; do stat -c '%u %g %f' "$at" 2>&1; done; exit 0"""

WRITABLE = 0o022
"""What a folder's mode lets others than its owner write. Those whom an access list (ACL) lets write
show in the part of the group."""


@dataclass(frozen=True)
class Place:
    """A folder of the engine's machine."""

    path: PurePosixPath
    owner: int
    """User ID."""
    group: int
    """Group ID."""
    mode: int
    """With the type of the file, as `st_mode`."""

    @property
    def replaceable(self) -> bool:
        """Whether others than root may replace what is in it, such as by links.

        Also with the sticky bit: what is theirs there, they may replace.
        """
        return self.owner != 0 or bool(self.mode & WRITABLE)

    def lets(self, user: int, *, write: bool) -> bool:
        """Return whether a user may read there, and perhaps write, as far as the mode tells.

        Args:
            user: the user ID, and that of the user's only group.
            write: whether to write as well.
        """
        wanted = 0o7 if write else 0o5
        shift = 6 if self.owner == user else 3 if self.group == user else 0
        return self.mode >> shift & wanted == wanted

    def __str__(self) -> str:
        return f"{self.path} (owner {self.owner}, mode {stat.S_IMODE(self.mode):o})"


def look(helpers: Helpers, root: PurePosixPath, *parts: str) -> list[Place]:
    """Look at a folder, and at each one on a path below it.

    Args:
        helpers: of an image with `stat`, which that of the packet filter does not have.
        root: the folder; of links that lead there, nothing is seen.
        parts: the path's names.

    Raises:
        RuntimeError: one of them is not there, a link, or no folder; or the helper failed.
        docker.errors.DockerException: the engine does not answer, or there is no such root.
    """
    names = _way(parts)
    lines = printed(helpers, root, names)
    return [_place(root.joinpath(*name), next(lines, "")) for name in names]


def look_at_all(
    helpers: Helpers, root: PurePosixPath, paths: Iterable[tuple[str, ...]]
) -> dict[tuple[str, ...], list[Place]]:
    """Look at several paths in one container, each as `look` does; return those that can be seen.

    Raises:
        RuntimeError: the helper failed.
        docker.errors.DockerException: the engine does not answer, or there is no such root.
    """
    ways = {parts: _way(parts) for parts in paths}
    lines = printed(helpers, root, [name for way in ways.values() for name in way])
    found = {}
    for parts, way in ways.items():
        own = [next(lines, "") for _ in way]
        with suppress(RuntimeError):
            found[parts] = [
                _place(root.joinpath(*name), line) for name, line in zip(way, own, strict=True)
            ]
    return found


def _way(parts: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Each folder on the way to a path, with both ends."""
    return [parts[:number] for number in range(len(parts) + 1)]


def printed(
    helpers: Helpers, root: PurePosixPath, names: Iterable[tuple[str, ...]]
) -> Iterator[str]:
    """Yield what LOOK prints of each of these below a folder; raises as `look` does."""
    text = helpers.run(
        ["sh", "-c", LOOK, "sh", *(str(PurePosixPath(SEEN, *name)) for name in names)],
        network=NO_NETWORK,
        # Of other owners' folders, to see them; the mount is read-only.
        capabilities=["DAC_READ_SEARCH"],
        mounts=[Mount(SEEN, str(root), type="bind", read_only=True)],
    )
    return iter(text.splitlines())


def _place(path: PurePosixPath, line: str) -> Place:
    try:
        owner, group, digits = line.split()
        found = Place(path, int(owner), int(group), int(digits, base=16))
    except ValueError:
        raise RuntimeError(f"{path} cannot be seen: {line.rpartition(': ')[2]}") from None
    if stat.S_ISLNK(found.mode):
        raise RuntimeError(f"{path} is a link")
    if not stat.S_ISDIR(found.mode):
        raise RuntimeError(f"{path} is no folder")
    return found
