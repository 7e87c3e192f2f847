"""Volumes with users' files, made so that no cleaning of the engine takes them.

`docker volume prune` and `docker system prune --volumes` delete every volume that no container
uses, and so all homes of users who are logged out. They leave volumes with mount options alone,
since the files of such a volume are usually elsewhere (VolumesService.Prune of moby). So a home is
mounted on itself: its files are where those of any volume are, and `docker volume rm` deletes them.

Where the engine's own file system has project quotas (XFS with pquota, ext4 with prjquota), the
engine has the kernel limit a volume: the option `size` of its local volumes. It refuses the option
where it cannot, and a volume that is there cannot be given one.

A site can have homes in a folder of its choice. Then a home is a volume too, but what is mounted is
a folder in that one, with the volume's name. `docker volume rm` leaves it there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound
from docker.types import Mount

from zhub.contract import NO_NETWORK, ROLE, STACK
from zhub.guard import looking
from zhub.guard.driven import MAKE, SEEN, UNMADE, Maker, driven
from zhub.guard.helpers import HELPER, Helpers, UnusableError
from zhub.settings import GuardSettings

#: Prints the size of a block, and how many there are and are free on the folder's file system.
ROOM = f"stat -f -c '%S %b %a' {SEEN}"

OTHERS = 0o007
"""What a folder's mode lets all of the machine's users do."""

UNMOUNTED = ("failed to mount local volume", "VolumeDriver.Mount")
"""What the engine says of a volume whose folder is not there, or that its plugin does not mount."""

log = logging.getLogger(__name__)


def options(folder: str) -> dict[str, str]:
    """Return the options of a local volume that is mounted on itself.

    Args:
        folder: where the engine has the volume's files, on its machine.
    """
    return {"type": "none", "o": "bind", "device": folder}


def folder(root: str, name: str) -> str:
    """Return where the engine has a volume's files.

    Args:
        root: the engine's own folder, `DockerRootDir`.
        name: of the volume.
    """
    return f"{root}/volumes/{name}/_data"


def plain(found: Mapping[str, Any]) -> bool:
    """Return whether a volume, as the engine describes it, is nothing but a folder of its own.

    Any other option could make it a folder of the engine's machine, or somebody else's volume.
    """
    given = dict(found.get("Options") or {})
    given.pop("size", None)
    return found["Driver"] == "local" and given in ({}, options(found["Mountpoint"]))


def placed(found: Mapping[str, Any], paths: Iterable[str]) -> bool:
    """Return whether a volume is nothing but the folder with its name in one of these."""
    own = (options(f"{path}/{found['Name']}") for path in paths)
    return found["Driver"] == "local" and (found.get("Options") or {}) in own


def known(found: Mapping[str, Any], settings: GuardSettings) -> bool:
    """Return whether a volume is where a stack's homes are, or were."""
    by_driver = driven(settings)
    return (
        plain(found)
        or placed(found, settings.homes_paths)
        or bool(by_driver and by_driver.made(found))
    )


def led(found: Mapping[str, Any]) -> str:
    """Return the folder of the machine that a volume is only a name for; empty if it has files."""
    given = dict(found.get("Options") or {})
    to = str(given.get("device", ""))
    own = found.get("Mountpoint")
    return to if found["Driver"] == "local" and given == options(to) and to != own else ""


def device(found: Mapping[str, Any]) -> str:
    """Return where the files of a home, `plain` or `placed`, are on the engine's machine."""
    return str((found.get("Options") or {}).get("device") or found["Mountpoint"])


def fix(path: object) -> str:
    """Return the command that gives a folder that is there to root alone."""
    return f"install -d -o root -g root -m 700 {path}"


