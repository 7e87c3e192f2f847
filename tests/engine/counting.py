"""A user at work, who counts: lost sockets, failed requests, lines that a kernel prints."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import requests
import websocket

from tests.hubclient import Kernel, User

PRINT = """
import time
for n in range(100_000):
    print(n, flush=True)
    time.sleep(1)
"""


@dataclass
class Count:
    """What a user saw while somebody else changed the stack."""

    requests: int = 0
    failed: list[str] = field(default_factory=list)
    slowest: float = 0
    """Seconds."""
    closed: list[str] = field(default_factory=list)
    """Why the kernel's websocket was lost, each time."""
    lines: list[int] = field(default_factory=list)
    """What arrived of the kernel's lines, in the one socket that was opened at the start."""

    @property
    def complete(self) -> bool:
        """Whether no line was lost, doubled or out of order."""
        return self.lines == list(range(len(self.lines)))


class Work:
    """Reads a kernel's websocket and sends requests to the user's server, until it ends."""

    def __init__(self, user: User) -> None:
        self.count = Count()
        self._user = user
        self._end = threading.Event()
        self._kernel = user.start_kernel()
        self._socket = execute(user, self._kernel, PRINT)

    def _listen(self) -> None:
        while not self._end.is_set():
            try:
                message = json.loads(self._socket.recv())
            except websocket.WebSocketTimeoutException:
                self.count.closed.append("nothing arrived")
                return
            except (OSError, ValueError, websocket.WebSocketException) as error:
                if not self._end.is_set():
                    self.count.closed.append(repr(error))
                return
            if message["msg_type"] == "stream":
                self.count.lines += map(int, message["content"]["text"].split())

    def _ask(self) -> None:
        while not self._end.is_set():
            begin = time.monotonic()
            self.count.requests += 1
            try:
                answer = self._user.request("GET", f"{self._user.home}api/kernels")
                if answer.status_code != requests.codes.ok:
                    self.count.failed.append(f"{answer.status_code} {answer.text[:80]}")
            except requests.RequestException as error:
                self.count.failed.append(repr(error)[:200])
            self.count.slowest = max(self.count.slowest, time.monotonic() - begin)
            self._end.wait(0.2)

    @contextmanager
    def counted(self) -> Iterator[Count]:
        """Work until the block ends."""
        threads = [threading.Thread(target=each) for each in (self._listen, self._ask)]
        for thread in threads:
            thread.start()
        try:
            yield self.count
            # So that what was printed meanwhile has arrived.
            time.sleep(2)
        finally:
            self._end.set()
            for thread in threads:
                thread.join()
            self._socket.close()


class Away:
    """Asks again and again, and keeps how long there was no answer at the longest."""

    def __init__(self, answers: Callable[[], bool]) -> None:
        self.longest: float = 0
        """Seconds."""
        self._answers = answers
        self._end = threading.Event()

    def _ask(self) -> None:
        answered = time.monotonic()
        while not self._end.is_set():
            if self._answers():
                answered = time.monotonic()
            else:
                self.longest = max(self.longest, time.monotonic() - answered)
            self._end.wait(0.1)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Ask until the block ends."""
        thread = threading.Thread(target=self._ask)
        thread.start()
        try:
            yield
        finally:
            self._end.set()
            thread.join()


def execute(user: User, kernel: Kernel, code: str) -> websocket.WebSocket:
    """Open a kernel's websocket, have it run code, and return the socket."""
    connection = user.websocket(f"{kernel.url}/channels", timeout=60)
    header = {
        "msg_id": uuid.uuid4().hex,
        "msg_type": "execute_request",
        "session": uuid.uuid4().hex,
        "username": "",
        "version": "5.3",
    }
    content = {"code": code, "silent": False, "store_history": False}
    connection.send(
        json.dumps(
            {
                "header": header,
                "parent_header": {},
                "metadata": {},
                "content": content,
                "channel": "shell",
                "buffers": [],
            }
        )
    )
    return connection
