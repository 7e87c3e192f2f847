"""The engine that runs the users' containers, and this hub's own."""

from __future__ import annotations

import logging
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import docker
import requests.exceptions
from docker.errors import DockerException, NotFound
from docker.utils import kwargs_from_env

from zhub.settings import Settings, SettingsError

SOCKET = Path("/var/run/docker.sock")

GUARD_SECONDS = 120
"""How long the guard may take to start; under emulation it takes some seconds."""

SECONDS = 60
"""How long a call to the engine may take, besides the time a server has to stop."""

GUARDED_SECONDS = 5 * SECONDS
"""How long a call to the guard may take, which makes up to ten of the engine for it. If one of them
has no answer, the guard says so. On a machine with too much to do, all together take minutes."""

RECENT = 5
"""Seconds for which the answer "the directory has moved" stays valid: logins that asked the old
address fail a little later than the first."""

log = logging.getLogger(__name__)


def socket_path(environment: Mapping[str, str]) -> Path | None:
    """Return the path of the engine's socket; None when DOCKER_HOST does not name a socket."""
    host = environment.get("DOCKER_HOST")
    if not host:
        return SOCKET
    return Path(host.removeprefix("unix://")) if host.startswith("unix://") else None


def guarded(environment: Mapping[str, str]) -> bool:
    """Return whether DOCKER_HOST is the guard's socket, and not the engine itself."""
    return socket_path(environment) not in {None, SOCKET}


def connect(patience: float | None = None) -> docker.APIClient:
    """Connect to the engine that DOCKER_HOST names, or to the socket in its usual place.

    Any other socket is the guard's. The guard starts at the same time as the hub, so this waits
    for its socket.

    Args:
        patience: seconds to wait for the guard; None for as long as it may take to start.

    Raises:
        SettingsError: when no engine answers there.
    """
    own, seconds = socket_path(os.environ), SECONDS
    if own and own != SOCKET:
        _wait_for(own, GUARD_SECONDS if patience is None else patience)
        seconds = GUARDED_SECONDS
    host = os.environ.get("DOCKER_HOST") or f"unix://{SOCKET}"
    if host == f"unix://{SOCKET}" and not SOCKET.is_socket():
        raise SettingsError(
            [f"no engine: mount its socket with -v {SOCKET}:{SOCKET}, or set DOCKER_HOST"]
        )
    try:
        return docker.APIClient(version="auto", timeout=seconds, **kwargs_from_env())
    except DockerException as error:
        raise SettingsError([f"the engine at {host} cannot be reached: {error}"]) from None


def _wait_for(path: Path, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not listens(path):
        if time.monotonic() > end:
            raise SettingsError(
                [f"the guard has not answered in {seconds} s: its log (docker logs) says why"]
            )
        time.sleep(0.1)


def listens(path: Path) -> bool:
    """Return whether a process accepts connections: a guard that is gone leaves its socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except PermissionError:
            # Waiting does not help; whoever connects next says what is wrong.
            return True
        except OSError:
            return False
    return True


def own_container() -> str:
    """Return the name by which the engine knows the container this process runs in."""
    return socket.gethostname()


def confine(client: docker.APIClient) -> bool:
    """Ask the guard to set this container's packet filter; the stack's settings say what is open.

    Returns:
        Whether the filter changed, as with new addresses of the directory.

    Raises:
        SettingsError: when the guard does not answer, or could not set the filter.
    """
    try:
        answer = client.post(
            f"{client.base_url}/v{client.api_version}/zhub/confine", timeout=GUARD_SECONDS
        )
    except requests.exceptions.RequestException as error:
        raise SettingsError([f"the guard does not answer: {error}"]) from None
    if not answer.ok:
        raise SettingsError(
            ["the guard has not set the hub's packet filter: its log (docker logs) says why"]
        )
    return bool(answer.json()["Changed"])


def directory_has_moved() -> bool:
    """Ask the guard to resolve the directory's names again; return whether the addresses changed.

    Safe to call at any time, from many threads: one of them asks the guard for all that wait, since
    only the first answer reports the change. The guard looks every ten seconds at most.
    """
    return _looks.moved()


class Looks:
    """Shares one answer among all threads that ask at the same time."""

    def __init__(self, ask: Callable[[], bool]) -> None:
        self._ask = ask
        self._asking = threading.Lock()
        self._moved = False
        self._answered = -math.inf

    def moved(self) -> bool:
        """Return an answer that came while this waited, a recent "yes", or a new answer."""
        came = time.monotonic()
        with self._asking:
            old = self._answered + RECENT < came if self._moved else self._answered < came
            if old:
                self._moved = self._ask()
                self._answered = time.monotonic()
            return self._moved


def _directory_has_moved() -> bool:
    own = socket_path(os.environ)
    if own is None or not own.is_socket():
        return False
    try:
        with closing(connect()) as client:
            return confine(client)
    except SettingsError as error:
        log.warning("the directory does not answer, and the guard does not look again: %s", error)
        return False


_looks = Looks(_directory_has_moved)


def check(client: docker.APIClient, settings: Settings) -> None:
    """Make sure that the hub can work with this engine.

    Raises:
        SettingsError: when an image of users' servers is missing, or when this container does not
            run on the engine, so that no user's network could be attached to it.
    """
    problems = []
    for image in settings.images:
        name = "NOTEBOOK_IMAGE" if image == settings.notebook_image else "PROFILE_IMAGES"
        try:
            client.inspect_image(image)  # type: ignore[no-untyped-call]
        except NotFound:
            problems.append(
                f"the notebook image {image} is not on the engine:"
                f" build it there, or name another one in ZHUB_{name}"
            )
    try:
        client.inspect_container(own_container())
    except NotFound:
        problems.append(
            f"the engine has no container {own_container()}, which is this container's host name:"
            " the hub must run on the engine it uses, and keep the host name the engine gave it"
        )
    if problems:
        raise SettingsError(problems)
