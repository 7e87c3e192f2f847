"""Keeps one caller from making the hub slow for the others.

The hub answers in one thread, at a few milliseconds a page. Users' servers, and the programs in
them, reach it without the proxy; everyone else reaches it through the proxy. So each caller has a
token bucket of requests that refills at a steady rate
(https://en.wikipedia.org/wiki/Token_bucket). A caller whose bucket is empty is not refused, which
costs nearly as much as an answer; its requests are read more slowly.
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
"""Limit of a user's server. It asks about each of its visitors twice a minute, reports its activity
every five minutes, and makes a few more requests when a user logs in to it."""

OUTSIDE = Rate(burst=2000, per_second=100)
"""Limit of an outside address, which a class or a whole site may share."""

CONNECTIONS = 32
"""Connections that one server may have at a time; Jupyter's client makes ten at most."""

HEADER_SECONDS = 20
"""Seconds that a server's connection may stay open without a whole request: connections that are
forgotten, or held open on purpose, must not keep the server's user out for long. Jupyter's client
closes them after one second."""

PATIENCE = 10.0
"""Seconds that a request is held back at most; one that would wait longer is refused."""

HEADER_SIZE = 20 << 10
"""Bytes. The proxy passes on at most 16 KiB, plus the headers it adds."""

BODY_SIZE = 64 << 10
"""Bytes. The largest bodies needed are an administrator's lists of users: some two thousand names.
Files that users save do not pass through the hub."""

BODY_SECONDS = 20
"""Seconds in which the whole body must arrive."""

REQUEST = 16 << 10
"""Bytes that a request counts for in addition to its body: its headers, and its answer."""

HELD = 16 << 20
"""Bytes of unanswered requests that one outside address may have at a time: a thousand requests, or
two hundred with the largest bodies."""

HELD_IN_ALL = 64 << 20
"""The same, for all outside addresses together."""

BUCKETS = 10_000
"""Callers remembered; when there are more, those that are forgotten start with a full bucket."""

REFUSAL = b"Too many requests from your address. Please try again in a moment.\n"


class Buckets:
    """Limits each caller to a rate, and forgets callers rather than grow without bound."""

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
    """Limits the memory that unanswered requests may take, by the sizes they announce."""

    def __init__(self) -> None:
        self._of: Counter[str] = Counter()

    @property
    def in_all(self) -> int:
        """Bytes held for all callers."""
        return self._of.total()

    def take(self, caller: str, size: int) -> bool:
        """Reserve the bytes if there is room; return whether there was."""
        if self._of[caller] + size > HELD or self.in_all + size > HELD_IN_ALL:
            return False
        self._of[caller] += size
        return True

    def give_back(self, caller: str, size: int) -> None:
        """Release bytes that were reserved."""
        self._of[caller] -= size
        if not self._of[caller]:
            del self._of[caller]


class LimitedServer(HTTPServer):
    """Tornado's server, with a limit for each caller in front of all pages.

    Chosen by `HTTPServer.configure`, because JupyterHub makes the server itself.
    """

    def initialize(self, *arguments: Any, **options: Any) -> None:
        """Take Tornado's own arguments.

        By default Tornado would keep up to 100 MB of each request in memory, however long the
        request takes to arrive.
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
        # The parent class uses these for the new connection.
        self.conn_params = self._own if peer in origin.PROXY else self._short
        if peer not in origin.PROXY:
            if self._peers[peer] >= CONNECTIONS:
                stream.close()
                return
            self._peers[peer] += 1
        super().handle_stream(stream, address)

    def on_close(self, server_conn: object) -> None:
        """Count the end of a connection, and release its request."""
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
        """Apply the limits to the headers before the rest of the request is read."""
        # A connection has one request at a time, so the one before has been answered.
        self._release(server_conn)
        inner = super().start_request(server_conn, request_conn)
        return _Held(inner, request_conn, lambda headers: self._wait(server_conn, headers))

    def _release(self, server_conn: object) -> None:
        if server_conn in self._taken:
            self._memory.give_back(*self._taken.pop(server_conn))

    def _wait(self, server_conn: object, headers: httputil.HTTPHeaders) -> float:
        """Return the seconds that a request has to wait; infinity if there is no room for it."""
        peer = _peer(server_conn)
        if peer not in origin.PROXY:
            return self._servers.take(peer)
        if "X-Forwarded-For" not in headers:
            # The hub and its services themselves. The proxy always sets this header, so its
            # absence is the test: the value may come from a front proxy and be any address, even
            # one of this machine.
            return 0.0
        caller = origin.network(origin.client(peer, headers))
        size = REQUEST + _body_size(headers)
        if not self._memory.take(caller, size):
            return math.inf
        self._taken[server_conn] = (caller, size)
        return self._outside.take(caller)


def _body_size(headers: httputil.HTTPHeaders) -> int:
    """Return the announced size of a body; Tornado refuses larger ones and invalid lengths."""
    if "Transfer-Encoding" in headers:
        return BODY_SIZE
    length = headers.get("Content-Length", "0")
    digits = length.isdecimal() and len(length) <= len(str(BODY_SIZE))
    return min(int(length), BODY_SIZE) if digits else BODY_SIZE


def _peer(connection: Any) -> str:
    return str(connection.context.address[0])


class _Held(httputil.HTTPMessageDelegate):
    """Delays a request until its turn, or refuses it."""

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
        """Pass the headers on, now or later."""
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
        """Pass a part of the body on."""
        return None if self._refused else self._inner.data_received(chunk)

    def finish(self) -> None:
        """Pass the end of the request on."""
        if not self._refused:
            self._inner.finish()

    def on_connection_close(self) -> None:
        """Pass on that the client has closed the connection."""
        if not self._refused:
            self._inner.on_connection_close()
