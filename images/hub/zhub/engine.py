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
"""How long the guard may take to start, which is some seconds under emulation."""

RECENT = 5
"""Seconds for which it counts that the directory has been found elsewhere: others that had asked it
at its old address find out a little later."""

log = logging.getLogger(__name__)


def socket_path(environment: Mapping[str, str]) -> Path | None:
    """Return the engine's socket in this container; None where DOCKER_HOST is no socket."""
    host = environment.get("DOCKER_HOST")
    if not host:
        return SOCKET
    return Path(host.removeprefix("unix://")) if host.startswith("unix://") else None


def connect() -> docker.APIClient:
    """Connect to the engine DOCKER_HOST names, or to the socket at its usual place.

    Another socket is the guard's, which starts at the same time as the hub and is waited for.

    Raises:
        SettingsError: when no engine answers there.
    """
    own = socket_path(os.environ)
    if own and own != SOCKET:
        _wait_for(own)
    host = os.environ.get("DOCKER_HOST") or f"unix://{SOCKET}"
    if host == f"unix://{SOCKET}" and not SOCKET.is_socket():
        raise SettingsError(
            [f"no engine: mount its socket with -v {SOCKET}:{SOCKET}, or set DOCKER_HOST"]
        )
    try:
        return docker.APIClient(version="auto", timeout=30, **kwargs_from_env())
    except DockerException as error:
        raise SettingsError([f"the engine at {host} cannot be reached: {error}"]) from None


def _wait_for(path: Path) -> None:
    end = time.monotonic() + GUARD_SECONDS
    while not path.is_socket():
        if time.monotonic() > end:
            raise SettingsError(
                [f"the guard has not opened {path} in {GUARD_SECONDS} s: its own log says why"]
            )
        time.sleep(0.1)


def own_container() -> str:
    """Name by which the engine knows the container this process runs in."""
    return socket.gethostname()


def confine(client: docker.APIClient) -> bool:
    """Have the guard close this container's way out; it decides, by the stack, what stays open.

    Returns:
        Whether something else is open now than before, such as new addresses of the directory.

    Raises:
        SettingsError: when it does not.
    """
    try:
        answer = client.post(
            f"{client.base_url}/v{client.api_version}/zhub/confine", timeout=GUARD_SECONDS
        )
    except requests.exceptions.RequestException as error:
        raise SettingsError([f"the guard does not answer: {error}"]) from None
    if not answer.ok:
        raise SettingsError(
            ["the guard has not closed the hub's own way out: the guard's log says why"]
        )
    return bool(answer.json()["Changed"])


def directory_has_moved() -> bool:
    """Have the guard look again where the directory is; return whether it has found it elsewhere.

    May be asked at any time, by many threads: one asks the guard for all who wait meanwhile, since
    only the first answer says that something is new. The guard looks every ten seconds at most.
    """
    return _looks.moved()


class Looks:
    """Shares the answers to one question among the threads that ask it at the same time."""

    def __init__(self, ask: Callable[[], bool]) -> None:
        self._ask = ask
        self._asking = threading.Lock()
        self._moved = False
        self._answered = -math.inf

    def moved(self) -> bool:
        """What the answer is: one that came while this waited, a recent "yes", or a new one."""
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
    """Make sure that the engine has what the hub needs of it.

    Raises:
        SettingsError: when the notebook image is missing, or when this container is not one of
            the engine's, so that no user's network could be attached to it.
    """
    problems = []
    try:
        client.inspect_image(settings.notebook_image)  # type: ignore[no-untyped-call]
    except NotFound:
        problems.append(
            f"the notebook image {settings.notebook_image} is not on the engine:"
            " build it there, or name another one in ZHUB_NOTEBOOK_IMAGE"
        )
    try:
        client.inspect_container(own_container())
    except NotFound:
        problems.append(
            f"the engine has no container {own_container()}, which is this one's host name:"
            " the hub must run on the engine it uses, and keep the host name the engine gave it"
        )
    if problems:
        raise SettingsError(problems)
