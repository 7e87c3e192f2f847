"""Reports to the guard for the audit log, which only the guard can write (`zhub.guard.audit`).

Nobody waits for a report: a guard that is away for a moment gets it when it is back. A hub that is
run by hand has no guard; then the lines are in its own log.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import logging
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import docker
import requests.exceptions
from tornado.web import HTTPError

from zhub import room
from zhub.logs import LONGEST, shortened
from zhub.room import Rooms
from zhub.settings import SettingsError

BATCH = 20
"""Events in one report: of the longest, as many as the guard reads."""

MOST = 10_000
"""Events that wait for the guard; further ones are lost, and the hub's log says how many."""

PAUSE = 5
"""Seconds until a guard that does not answer is asked again."""

PATIENCE = 10
"""Seconds the guard has to answer, and that the end of the hub may take because of reports."""

SHARE = 600, 0.2
"""Events that one user or one address may cause: so many at once, and then so many a second. A
school behind one address that logs in at once stays below it. With as many as the guard has room
for, a stranger who asks without end, and is refused, could hide what others do."""

FILES = ("ZHUB_CONFIG_FILE", "ZHUB_LDAP_CA_FILE")
"""Variables that name files whose content is a setting, and no secret."""

BEFORE = 30
"""Characters that a long value has in front of what has changed."""

SERVICE = "service "
"""In front of a service's name, which then is no user's: those have no blanks."""

Event = dict[str, Any]

Send = Callable[[list[Event]], None]
"""Hands events to the guard; raises an error of requests when it does not take them."""

log = logging.getLogger("zhub.audit")


class Reporter:
    """Hands events on, in their order, in a thread of its own."""

    def __init__(self, send: Send, pause: float = PAUSE) -> None:
        self._send = send
        self._pause = pause
        self._waiting: queue.Queue[Event | None] = queue.Queue(MOST)
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._ending = threading.Event()
        self._lost = 0

    def start(self) -> None:
        """Begin to hand events on."""
        self._thread.start()

    def report(self, event: Event) -> None:
        """Take an event."""
        try:
            self._waiting.put_nowait(event)
        except queue.Full:
            self._lost += 1

    def end(self) -> None:
        """Hand on what waits, unless the guard does not answer."""
        self._ending.set()
        self.report({})
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        while True:
            batch = [event for event in self._batch() if event]
            if batch:
                self._deliver(batch)
            if self._ending.is_set() and self._waiting.empty():
                return
            if self._lost:
                log.error("%d events are lost for the audit log: the guard is away", self._lost)
                self._lost = 0

    def _batch(self) -> list[Event | None]:
        batch = [self._waiting.get()]
        while len(batch) < BATCH and not self._waiting.empty():
            batch.append(self._waiting.get())
        return batch

    def _deliver(self, batch: list[Event]) -> None:
        silent = False
        while True:
            last = self._ending.is_set()
            try:
                self._send(batch)
            except requests.exceptions.HTTPError as error:
                log.error("the guard does not take %s: %s", batch, error)  # noqa: TRY400
                return
            except requests.exceptions.RequestException as error:
                if last:
                    log.error("the hub ends, and these are lost for the audit log: %s", batch)  # noqa: TRY400
                    return
                if not silent:
                    log.warning("the audit log waits for the guard: %s", error)
                silent = True
                self._ending.wait(self._pause)
            else:
                return


def changes(environment: Mapping[str, str], file: Path) -> list[tuple[str, str, str]]:
    """Return the settings that differ from those of the last start, with both values.

    Nothing in the environment of hub or guard is secret. Of files that are settings, it is the
    SHA-256, as `sha256sum` prints it.

    Args:
        environment: of this start.
        file: where the settings are kept for the next one; at the very first, nothing has changed.
    """
    now = {name: value for name, value in environment.items() if name.startswith("ZHUB_")}
    for name in FILES:
        with suppress(OSError):
            if path := environment.get(name):
                content = Path(path).read_bytes()
                now[f"{name}_SHA256"] = hashlib.sha256(content).hexdigest()
    return differing(now, file)


def differing(now: Mapping[str, str], file: Path) -> list[tuple[str, str, str]]:
    """Return what differs from the last call, with both values, and keep it for the next.

    Args:
        now: names and values, none of them secret.
        file: where they are kept; at the very first call, nothing has changed.
    """
    try:
        before = json.loads(file.read_text())
    except FileNotFoundError:
        before = now
    except (OSError, ValueError) as error:
        log.warning("%s cannot be read, so no change of a setting is known: %s", file, error)
        before = now
    part = file.with_name(f"{file.name}.part")
    try:
        part.write_text(json.dumps(now))
        part.replace(file)
    except OSError as error:
        # Such as a full disk, with which servers go on starting.
        log.warning("%s cannot be written: changes of settings show again: %s", file, error)
    return [
        (name, *_from_the_difference_on(before.get(name, ""), now.get(name, "")))
        for name in sorted(before.keys() | now.keys())
        if before.get(name, "") != now.get(name, "")
    ]


