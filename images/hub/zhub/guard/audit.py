"""The audit log: who did what. Only the guard can write it, and the hub can only add to it.

The hub, which has a port and runs what users send, reports to the guard; the guard's volume with
the log is in no other container. So a captured hub can report what is not true or report nothing
more, but it cannot change or remove what is written, or what the guard itself sees. Each line also
goes to the standard output, from where the engine's log driver can take it to another machine.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from zhub.contract import AUDITED
from zhub.guard.bodies import Refused
from zhub.guard.counts import Full
from zhub.logs import moment, shortened
from zhub.room import Room, Rooms

FOLDER = Path("/var/log/zhub")
"""A volume that only the guard's container has; the folder's owner is the guard's user."""

FILE = "audit.log"

SIZE = 10 << 20
"""Bytes of a file, which is then renamed to `audit.log.1` and so on."""

KEPT = 20
"""Such older files that are kept."""

REPORTS = 5000, 1.0
"""Events that the hub can report: so many at once, and then so many a second. With a captured hub
that writes as much as it can, the older files last a day. A morning in which a thousand people log
in and start their servers has 5000 lines."""

REFUSALS = 1000, 0.2
"""The same, of its calls that are refused."""

STARTS = 10_000, 0.5
"""How often the hub can make or start a container, of which a server takes one each; each is two
lines at most. More is refused: these lines must not be left out, nor push the older ones out."""

OF_USER = 400, 0.03
"""The same, of one user: 200 starts of a server at once, and then one a minute. Otherwise a few
users who start and stop their servers all day would keep those of all others from starting."""

RUNS = 5000
"""Runs of containers that are remembered, to write once that each was stopped."""

MOST_EVENTS = 50
"""In one report."""

EARLIER = 2
"""Seconds that a report may take; if it takes longer, its line has the hub's own time, too."""

log = logging.getLogger(__name__)


class _Private(RotatingFileHandler):
    """Makes files that only their owner can read, and goes on when the disk is full."""

    def _open(self) -> TextIOWrapper:
        return open(
            self.baseFilename,
            "a",
            encoding="utf-8",
            opener=lambda path, flags: os.open(path, flags, 0o600),
        )

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        log.error("the audit log is not written: %s: %s", sys.exception(), record.getMessage())


class Audit:
    """Writes lines, each an object in JSON with the time and the number of the line."""

    def __init__(self, folder: Path = FOLDER, clock: Callable[[], float] = time.time) -> None:
        """Continue the log in a folder."""
        self._clock = clock
        self._lock = threading.Lock()
        # The newest file has no line when the guard, or the disk's space, ended as it was begun.
        self._number = _resumed(folder / FILE) or _resumed(folder / f"{FILE}.1")
        self._file = _Private(folder / FILE, maxBytes=SIZE, backupCount=KEPT, delay=True)
        self._reports, self._refusals = Room(*REPORTS, clock), Room(*REFUSALS, clock)
        self._starts, self._of_user = Room(*STARTS, clock), Rooms(*OF_USER, clock)
        self._stopped: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._lost = 0

    def seen(self, event: str, **fields: str) -> None:
        """Write what the guard itself has done; there is always room for it."""
        with self._lock:
            self._write(event, {"by": "guard", **fields})

    def start(self, user: str) -> None:
        """Take room for what becomes of a user's container before it is made or started.

        Raises:
            Full: there is none.
        """
        with self._lock:
            if not self._of_user.take(user):
                raise Full("Your server was started too often. Please try again in a few minutes.")
            if not self._starts.take():
                raise Full("The hub starts too many servers. Please try again in a minute.")

    def stopped(self, container: str, since: str, user: str) -> None:
        """Write that a container was stopped, once for each run: the hub can ask without end.

        Args:
            container: its ID.
            since: when it was started.
            user: whose server it is.
        """
        run = container, since
        with self._lock:
            if run in self._stopped:
                return
            self._stopped[run] = None
            if len(self._stopped) > RUNS:
                self._stopped.popitem(last=False)
            self._write("container.stop", {"by": "guard", "user": user})

    def refused(self, call: str, reason: str) -> None:
        """Write that the guard has refused a call of the hub."""
        with self._lock:
            if self._room(self._refusals):
                self._write("guard.refuse", {"by": "guard", "call": call, "reason": reason})

    def reported(self, events: object) -> None:
        """Write what the hub reports.

        Raises:
            Refused: when it is anything but a list of events with their fields. None is written.
        """
        if not isinstance(events, list) or len(events) > MOST_EVENTS:
            raise Refused(f"Events is not a list of at most {MOST_EVENTS}")
        for event in events:
            _check(event)
        with self._lock:
            for event in events:
                if self._room(self._reports):
                    rest = dict(event)
                    name, at = rest.pop("event"), rest.pop("at")
                    late = {"at": moment(at)} if self._clock() - at > EARLIER else {}
                    self._write(name, {"by": "hub", **late, **rest})

    def _room(self, room: Room) -> bool:
        """Take room for a line that the hub causes, and write how many had none before."""
        if not room.take():
            self._lost += 1
            return False
        if self._lost:
            self._write("lost", {"by": "guard", "count": self._lost})
            self._lost = 0
        return True

    def _write(self, event: str, fields: Mapping[str, Any]) -> None:
        self._number += 1
        texts = {
            name: shortened(value) if isinstance(value, str) else value
            for name, value in fields.items()
        }
        head = {"time": moment(self._clock()), "number": self._number, "event": event}
        line = json.dumps(head | texts)
        self._file.handle(logging.makeLogRecord({"msg": "%s", "args": (line,)}))
        print(line, flush=True)


def _check(event: object) -> None:
    """Refuse what is no event.

    Raises:
        Refused: when the event is not known, or has other fields than it should have.
    """
    if not isinstance(event, dict):
        raise Refused("an event is not an object")
    fields = AUDITED.get(str(event.get("event")))
    if fields is None or event.keys() - {"event", "at"} != fields or "at" not in event:
        raise Refused("an event is not known, or has other fields")
    at = event["at"]
    if not isinstance(at, int | float) or isinstance(at, bool) or not 0 <= at < 1 << 33:
        raise Refused("the time of an event is no time")
    for name in fields:
        value = event[name]
        number = type(value) is int and abs(value) < 1 << 31
        if not number and not isinstance(value, str):
            raise Refused("an event has fields that are neither texts nor numbers")


def _resumed(file: Path) -> int:
    """The number of the last line that can be read; 0 without one.

    Ends a line that was cut off, as by a machine that went down.
    """
    if not file.exists():
        return 0
    content = file.read_bytes()
    if content and not content.endswith(b"\n"):
        with suppress(OSError), file.open("ab") as opened:
            opened.write(b"\n")
    for line in reversed(content.splitlines()):
        with suppress(ValueError, KeyError, TypeError):
            return int(json.loads(line)["number"])
    return 0
