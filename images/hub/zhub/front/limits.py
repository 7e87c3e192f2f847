"""Keeps one caller from making the hub slow for the others.

The hub answers in one thread, at a few milliseconds a page. Users' servers reach it past the proxy,
and so does what runs in them; strangers reach it through the proxy. So each of them has a bucket
of requests that fills up again at a steady rate (https://en.wikipedia.org/wiki/Token_bucket). Who
has emptied it is not refused, which costs nearly as much as an answer, but read more slowly.
"""

from __future__ import annotations

import asyncio
import copy
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tornado import httputil
from tornado.http1connection import HTTP1ServerConnection
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream

from zhub.front import origin


@dataclass(frozen=True)
class Rate:
    """How many requests a caller may send."""

    burst: float
    """At once, after a pause."""
    per_second: float
    """In the long run."""


SERVER = Rate(burst=100, per_second=10)
"""Of a user's server: it asks about each of its visitors twice a minute, reports its activity every
five minutes, and makes a few requests more when somebody logs in to it."""

OUTSIDE = Rate(burst=2000, per_second=100)
"""Of an address outside, which a class or a whole site may have in common."""

CONNECTIONS = 32
"""That one server has at a time; Jupyter's client makes ten at most."""

HEADER_SECONDS = 20
"""Seconds that a server's connection may be without a whole request: those that are forgotten, or
held on purpose, must not keep its user out for long. Jupyter's client closes them after one."""

PATIENCE = 10.0
"""Seconds a request is held back; what would take longer is refused."""

HEADER_SIZE = 20 << 10
"""Bytes. The proxy passes on 16 KiB, with what it adds itself."""

BODY_SIZE = 64 << 10
"""Bytes. The largest there is need for are an administrator's lists of users: some two thousand
names. What users save does not pass through the hub."""

BODY_SECONDS = 20
"""In which a body has to be there."""

REQUEST = 16 << 10
"""Bytes that a request counts for beside its body: its headers, and what answers it."""

HELD = 16 << 20
"""Bytes of requests that an address outside may have here at a time: a thousand, or two hundred
with the largest of bodies."""

HELD_IN_ALL = 64 << 20
"""The same, of all addresses outside."""

BUCKETS = 10_000
"""Callers kept in mind; of more, those that are forgotten begin with a full bucket."""

REFUSAL = b"Too many requests from your address. Please try again in a moment.\n"