def _from_the_difference_on(before: str, now: str) -> tuple[str, str]:
    """Return two texts, such as long lists, from where they differ, if a line has no room for them.

    Otherwise both would look the same in the audit log.
    """
    if max(len(before), len(now)) <= LONGEST:
        return before, now
    pairs = enumerate(zip(before, now, strict=False))
    same = next((n for n, (one, other) in pairs if one != other), min(len(before), len(now)))
    begin = same - BEFORE
    return (f"...{before[begin:]}", f"...{now[begin:]}") if begin > 0 else (before, now)


def caller(handler: Any) -> Any:
    """Return the user or service that makes a request of JupyterHub's; None for nobody known."""
    try:
        return handler.current_user
    except (HTTPError, RuntimeError):
        # Refused before it was known.
        return None


def actor(handler: Any) -> str:
    """Return who makes a request of JupyterHub's: a user's name, `service` and a name, or nothing.

    Args:
        handler: JupyterHub's; None when the hub does something by itself.
    """
    who = caller(handler) if handler else None
    if who is None:
        return ""
    # Services have no servers.
    return str(who.name) if hasattr(who, "spawners") else f"{SERVICE}{who.name}"


def cause(who: str, network: str) -> str:
    """Return whose share an event takes; nobody's if a service or the hub itself has caused it.

    Args:
        who: the actor, if it is known who that is.
        network: where the request comes from.
    """
    return "" if who.startswith(SERVICE) else who or network


class Shares:
    """Counts events of users and addresses."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._rooms = Rooms(*SHARE, clock)
        self._lost: OrderedDict[str, int] = OrderedDict()

    def take(self, cause: str) -> int | None:
        """Take room for an event, if there is any.

        Returns:
            How many had none since the last one; None if this one has none.
        """
        if self._rooms.take(cause):
            return self._lost.pop(cause, 0)
        if cause not in self._lost:
            log.warning("%s causes too many events: not all are in the audit log", cause)
        self._lost[cause] = self._lost.get(cause, 0) + 1
        if len(self._lost) > room.REMEMBERED:
            self._lost.popitem(last=False)
        return None


_shares = Shares()


_reporter: Reporter | None = None


def to_guard(client: docker.APIClient) -> Send:
    """Return what hands events to the guard."""
    url = f"{client.base_url}/v{client.api_version}/zhub/audit"

    def send(events: list[Event]) -> None:
        client.post(url, json={"Events": events}, timeout=PATIENCE).raise_for_status()

    return send


def begin(send: Send) -> None:
    """Hand all events on from now on, and until the process ends."""
    global _reporter  # noqa: PLW0603 - there is one audit log
    _reporter = Reporter(send)
    _reporter.start()
    atexit.register(_reporter.end)


def report(event: str, *, of: str = "", **fields: str | int) -> None:
    """Report an event, or only count it where its cause has no room left.

    Args:
        event: its name.
        of: its `cause`.
        fields: those that `zhub.contract.AUDITED` has for it.
    """
    lost = _shares.take(of) if of else 0
    if lost is None:
        return
    if lost:
        _report("lost", cause=of, count=lost)
    _report(event, **fields)


def _report(event: str, **fields: str | int) -> None:
    # Strangers choose some of them. The guard reads no more of a report than it has to, and would
    # not take this one, nor the others that are sent with it.
    texts = {
        name: shortened(value) if isinstance(value, str) else value
        for name, value in fields.items()
    }
    found: Event = {"event": event, "at": time.time(), **texts}
    if _reporter:
        _reporter.report(found)
    else:
        log.info("%s", json.dumps(found))


def report_command(
    connect: Callable[[], docker.APIClient],
    command: str,
    user: str = "",
    otherwise: str = "done, but not in the audit log",
) -> None:
    """Report what an operator's command has done, and wait until the guard has it.

    Args:
        connect: returns the guard's client.
        command: its name.
        user: whom it was about; empty for everybody.
        otherwise: what it means that the guard does not take it.

    Raises:
        SettingsError: the guard does not take it.
    """
    event = {"event": "operator", "at": time.time(), "command": command, "user": user}
    try:
        with closing(connect()) as client:
            to_guard(client)([event])
    except (requests.exceptions.RequestException, SettingsError) as error:
        raise SettingsError([f"{otherwise}: {error}"]) from None