class Homes:
    """Makes homes, where the stack has them."""

    def __init__(self, client: docker.APIClient, settings: GuardSettings) -> None:
        self._client = client
        self._path = settings.homes_path
        self._former = settings.former_homes_paths
        self._limit = settings.home_limit
        self._prefix = settings.prefix
        # Not the packet filter's image, which has hardly a program.
        self._helpers = Helpers(client, settings.notebook_image, settings.prefix)
        found = driven(settings)
        self._by_driver = Maker(client, self._helpers, settings.prefix, found) if found else None

    def check(self) -> None:
        """Check the site's folder, if there is one, and log what is wrong with those before it.

        Of these, one may be away on purpose.

        Raises:
            RuntimeError: homes cannot be there, or not safely. Whoever may write there could put a
                link in the place of a home, and the engine would follow it.
        """
        for former in self._former:
            try:
                self._look_former(former)
            except (RuntimeError, DockerException) as error:
                log.warning("no server starts with a home in %s: %s", former, error)
        if self._by_driver:
            self._by_driver.check()
        if not (folder := self._path or (self._by_driver.bound if self._by_driver else "")):
            return
        where = "homesPath" if self._path else "the place of homes (homesOptions)"
        path, root = PurePosixPath(folder), PurePosixPath(self._root)
        if path.is_relative_to(root) or root.is_relative_to(path):
            raise RuntimeError(
                f"{where} is {path}, but the engine's own folder is {root}, and homes have to be"
                " elsewhere: pulumi config set homesPath /srv/homes/zhub"
            )
        try:
            [found] = looking.look(self._helpers, path)
        except (RuntimeError, DockerException) as error:
            raise RuntimeError(
                f"{where} is {path}, and the engine's machine has no such folder, or not yet:"
                f" mount its file system, then, as root: install -d -m 700 {path} ({error})"
            ) from None
        if found.replaceable:
            raise RuntimeError(
                f"{where} is {found}, where others than root may write, and so replace homes by"
                f" links; as root: {fix(path)}"
            )
        if found.mode & OTHERS:
            log.warning(
                "all users of the engine's machine may look into %s, which has the homes; as root:"
                " %s",
                path,
                fix(path),
            )

    @contextmanager
    def mounting(self, name: str) -> Iterator[None]:
        """Tell the user where a home cannot be mounted; for calls that mount it.

        In a folder that was the site's before, it is looked at each time: the guard may have
        started before that was mounted, or before somebody opened it.

        Raises:
            UnusableError: its folder is not there, or may be something else by now.
        """
        try:
            if self._former:
                self._check_former(self._client.inspect_volume(name))
            yield
        except APIError as error:
            if not any(text in str(error.explanation) for text in UNMOUNTED):
                raise
            raise UnusableError(
                "Your home, or a folder that you share, cannot be mounted now, so your server does"
                f" not start. Please tell your administrator: {error.explanation}"
            ) from None

    def _check_former(self, found: Mapping[str, Any]) -> None:
        for path in self._former:
            if placed(found, [path]):
                try:
                    self._look_former(path, found["Name"])
                except (RuntimeError, DockerException) as error:
                    raise UnusableError(
                        "Your home cannot be mounted now, so your server does not start. Please"
                        f" tell your administrator: it is in {path}, where homesPath was before:"
                        f" {error}"
                    ) from None

    def _look_former(self, path: str, *names: str) -> None:
        """Look at a folder that was the site's, and at a home in it.

        Raises:
            RuntimeError: others may write there, or the home is a link.
            docker.errors.DockerException: there is no such folder.
        """
        folder, *_ = looking.look(self._helpers, PurePosixPath(path), *names)
        if folder.replaceable:
            raise RuntimeError(
                f"others than root may write in {folder}, and so replace homes by links. See that"
                f" there are none; then, as root: {fix(path)}"
            )

    def disk(self) -> tuple[int, int]:
        """Return the size of the file system of the site's folder, and what is free, in bytes.

        Free is what others than root can write, as `df` has it.

        Raises:
            RuntimeError: the folder cannot be looked at.
            ValueError: what was printed has no such numbers.
            docker.errors.DockerException: the engine has no such folder, or refuses.
            requests.exceptions.RequestException: the engine does not answer.
        """
        printed = self._in_folder(["sh", "-c", ROOM], writes=False).split()
        block, size, free = map(int, printed)
        return size * block, free * block

    def make(self, name: str, labels: Mapping[str, str]) -> Any:
        """Make a home, if it is not there; return the engine's answer.

        A folder that is missing is not made again for a volume that is there: its file system may
        not be mounted, and the user would get an empty home.

        Raises:
            UnusableError: it cannot be made in the site's folder.
        """
        if self._by_driver:
            return self._by_driver.make(name, labels)
        device = f"{self._path}/{name}" if self._path else folder(self._root, name)
        size = {"size": str(self._limit)} if self.limited else {}
        if self._path:
            try:
                self._client.inspect_volume(name)
            except NotFound:
                self._make_folder(name)
        # Of a home that is there already, the engine changes nothing.
        return self._client.create_volume(
            name, driver="local", driver_opts=options(device) | size, labels=dict(labels)
        )

    def _make_folder(self, name: str) -> None:
        try:
            self._in_folder(["sh", "-c", MAKE, "sh", name], writes=True)
        except (RuntimeError, DockerException) as error:
            raise UnusableError(UNMADE.format(error)) from None

    def _in_folder(self, command: list[str], *, writes: bool) -> str:
        return self._helpers.run(
            command,
            network=NO_NETWORK,
            mounts=[Mount(SEEN, self._path, type="bind", read_only=not writes)],
        )

    @cached_property
    def limited(self) -> bool:
        """Whether the kernel keeps new homes below the limit; tried once, with a volume for it.

        The engine's word alone is not enough: the file system in the volume must have that size.

        Raises:
            docker.errors.DockerException: the engine does not answer.
        """
        if not self._limit or self._path or self._by_driver:
            return False
        name = f"{self._prefix}-quota"
        opts = options(folder(self._root, name)) | {"size": str(self._limit)}
        labels = {STACK: self._prefix, ROLE: HELPER}
        try:
            self._client.create_volume(name, driver="local", driver_opts=opts, labels=labels)
        except APIError as error:
            log.info("the kernel does not keep homes below homeLimit: %s", error.explanation)
            return False
        try:
            shown = self._helpers.run(
                ["df", "--block-size=1", "--output=size", SEEN],
                network=NO_NETWORK,
                mounts=[Mount(SEEN, name, type="volume", read_only=True, no_copy=True)],
            )
        except RuntimeError as error:
            log.warning("the kernel does not keep homes below homeLimit: %s", error)
            return False
        finally:
            self._client.remove_volume(name, force=True)
        size = int(shown.split()[-1])
        if size > self._limit:
            log.warning(
                "the kernel does not keep homes below homeLimit: a volume of %d bytes has a"
                " file system of %d bytes",
                self._limit,
                size,
            )
        return size <= self._limit

    @cached_property
    def _root(self) -> str:
        """The engine's own folder on its machine."""
        return str(self._client.info()["DockerRootDir"])
