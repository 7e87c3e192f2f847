"""Tells the hub why a server did not start: its container is removed at once, with its log."""

from __future__ import annotations

import json
import logging
import socket
import sys
import traceback
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO
from urllib.request import Request, urlopen

from zsingleuser import wait_for

KEPT = 15
"""Lines that are reported."""

LENGTH = 300
"""Characters of a line that are reported."""

ATTACHED = 30
"""Seconds until the hub is in a server's network, which is there after the server has begun."""

log = logging.getLogger(__name__)


class Heard:
    """A text stream that remembers the last lines written to it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lines: deque[str] = deque(maxlen=KEPT)

    def write(self, text: str) -> int:
        self.lines.extend(line[:LENGTH] for line in text.splitlines() if line.strip())
        return self._stream.write(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


@contextmanager
def reported(own: socket.socket, environment: Mapping[str, str]) -> Iterator[None]:
    """Tell the hub the last lines of the log if what runs in here ends before the server listens.

    Args:
        own: where the server will listen.
        environment: with the hub's address, and the token to call it with.

    Raises:
        SystemExit: instead of any other exception, whose traceback is in the log by then.
    """
    heard = Heard(sys.stderr)
    sys.stderr = heard
    try:
        yield
    except BaseException as error:
        code: object = error.code if isinstance(error, SystemExit) else 1
        if not isinstance(error, SystemExit):
            traceback.print_exc()
        elif isinstance(code, str):
            # As Python would print it after this.
            print(code, file=sys.stderr)
            code = 1
        if not own.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            _tell(list(heard.lines), environment)
        raise SystemExit(code) from error


def _tell(lines: list[str], environment: Mapping[str, str]) -> None:
    url = environment["JUPYTERHUB_ACTIVITY_URL"].removesuffix("activity") + "last-words"
    headers = {
        "Authorization": f"token {environment['JUPYTERHUB_API_TOKEN']}",
        "Content-Type": "application/json",
    }
    request = Request(url, json.dumps({"lines": lines}).encode(), headers)
    wait_for(url, ATTACHED)
    try:
        # Whatever proxy a site's image sets, the hub is in the server's own network.
        urlopen(request, timeout=10).close()
    except OSError as error:
        log.error("the reason could not be sent to the hub: %s", error)  # noqa: TRY400 - it is no surprise
