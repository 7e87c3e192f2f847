"""Parts of a stack that are killed, stopped and frozen at random, and people who work meanwhile."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import docker
import docker.errors
import requests
import websocket
from docker.models.containers import Container

from tests.hubclient import Kernel, KernelError, LoginRefused, StartFailed, User

#: What a user may see while parts of the stack are stopped or killed.
KNOCKED = (
    requests.RequestException,
    OSError,
    websocket.WebSocketException,
    LoginRefused,
    KeyError,
    AssertionError,
)

FREEZE = 8.0
"""Seconds that something is frozen at most."""


@dataclass
class Blows:
    """What happens to the containers of a stack, at random.

    The engine may be restarted meanwhile: it is asked for anew each time.
    """

    client: Callable[[], docker.DockerClient]
    prefix: str
    chance: random.Random
    log: list[str] = field(default_factory=list)
    hung: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._begin = time.monotonic()

    def note(self, text: str) -> None:
        """Write down what happens, and when."""
        self.log.append(f"{time.monotonic() - self._begin:7.1f} s  {text}")

    def strike(self, role: str) -> None:
        """Do something to a container that it must survive by itself."""
        blow = self.chance.choice(
            (self.crash, self.crash_one, self.restart, self.pause, self.freeze)
        )
        container = self.client().containers.get(f"{self.prefix}-{role}")
        self.note(f"{blow.__name__} {role}")
        # It is ending or starting already, because of what was done to it before.
        with suppress(docker.errors.APIError, ProcessLookupError):
            blow(container)

    def crash(self, container: Container) -> None:
        """End its first process. Not `docker kill`, after which it is not started again."""
        _signal(int(container.attrs["State"]["Pid"]), signal.SIGKILL)

    def crash_one(self, container: Container) -> None:
        """End any of its processes."""
        _signal(self._process(container), signal.SIGKILL)

    def restart(self, container: Container) -> None:
        """As an operator does."""
        container.restart(timeout=self.chance.randrange(3))

    def pause(self, container: Container) -> None:
        """Freeze all of it for a while."""
        container.pause()
        time.sleep(self.chance.uniform(0.5, FREEZE))
        container.unpause()

    def freeze(self, container: Container) -> None:
        """Freeze one of its processes for a while."""
        process = self._process(container)
        _signal(process, signal.SIGSTOP)
        time.sleep(self.chance.uniform(0.5, FREEZE))
        _signal(process, signal.SIGCONT)

    def hang(self, role: str) -> None:
        """Freeze the process that works, for good: somebody else must notice."""
        container = self.client().containers.get(f"{self.prefix}-{role}")
        with suppress(docker.errors.APIError, ProcessLookupError, StopIteration):
            self.note(f"hang {role}")
            _signal(_worker(container), signal.SIGSTOP)

    def _process(self, container: Container) -> int:
        return int(self.chance.choice(container.top()["Processes"])[1])


def _worker(container: Container) -> int:
    """The process that does the work: what init runs, or what that watches.

    They have the same command. Never init itself: nothing that it could notice would hang.
    """
    lines = container.top()["Processes"]
    found = str(container.attrs["State"]["Pid"])
    command = next(line[-1] for line in lines if line[1] == found).partition(" -- ")
    children = {line[2]: line[1] for line in lines if line[-1] == (command[2] or command[0])}
    while found in children:
        found = children[found]
    return int(found)


def _signal(process: int, number: signal.Signals) -> None:
    # 0 would be the tests themselves: the container does not run.
    if process:
        os.kill(process, number)


@dataclass
class Worker:
    """A user who keeps a kernel and saves files, and goes on whatever happens."""

    enter: Callable[[], AbstractContextManager[None]]
    """Be on the machine that the stack is on."""
    browser: Callable[[], User]
    """A new browser, logged in."""
    keeps: bool
    """Whether the server is kept. Otherwise it is stopped and started again and again."""
    user: User | None = None
    kernel: Kernel | None = None
    done: int = 0
    """The last number that the kernel has counted to, as far as anybody knows."""
    saved: dict[str, str] = field(default_factory=dict)
    served: int = 0
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """What must never happen."""

    def begin(self) -> None:
        """Log in; start a server and, to be kept, a kernel that counts."""
        self.user = self.browser()
        if not self.user.server():
            self.user.ask_for_server()
        self.user.open_lab()
        if self.keeps:
            self.kernel = self.user.start_kernel()
            self.kernel.run("count = 0")

    def work(self, over: threading.Event) -> None:
        """Work until it is over."""
        with self.enter():
            while not over.wait(1):
                try:
                    self._once()
                except KNOCKED as error:
                    self.failed.append(repr(error)[:200])
                    self.user = None
                except (KernelError, StartFailed, TimeoutError) as error:
                    self.failed.append(repr(error)[:200])
                except BaseException as error:
                    self.wrong.append(f"has stopped working: {error!r}")
                    raise
                else:
                    self.served += 1

    def _once(self) -> None:
        if self.user is None:
            # The kernel's sockets are opened with the browser that it was started with.
            self.user = self.browser()
            if self.kernel:
                self.user.open_lab()
                self.kernel = Kernel(self.user, self.kernel.url)
        if self.keeps:
            self.count()
            name = f"work-{self.done % 20}.txt"
            # Not known to be saved, or not, until there is an answer.
            self.saved.pop(name, None)
            self.user.save(name, f"{self.user.name} {self.done}")
            self.saved[name] = f"{self.user.name} {self.done}"
        else:
            if self.user.server():
                self.user.stop_server(timeout=60)
            self.user.start_server(timeout=90)

    def count(self) -> None:
        """Let the kernel count on: one that was lost would not know how far it was."""
        assert self.kernel
        printed = self.kernel.run("count += 1; print(count)", timeout=20)
        if int(printed) <= self.done:
            self.wrong.append(f"the kernel has counted to {printed} after {self.done}")
        self.done = int(printed)

    def get_in(self) -> None:
        """Log in once more, and open JupyterLab.

        Raises:
            AssertionError: the server is lost, or its page is not there yet.
            requests.RequestException: the hub, or the server, does not answer.
        """
        self.user = self.browser()
        if not self.user.server():
            # Who keeps a server has lost it, and the kernel with it.
            assert not self.keeps, self.user.name
            self.user.ask_for_server(timeout=90)
        self.user.open_lab()

    def check(self) -> None:
        """See that nothing is lost."""
        assert self.user
        if self.kernel:
            self.kernel = Kernel(self.user, self.kernel.url)
            self.count()
        for name, content in self.saved.items():
            if self.user.read(name) != content:
                self.wrong.append(f"{name} is not what was saved")


@contextmanager
def at_work(workers: dict[str, Worker]) -> Iterator[None]:
    """Everybody works until the block ends."""
    over = threading.Event()
    threads = [
        threading.Thread(target=worker.work, args=[over], name=name)
        for name, worker in workers.items()
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def orphans(client: docker.DockerClient, prefix: str, known: set[str]) -> list[str]:
    """What is on the engine of users without a server, and what nobody has removed."""

    def labelled(role: str) -> dict[str, Any]:
        return {"label": [f"zhub.stack={prefix}", f"zhub.role={role}"]}

    found = [
        str(one.name)
        for one in client.containers.list(all=True, filters=labelled("notebook"))
        if one.labels["zhub.user"] not in known
    ]
    for network in client.networks.list(filters=labelled("user-network")):
        user = (network.attrs["Labels"] or {}).get("zhub.user")
        if user not in known:
            found.append(str(network.name))
    mine: dict[str, Any] = {"label": [f"zhub.stack={prefix}"]}
    roles = {
        str(one.labels.get("zhub.role")) for one in client.containers.list(all=True, filters=mine)
    }
    return found + sorted(roles - EXPECTED)


#: Roles of containers that a stack has while nothing happens.
EXPECTED = {
    *("hub", "guard", "proxy", "front", "directory", "files"),
    *("notebook", "filterimage", "notebookimage"),
}
