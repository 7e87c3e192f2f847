"""Limits the guard's requests at a time, and the memory that each of them may take."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPInputError,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream
from tornado.netutil import add_accept_handler
from tornado.web import Application

MAX_HEADERS = 8 << 10
"""Bytes, including the query."""

MAX_BODY = 32 << 10
"""Bytes; the body of a create call has about 4000."""

MAX_FIELDS = 20
"""Fields of a query; Tornado would make objects of each, many times the size of the text."""

MAX_OPEN = 64
"""Connections and calls at a time; the hub makes one for each of its threads. Further connections
wait in the socket's queue."""

CLIENT_SECONDS = 10
"""How long a client may take to send a request, and to read the answer."""

LIMITS: dict[str, Any] = {
    "no_keep_alive": True,
    "max_header_size": MAX_HEADERS,
    "max_body_size": MAX_BODY,
    "idle_connection_timeout": CLIENT_SECONDS,
    "body_timeout": CLIENT_SECONDS,
    "chunk_size": MAX_HEADERS,
    "max_buffer_size": 2 * MAX_BODY,
}
"""Limits of a connection, as options of Tornado's HTTPServer."""

log = logging.getLogger(__name__)


class Listener(HTTPServer):
    """Accepts no more connections than MAX_OPEN.

    Each connection counts until it is closed, and each call until it is done: when a client
    disconnects, its call still runs.
    """

    def initialize(  # type: ignore[override] # the other options are LIMITS
        self, request_callback: Any, **options: Any
    ) -> None:
        super().initialize(request_callback, **LIMITS, **options)
        self._taken = 0
        self._stop_accepting: Callable[[], None] | None = None
        self._ends = False
        self._idle = asyncio.Event()

    def accept(self, listening: socket.socket) -> None:
        """Accept connections from a socket; its queue holds the others."""
        self._listening = listening
        self._stop_accepting = add_accept_handler(listening, self._handle_connection)

    @contextmanager
    def call(self) -> Iterator[None]:
        """Count a call while it runs, whether or not its client still waits for it."""
        self._take()
        try:
            yield
        finally:
            self._give()

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        self._take()
        super().handle_stream(stream, address)

    def on_close(self, server_conn: object) -> None:
        super().on_close(server_conn)
        self._give()

    def _take(self) -> None:
        self._taken += 1
        if self._taken >= MAX_OPEN and self._stop_accepting:
            self._stop_accepting()
            self._stop_accepting = None

    def _give(self) -> None:
        self._taken -= 1
        if self._ends and not self._taken:
            self._idle.set()
        if self._taken < MAX_OPEN and not self._stop_accepting and not self._ends:
            self.accept(self._listening)

    async def drain(self, seconds: float) -> None:
        """Accept nothing more, and wait until all calls have their answers, or the time is up.

        Who connects then is refused, and knows that nothing was done.
        """
        self._ends = True
        if not self._taken:
            self._idle.set()
        if self._stop_accepting:
            self._stop_accepting()
            self._stop_accepting = None
        self._listening.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)


class SmallRequests(Application):
    """Refuses requests that would become large, before Tornado makes objects of them."""

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        return _Small(super().start_request(server_conn, request_conn))


class _Small(HTTPMessageDelegate):
    def __init__(self, behind: HTTPMessageDelegate) -> None:
        self._behind = behind

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        path = start_line.path if isinstance(start_line, RequestStartLine) else ""
        if path.count("&") >= MAX_FIELDS:
            log.warning("refused a query of more than %d fields", MAX_FIELDS)
            raise HTTPInputError("too many fields")
        # Bodies are JSON or empty, whatever the client says: Tornado must not parse forms.
        headers.pop("Content-Type", None)
        return self._behind.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._behind.data_received(chunk)

    def finish(self) -> None:
        self._behind.finish()

    def on_connection_close(self) -> None:
        self._behind.on_connection_close()
