"""The guard's HTTP server: parses the hub's requests, and refuses those that are no known call."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import requests.exceptions
from docker.errors import APIError
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_unix_socket
from tornado.web import HTTPError, RequestHandler

from zhub.contract import FULL, UNUSABLE, UPDATING
from zhub.guard.bodies import OutdatedError, Refused, Request, parse_body
from zhub.guard.calls import CALLS, Guard
from zhub.guard.counts import Full
from zhub.guard.helpers import UnusableError
from zhub.guard.listener import CLIENT_SECONDS, Listener, SmallRequests
from zhub.guard.measures import UNKNOWN

BACKLOG = 1024
"""Connections waiting to be accepted: when the queue is full, a client with a timeout fails at
once instead of waiting."""

THREADS = 16
"""Calls to the engine at the same time, and as many more that stop a server: these last until it
has ended, which its user can delay."""

WITHOUT_THE_ENGINE = {Guard.metrics, Guard.home_size, Guard.home_sizes, Guard.reported}
"""Calls that the guard answers alone: an engine that hangs must not keep these waiting, too."""

FEW = 2
"""Such calls at the same time."""

READS = threading.BoundedSemaphore(4)
"""How many calls to the engine may be GET: with many networks, each answer is large."""

log = logging.getLogger(__name__)


class Threads:
    """The threads that carry out calls."""

    def __init__(self) -> None:
        self._stopping, self._others = ThreadPoolExecutor(THREADS), ThreadPoolExecutor(THREADS)
        self._own = ThreadPoolExecutor(FEW)
        self.looking = ThreadPoolExecutor(1)
        """Whether the hub that is refused something is of another version."""

    def of(self, call: Callable[[Guard, Request], Any]) -> ThreadPoolExecutor:
        """Return those for a call."""
        if call in WITHOUT_THE_ENGINE:
            return self._own
        return self._stopping if call is Guard.stop_container else self._others


class Handler(RequestHandler):
    """Parses a request, has it carried out in a thread, and answers as the engine would."""

    def initialize(self, guard: Guard, threads: Threads, rooms: list[Listener]) -> None:
        self._guard = guard
        self._threads = threads
        [self._room] = rooms
        self._call = UNKNOWN

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count the call with its outcome, and time it."""
        began, outcome = time.monotonic(), "failed"
        try:
            yield
            outcome = "done"
        except OutdatedError:
            outcome = "outdated"
            raise
        except Refused:
            outcome = "refused"
            raise
        except Full:
            outcome = "full"
            raise
        except APIError as error:
            # "There is no such container" is an answer like others.
            outcome = "engine" if error.is_server_error() else "done"
            raise
        except requests.exceptions.RequestException:
            outcome = "silent"
            raise
        finally:
            self._guard.measures.ended(self._call, outcome, time.monotonic() - began)

    async def prepare(self) -> None:
        try:
            with self._counted(), self._room.call():
                answer = await self._carried_out()
        except Refused as refusal:
            # Escaped, so that a captured hub cannot forge lines of this log.
            texts = f"{self.request.method} {self.request.uri}"[:300], str(refusal)[:500]
            self._guard.audit.refused(*texts)
            log.warning("refused %s: %s", *(t.encode("unicode_escape").decode() for t in texts))
            if isinstance(refusal, OutdatedError):
                log.warning("the hub is of another version of the stack, as during an up")
                raise
            raise HTTPError(HTTPStatus.FORBIDDEN, reason="Forbidden") from refusal
        self.set_status(HTTPStatus.NO_CONTENT if answer is None else HTTPStatus.OK)
        if answer is not None:
            self.set_header("Content-Type", "application/json")
            self.write(answer)
        try:
            await asyncio.wait_for(self.finish(), CLIENT_SECONDS)
        except StreamClosedError:
            # The client has disconnected, which is no error of the guard.
            return
        except TimeoutError:
            log.warning("the client has not read the answer to %s", self.request.method)
            self.request.connection.stream.close()  # type: ignore[union-attr] # HTTP/1 has one

    async def _carried_out(self) -> bytes | None:
        """Carry out the call, if it is one; return the text of the answer.

        Raises:
            OutdatedError: it is refused, and the hub is one that an `up` is about to replace.
        """
        loop = asyncio.get_running_loop()
        try:
            call, request = self._parsed()
            self._call = call.__name__
            threads = self._threads.of(call)
            return await loop.run_in_executor(threads, self._answer, call, request)
        except Refused as refusal:
            if await loop.run_in_executor(self._threads.looking, self._guard.updating):
                raise OutdatedError(str(refusal)) from None
            raise

    def _answer(self, call: Callable[[Guard, Request], Any], request: Request) -> bytes | None:
        """Carry out a call in a thread; return only the text, so that parsed objects are freed."""
        large = self.request.method == "GET" and call not in WITHOUT_THE_ENGINE
        with READS if large else nullcontext():
            result = call(self._guard, request)
            return None if result is None else json.dumps(result).encode()

    def _parsed(self) -> tuple[Callable[[Guard, Request], Any], Request]:
        received = self.request
        for header in ("Transfer-Encoding", "Upgrade", "Expect", "X-Registry-Auth"):
            if header in received.headers:
                raise Refused(f"the request has the header {header}")
        try:
            pairs = parse_qsl(received.query, keep_blank_values=True, max_num_fields=20)
        except ValueError:
            raise Refused("the query cannot be parsed") from None
        query = dict(pairs)
        if len(query) != len(pairs):
            raise Refused("the query has a parameter twice")
        if received.body and received.method != "POST":
            raise Refused("the request has a body")
        body = parse_body(received.body)
        if (received.method, received.path) == ("GET", "/version"):
            return Guard.version, Request("", query, body)
        prefix = f"/v{self._guard.api_version}"
        for method, path, call in CALLS:
            match = re.fullmatch(re.escape(prefix) + path, received.path)
            if match and method == received.method:
                return call, Request("".join(match.groups()), query, body)
        raise Refused("the hub does not need this call")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None))[1]
        message = "the guard refuses this; its log says why"
        if isinstance(error, APIError):
            status_code, message = error.status_code or 500, str(error.explanation)
        elif isinstance(error, requests.exceptions.RequestException):
            status_code, message = HTTPStatus.BAD_GATEWAY, "the engine does not answer the guard"
        elif isinstance(error, Full):
            status_code, message = FULL, str(error)
        elif isinstance(error, UnusableError):
            status_code, message = UNUSABLE, str(error)
        elif isinstance(error, OutdatedError):
            status_code, message = HTTPStatus.SERVICE_UNAVAILABLE, UPDATING
        elif not isinstance(error, HTTPError):
            message = "the guard failed; its log says why"
        self.set_status(status_code)
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps({"message": message}))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if isinstance(value, (Full, UnusableError)):
            log.warning("%s", value)
        elif isinstance(value, (APIError, HTTPError, OutdatedError)):
            # An answer of the engine, which is a RequestException as well, or of the guard's own.
            return
        elif isinstance(value, requests.exceptions.RequestException):
            # As while it is restarted, in the middle of an answer.
            log.warning("%s failed: the engine does not answer: %s", self.request.method, value)
        else:
            log.error("%s failed", self.request.method, exc_info=(typ, value, tb))


def listen(path: Path, guard: Guard) -> Listener:
    """Serve the guard at a Unix socket that the group may use; needs a running event loop."""
    rooms: list[Listener] = []
    needs = {"guard": guard, "threads": Threads(), "rooms": rooms}
    # No access log: refusals and errors are logged by the handler, with their reasons.
    application = SmallRequests([(r".*", Handler, needs)], log_function=lambda _: None)
    server = Listener(application)
    rooms.append(server)
    server.accept(bind_unix_socket(str(path), mode=0o660, backlog=BACKLOG))
    return server
