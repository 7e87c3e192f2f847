"""Folders that several users share: which the guard mounts, and how.

The hub asks for them by their names, and says who gets which. The guard knows from the stack what
they are, and mounts nothing else. A folder is mounted outside of homes: a mount in a home would
have the engine follow paths that a user can change (CVE-2021-30465).
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

import docker
from docker.errors import DockerException, NotFound
from docker.types import Mount
from requests.exceptions import RequestException

from zhub.contract import FOLDER, NO_NETWORK, ROLE, SERVER_USER, STACK, Role
from zhub.guard import homes
from zhub.guard.helpers import Helpers, UnusableError
from zhub.guard.looking import SEEN, Place, look, look_at_all
from zhub.settings import GuardSettings
from zhub.settings.folders import SharedFolder

OWNER = f"{SERVER_USER}:{SERVER_USER}"

FRESH = 300
"""Seconds during which a folder at a path is not looked at again: a start would take a second more.
Only root can change meanwhile where the path leads."""

log = logging.getLogger(__name__)


def asked(
    given: Mapping[str, Any], folders: Iterable[SharedFolder], prefix: str
) -> tuple[list[SharedFolder], dict[str, Any]]:
    """Take the shared folders out of a request for a server.

    Args:
        given: the request.
        folders: all that the stack has.
        prefix: of the stack's names.

    Returns:
        The folders that it asks for, and the rest of the request: whatever it asks for in another
        form than the hub does stays there, and is refused.
    """
    known = {folder.bind(prefix): folder for folder in folders}
    host = given.get("HostConfig")
    host = host if isinstance(host, dict) else {}
    binds = host.get("Binds")
    binds = binds if isinstance(binds, list) else []
    wanted = [known[bind] for bind in binds if isinstance(bind, str) and bind in known]
    if not wanted or len(wanted) != len({folder.name for folder in wanted}):
        return [], dict(given)
    own = [folder.bind(prefix) for folder in wanted]
    rest = {**given, "HostConfig": {**host, "Binds": [b for b in binds if b not in own]}}
    # The places are declared a second time.
    if isinstance(places := given.get("Volumes"), dict):
        targets = {folder.target for folder in wanted}
        rest["Volumes"] = {
            place: value
            for place, value in places.items()
            if not (place in targets and value == {})
        }
    return wanted, rest


class Folders:
    """Makes the volumes of shared folders, and mounts them."""

    def __init__(
        self,
        client: docker.APIClient,
        helpers: Helpers,
        settings: GuardSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to mount.

        Args:
            client: of the engine.
            helpers: of the packet filter's image.
            settings: of the stack.
            clock: returns seconds.
        """
        self._client = client
        self._helpers = helpers
        # Not the packet filter's image, which has hardly a program.
        self._looking = Helpers(client, settings.notebook_image, settings.prefix)
        self._clock = clock
        self._folders = {folder.name: folder for folder in settings.shared_folders}
        self._root = PurePosixPath(settings.shared_root)
        self._lock = threading.Lock()
        self._seen: set[str] = set()
        self._looked: dict[str, float] = {}
        self._ends: dict[str, Place] = {}

    def look(self) -> None:
        """Make what is missing, and log what cannot be mounted: servers without it start."""
        self._look_ahead(self._folders)
        for name in self._folders:
            try:
                self._ready(name)
            except (UnusableError, RequestException) as error:
                log.error("%s", error)  # noqa: TRY400 - the text says it all
        for folder in self._folders.values():
            end = self._ends.get(folder.path)
            if end and not end.lets(SERVER_USER, write=not folder.read_only):
                log.warning(
                    "shared folder %s: users may not %s in %s, as far as owner and mode tell; as"
                    " root: chown %s %s",
                    *(folder.name, "look" if folder.read_only else "write", end, OWNER, end.path),
                )

    def mounts(self, names: Iterable[str]) -> list[Mount]:
        """Return the mounts for a server that gets these folders.

        Raises:
            UnusableError: one of them cannot be mounted.
        """
        wanted = list(names)
        self._look_ahead(wanted)
        return [self._ready(name) for name in wanted]

    def _look_ahead(self, names: Iterable[str]) -> None:
        """Look at all paths that are due, in one container instead of one for each.

        What is wrong with one is said when it is looked at alone.
        """
        with self._lock, suppress(RuntimeError, DockerException, RequestException):
            now = self._clock()
            paths = {self._folders[name].path for name in names} - {""}
            due = {self._parts(path): path for path in sorted(paths) if self._is_due(path, now)}
            if len(due) < 2:
                return
            for parts, (*way, end) in look_at_all(self._looking, self._root, due).items():
                if not any(place.replaceable for place in way):
                    self._looked[due[parts]] = now
                    self._ends[due[parts]] = end

    def _parts(self, path: str) -> tuple[str, ...]:
        return PurePosixPath(path).relative_to(self._root).parts

    def _is_due(self, path: str, now: float) -> bool:
        return now - self._looked.get(path, -math.inf) >= FRESH

    def _ready(self, name: str) -> Mount:
        folder = self._folders[name]
        try:
            if folder.path:
                self._check_path(folder.path)
                return _path(folder)
            self._check_volume(folder)
        except (RuntimeError, DockerException) as error:
            raise UnusableError(
                f"Shared folder {name} cannot be mounted now, so servers with it do not start."
                f" Please tell your administrator: {error}"
            ) from None
        return Mount(
            folder.target,
            folder.volume(self._helpers.prefix),
            type="volume",
            read_only=folder.read_only,
            no_copy=True,
        )

    def _check_path(self, path: str) -> None:
        """Check that a path leads nowhere else, and that only root can change that afterwards.

        The engine follows the path at each start of a server. What is mounted is the folder at its
        end, so nobody in a server can replace it; but whoever may write in a folder on the way
        could, with an account of the machine.

        Raises:
            RuntimeError: it does, others can change it, or it is not there.
        """
        with self._lock:
            now = self._clock()
            if not self._is_due(path, now):
                return
            *way, self._ends[path] = look(self._looking, self._root, *self._parts(path))
            if wrong := [place for place in way if place.replaceable]:
                names = " ".join(str(place.path) for place in wrong)
                raise RuntimeError(
                    f"others than root may write in {' and '.join(map(str, wrong))}, and so replace"
                    " what is there by a link to other files; as root:"
                    f" chown root {names} && chmod go-w {names}"
                )
            self._looked[path] = now

    def _check_volume(self, folder: SharedFolder) -> None:
        """Check that a volume is the stack's own; make it where it is missing.

        Raises:
            RuntimeError: it is somebody else's, or leads elsewhere.
        """
        prefix = self._helpers.prefix
        name = folder.volume(prefix)
        labels = {STACK: prefix, ROLE: str(Role.SHARED), FOLDER: folder.name}
        with self._lock:
            try:
                found = self._client.inspect_volume(name)
            except NotFound:
                root = str(self._client.info()["DockerRootDir"])
                options = homes.options(homes.folder(root, name))
                found = self._client.create_volume(
                    name, driver="local", driver_opts=options, labels=labels
                )
                self._seen.discard(name)
            if not homes.plain(found) or (found.get("Labels") or {}) != labels:
                raise RuntimeError(f"volume {name} is not this stack's")
            if name in self._seen:
                return
            # The folder itself; what is in it belongs to who has made it.
            self._helpers.run(
                ["sh", "-c", f"chown {OWNER} {SEEN} && chmod 0770 {SEEN}"],
                network=NO_NETWORK,
                capabilities=["CHOWN", "FOWNER"],
                mounts=[Mount(SEEN, name, type="volume", no_copy=True)],
            )
            self._seen.add(name)


def _path(folder: SharedFolder) -> Mount:
    mount = Mount(folder.target, folder.path, type="bind", read_only=folder.read_only)
    # What else is mounted below it on the machine stays out.
    mount["BindOptions"] = {"NonRecursive": True, "Propagation": "rprivate"}
    return mount