class Buckets:
    """What is left of each caller's requests."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._empty_until: dict[str, float] = {}

    def take(self, caller: str) -> float:
        """Count one request; return the seconds it has to wait.

        A request that would wait longer than PATIENCE is not counted.
        """
        now = self._clock()
        one = 1 / self._rate.per_second
        full = now - self._rate.burst * one
        # When the last request of this caller would have come at the steady rate.
        last = max(self._empty_until.pop(caller, full), full)
        wait = max(0.0, last + one - now)
        self._empty_until[caller] = last if wait > PATIENCE else last + one
        if len(self._empty_until) > BUCKETS:
            del self._empty_until[next(iter(self._empty_until))]
        return wait


class Memory:
    """What requests that are not answered yet hold, as they have announced it."""

    def __init__(self) -> None:
        self._of: Counter[str] = Counter()

    @property
    def in_all(self) -> int:
        """Bytes."""
        return self._of.total()

    def take(self, caller: str, size: int) -> bool:
        """Count so many bytes, if there is room for them; say whether there is."""
        if self._of[caller] + size > HELD or self.in_all + size > HELD_IN_ALL:
            return False
        self._of[caller] += size
        return True

    def give_back(self, caller: str, size: int) -> None:
        """Count so many bytes no more."""
        self._of[caller] -= size
        if not self._of[caller]:
            del self._of[caller]


class LimitedServer(HTTPServer):
    """Tornado's server, with a limit for each caller in front of all pages.

    Chosen by `HTTPServer.configure`, because JupyterHub makes the server itself.
    """

    def initialize(self, *arguments: Any, **options: Any) -> None:
        """Take Tornado's own arguments.

        Tornado itself would keep 100 MB of each request in memory, for as long as it takes to come.
        """
        limits = {
            "max_header_size": HEADER_SIZE,
            "max_body_size": BODY_SIZE,
            "body_timeout": BODY_SECONDS,
        }
        super().initialize(*arguments, **limits | options)
        self._peers: Counter[str] = Counter()
        self._servers = Buckets(SERVER)
        self._outside = Buckets(OUTSIDE)
        self._memory = Memory()
        self._taken: dict[object, tuple[str, int]] = {}
        self._own = self.conn_params
        self._short = copy.copy(self.conn_params)
        self._short.header_timeout = HEADER_SECONDS

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Serve a connection, or close it when its peer has too many."""
        peer = str(address[0])
        # What the parent makes the connection with.
        self.conn_params = self._own if peer in origin.PROXY else self._short
        if peer not in origin.PROXY:
            if self._peers[peer] >= CONNECTIONS:
                stream.close()
                return
            self._peers[peer] += 1
        super().handle_stream(stream, address)

    def on_close(self, server_conn: object) -> None:
        """Count a connection that has ended."""
        super().on_close(server_conn)
        self._release(server_conn)
        assert isinstance(server_conn, HTTP1ServerConnection)  # noqa: S101 - as Tornado has it
        peer = _peer(server_conn)
        if peer in self._peers:
            self._peers[peer] -= 1
            if not self._peers[peer]:
                del self._peers[peer]

    def start_request(
        self, server_conn: object, request_conn: httputil.HTTPConnection
    ) -> httputil.HTTPMessageDelegate:
        """Have the headers judged before the rest of a request is read."""
        # A connection has one request at a time, so the one before has been answered.
        self._release(server_conn)
        inner = super().start_request(server_conn, request_conn)
        return _Held(inner, request_conn, lambda headers: self._wait(server_conn, headers))

    def _release(self, server_conn: object) -> None:
        if server_conn in self._taken:
            self._memory.give_back(*self._taken.pop(server_conn))

    def _wait(self, server_conn: object, headers: httputil.HTTPHeaders) -> float:
        """Seconds that a request has to wait; without end if there is no room for it."""
        peer = _peer(server_conn)
        if peer not in origin.PROXY:
            return self._servers.take(peer)
        if "X-Forwarded-For" not in headers:
            # The hub and its services themselves. The proxy always says who asks, and what it says
            # may be what a front proxy was told: also an address of this machine.
            return 0.0
        caller = origin.network(origin.told(peer, headers))
        size = REQUEST + _body_size(headers)
        if not self._memory.take(caller, size):
            return math.inf
        self._taken[server_conn] = (caller, size)
        return self._outside.take(caller)


def _body_size(headers: httputil.HTTPHeaders) -> int:
    """Bytes of a body, as announced; Tornado takes no more, nor one that is announced wrongly."""
    if "Transfer-Encoding" in headers:
        return BODY_SIZE
    length = headers.get("Content-Length", "0")
    digits = length.isdecimal() and len(length) <= len(str(BODY_SIZE))
    return min(int(length), BODY_SIZE) if digits else BODY_SIZE


def _peer(connection: Any) -> str:
    return str(connection.context.address[0])


class _Held(httputil.HTTPMessageDelegate):
    """Hands a request on when its turn has come."""

    def __init__(
        self,
        inner: httputil.HTTPMessageDelegate,
        connection: httputil.HTTPConnection,
        wait: Callable[[httputil.HTTPHeaders], float],
    ) -> None:
        self._inner = inner
        self._connection = connection
        self._wait = wait
        self._refused = False

    def headers_received(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> Awaitable[None] | None:
        """Hand the headers on, now or later."""
        seconds = self._wait(headers)
        if not seconds:
            return self._inner.headers_received(start_line, headers)
        return self._later(seconds, start_line, headers)

    async def _later(
        self,
        seconds: float,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
    ) -> None:
        if seconds > PATIENCE:
            self._refused = True
            self._connection.write_headers(
                httputil.ResponseStartLine("HTTP/1.1", 429, "Too Many Requests"),
                httputil.HTTPHeaders(
                    {
                        "Content-Type": "text/plain",
                        "Content-Length": str(len(REFUSAL)),
                        "Retry-After": str(round(PATIENCE)),
                        "Connection": "close",
                    }
                ),
                REFUSAL,
            )
            self._connection.finish()
            return
        await asyncio.sleep(seconds)
        handed_on = self._inner.headers_received(start_line, headers)
        if handed_on is not None:
            await handed_on

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """Hand a part of the body on."""
        return None if self._refused else self._inner.data_received(chunk)

    def finish(self) -> None:
        """Hand the end on."""
        if not self._refused:
            self._inner.finish()

    def on_connection_close(self) -> None:
        """Hand on that nobody waits any more."""
        if not self._refused:
            self._inner.on_connection_close()
