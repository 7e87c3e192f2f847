"""The guard's limits of requests; its engine answers only when a test lets it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker
import pytest
import requests.exceptions
from zhub import audit, settings
from zhub.audit import Reporter, to_guard
from zhub.contract import AUDITED, UPDATING
from zhub.guard import listener, measures, server
from zhub.guard.audit import FILE, Audit
from zhub.guard.calls import Guard
from zhub.guard.environment import Image
from zhub.guard.folders import Folders
from zhub.guard.helpers import Helpers
from zhub.guard.listener import MAX_BODY, MAX_FIELDS, MAX_OPEN, Listener
from zhub.guard.policy import Policy
from zhub.guard.server import listen
from zhub.servers.calls import unheard

from tests.built import wait_until

pytestmark = pytest.mark.slow

IMAGE = f"registry.example.com:5000/team/notebook@sha256:{'0a' * 32}"
VARIABLES = {"ZHUB_PREFIX": "site", "ZHUB_MAX_SERVERS": "4096", "ZHUB_NOTEBOOK_IMAGE": IMAGE}
CREATE = "POST /v1.41/volumes/create HTTP/1.1\r\nHost: guard\r\n"
AUDIT = CREATE.replace("volumes/create", "zhub/audit")
HOME = {
    "Name": "site-home-a",
    "Labels": {"zhub.stack": "site", "zhub.role": "home", "zhub.user": "a"},
}


@dataclass
class Engine:
    """Answers when `free` is set, and counts calls."""

    free: threading.Event = field(default_factory=threading.Event)
    calls: int = 0
    size: int = 10
    hangs: bool = False
    """Whether it does not even say that it is there."""
    pings: int = 0
    """That have begun meanwhile."""
    api_version: str = "1.41"

    hub: str = "of today"
    """The image of the hub's container."""

    def inspect_image(self, name: str) -> dict[str, str]:
        return {"Id": name}

    def inspect_container(self, name: str) -> dict[str, Any]:
        """The hub's, and the guard's own."""
        image = self.hub if name == "site-hub" else "of today"
        return {"Image": image, "Config": {"Env": [f"{k}={v}" for k, v in VARIABLES.items()]}}

    def create_volume(self, *_: Any, **__: Any) -> dict[str, str]:
        self.calls += 1
        self.free.wait(30)
        return {"Name": "x" * self.size}

    def ping(self) -> bool:
        if self.hangs:
            self.pings += 1
            self.free.wait(30)
        return True

    def info(self) -> dict[str, Any]:
        return {"DockerRootDir": "/var/lib/docker", "MemTotal": 1 << 30}

    def containers(self, **_: Any) -> list[dict[str, Any]]:
        return []

    def volumes(self, **_: Any) -> dict[str, Any]:
        return {"Volumes": []}


@dataclass
class Site:
    path: Path
    engine: Engine
    listener: Listener
    loop: asyncio.AbstractEventLoop

    def open(self, text: str = "") -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(5)
        connection.connect(str(self.path))
        connection.sendall(text.encode())
        return connection

    def status(self, text: str) -> bytes:
        """Return the first line of the answer; empty if there is none."""
        with self.open(text) as connection, contextlib.suppress(TimeoutError, ConnectionError):
            return connection.recv(4096).partition(b"\r\n")[0]
        return b""

    @property
    def taken(self) -> int:
        """Open connections and calls."""
        return self.listener._taken

    def has_taken(self, number: int) -> bool:
        """Return whether their number becomes that in time."""
        end = time.monotonic() + 5
        while self.taken != number and time.monotonic() < end:
            time.sleep(0.01)
        return self.taken == number


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    engine: Any = Engine()
    guard_settings = settings.read_guard(VARIABLES)
    confinement: Any = SimpleNamespace(name_servers=[])
    folders = Folders(engine, Helpers(engine, "filter", "site"), guard_settings)
    policy = Policy(guard_settings, dict.fromkeys(guard_settings.images, Image((), frozenset())))
    guard = Guard(engine, policy, confinement, folders, Audit(tmp_path))
    loop = asyncio.new_event_loop()
    made: list[Any] = []

    async def start() -> None:
        made.append(listen(tmp_path / "engine.sock", guard))

    loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield Site(tmp_path / "engine.sock", engine, made[0], loop)
    engine.free.set()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def post(body: Any, *headers: str) -> str:
    text = body if isinstance(body, str) else json.dumps(body)
    more = "".join(f"{header}\r\n" for header in headers)
    return f"{CREATE}{more}Content-Length: {len(text)}\r\n\r\n{text}"


VERSION = "GET /version HTTP/1.1\r\nHost: guard\r\n\r\n"
METRICS = VERSION.replace("/version", "/v1.41/zhub/metrics")


def test_an_image_of_a_registry_is_found_by_its_digest(site: Site) -> None:
    """As docker's client asks for it."""
    client = docker.APIClient(f"unix://{site.path}", version="1.41")
    assert client.inspect_image(IMAGE) == {"Id": IMAGE}  # type: ignore[no-untyped-call]
    for other in (IMAGE.replace("0a", "0b"), "notebook%40", "notebook%2540"):
        with pytest.raises(docker.errors.APIError, match="the guard refuses this"):
            client.inspect_image(other)  # type: ignore[no-untyped-call]
    client.close()


def test_a_hub_that_an_up_is_about_to_replace_is_told_to_ask_again(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no attack: no alert fires, and the log says what was asked for all the same."""
    monkeypatch.setattr(measures, "FOLDER", tmp_path)
    client = docker.APIClient(f"unix://{site.path}", version="1.41")
    for hub, status in (("of today", 403), ("of yesterday", 503)):
        site.engine.hub = hub
        with pytest.raises(docker.errors.APIError) as caught:
            client.inspect_image("another")  # type: ignore[no-untyped-call]
        assert caught.value.status_code == status
        assert unheard(caught.value) is (status == 503)
    client.close()
    assert caught.value.explanation == UPDATING
    with site.open(METRICS) as connection:
        text = ""
        while not text.endswith('"}'):
            text += connection.recv(1 << 16).decode()
    for outcome in ("refused", "outdated"):
        assert f'call=\\"inspect_image\\",outcome=\\"{outcome}\\"}} 1.0' in text
    written = (tmp_path / FILE).read_text()
    assert written.count('"reason": "the image is none of the users') == 2


def test_who_ends_answers_what_was_asked_and_refuses_who_comes_then(site: Site) -> None:
    """The hub then knows that nothing was done, and asks the next guard."""
    asking = site.open(post(HOME))
    wait_until(lambda: site.engine.calls == 1, seconds=5)
    drained = asyncio.run_coroutine_threadsafe(site.listener.drain(30), site.loop)
    client = docker.APIClient(f"unix://{site.path}", version="1.41")

    def refused() -> bool:
        try:
            client.version(api_version=False)
        except requests.exceptions.ConnectionError as error:
            return unheard(error)
        return False

    wait_until(refused, seconds=5)
    assert not drained.done()
    site.engine.free.set()
    assert asking.recv(4096).startswith(b"HTTP/1.1 200 OK")
    asking.close()
    drained.result(timeout=5)
    client.close()


def test_an_engine_that_goes_away_in_the_middle_is_one_line_of_the_log(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def lost(_: str) -> dict[str, str]:
        raise requests.exceptions.ChunkedEncodingError("Connection broken")

    monkeypatch.setattr(site.engine, "inspect_image", lost)
    client = docker.APIClient(f"unix://{site.path}", version="1.41")
    with pytest.raises(docker.errors.APIError, match="502") as caught:
        client.inspect_image(IMAGE)  # type: ignore[no-untyped-call]
    client.close()
    assert caught.value.explanation == "the engine does not answer the guard"
    [record] = [one for one in caplog.records if one.name == "zhub.guard.server"]
    assert record.getMessage() == "GET failed: the engine does not answer: Connection broken"
    assert not record.exc_info


def test_an_answer_of_the_engine_is_no_line_of_the_log(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(_: str) -> dict[str, str]:
        answer = requests.Response()
        answer.status_code = 404
        raise docker.errors.NotFound("no such image", answer, "no such image")

    monkeypatch.setattr(site.engine, "inspect_image", gone)
    client = docker.APIClient(f"unix://{site.path}", version="1.41")
    with pytest.raises(docker.errors.ImageNotFound):
        client.inspect_image(IMAGE)  # type: ignore[no-untyped-call]
    client.close()
    assert not [one for one in caplog.records if one.name == "zhub.guard.server"]


def test_more_connections_than_there_is_room_for_wait(site: Site) -> None:
    idle = [site.open(CREATE) for _ in range(3 * MAX_OPEN)]
    assert site.has_taken(MAX_OPEN)
    waiting = site.open(VERSION)
    waiting.settimeout(0.5)
    with pytest.raises(TimeoutError):
        waiting.recv(100)
    for connection in idle:
        connection.close()
    waiting.settimeout(5)
    assert waiting.recv(100).startswith(b"HTTP/1.1 200 ")
    waiting.close()
    assert site.has_taken(0)


def test_disconnected_clients_leave_no_more_calls_than_the_limit(site: Site) -> None:
    def flood() -> None:
        for _ in range(10 * MAX_OPEN):
            with contextlib.suppress(OSError):
                site.open(post(HOME)).close()

    thread = threading.Thread(target=flood)
    thread.start()
    time.sleep(1)
    # Each connection may have started its call before it was closed.
    assert MAX_OPEN <= site.taken <= 2 * MAX_OPEN
    assert site.engine.calls <= server.THREADS
    site.engine.free.set()
    thread.join()
    assert site.status(VERSION) == b"HTTP/1.1 200 OK"
    assert site.has_taken(0)


def test_an_engine_that_hangs_keeps_waiting_only_who_asks_for_it(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Otherwise no scrape would say that it hangs, and no login be in the audit log."""
    monkeypatch.setattr(measures, "FOLDER", tmp_path)
    site.engine.hangs = True
    waiting = [site.open(VERSION) for _ in range(server.THREADS)]
    assert site.has_taken(2 * server.THREADS)
    assert site.engine.pings
    assert site.status(METRICS) == b"HTTP/1.1 200 OK"
    assert site.status(post({"Events": []}).replace(CREATE, AUDIT)) == b"HTTP/1.1 204 No Content"
    for connection in waiting:
        connection.close()


def test_an_alert_sees_the_first_refusal_of_each_call(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(measures, "FOLDER", tmp_path)
    with site.open(METRICS) as connection:
        text = ""
        while not text.endswith('"}'):
            text += connection.recv(1 << 16).decode()
    for call in ("create_container", "start_container", "unknown"):
        assert f'guard_calls_total{{call=\\"{call}\\",outcome=\\"refused\\"}} 0.0' in text


def test_an_answer_that_nobody_reads_is_given_up(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CLIENT_SECONDS", 1)
    site.engine.size = 4 << 20
    site.engine.free.set()
    deaf = [site.open(post(HOME)) for _ in range(MAX_OPEN)]
    # Not their number: on a slow machine the first are dropped before the last has arrived.
    wait_until(lambda: site.engine.calls == MAX_OPEN, seconds=30)
    assert site.status(VERSION) == b"HTTP/1.1 200 OK"
    for connection in deaf:
        connection.close()
    # A client that reads gets the whole answer.
    with site.open(post(HOME)) as connection:
        read = 0
        while part := connection.recv(1 << 16):
            read += len(part)
    assert read > site.engine.size


def test_a_large_body_is_refused(site: Site) -> None:
    site.engine.free.set()
    padding = MAX_BODY - len(json.dumps(HOME))
    assert site.status(post(json.dumps(HOME) + " " * padding)) == b"HTTP/1.1 200 OK"
    assert site.status(post(json.dumps(HOME) + " " * (padding + 1))).startswith(b"HTTP/1.1 400 ")


def test_forms_are_not_parsed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tornado would parse them before any check, and each field takes many times its size."""
    taken = []

    def take(text: bytes, **_: Any) -> dict[str, Any]:
        taken.append(text)
        return {}

    monkeypatch.setattr("tornado.httputil.parse_qs_bytes", take)
    for kind in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        assert site.status(post("a=&b=", f"Content-Type: {kind}")) == b"HTTP/1.1 403 Forbidden"
    assert not any(taken)


@pytest.mark.parametrize("fields", [MAX_FIELDS + 1, 1000])
def test_a_query_of_many_fields_is_refused(site: Site, fields: int) -> None:
    query = "&".join(f"a{number}" for number in range(fields))
    line = f"POST /v1.41/volumes/create?{query} HTTP/1.1\r\nHost: guard\r\n\r\n"
    assert site.status(line) == b"HTTP/1.1 400 Bad Request"


def test_long_headers_are_refused(site: Site) -> None:
    assert listener.MAX_HEADERS < 1 << 14
    more = f"X: {'x' * listener.MAX_HEADERS}\r\n\r\n"
    assert not site.status(f"GET /version HTTP/1.1\r\nHost: guard\r\n{more}")
    assert site.status(VERSION) == b"HTTP/1.1 200 OK"


def test_a_report_of_the_hub_is_in_the_audit_log_and_so_is_what_is_refused(
    site: Site, tmp_path: Path
) -> None:
    def answer(body: Any) -> bytes:
        return site.status(post(body).replace(CREATE, AUDIT))

    event = {"event": "logout", "at": time.time(), "user": "alice", "address": "192.0.2.7"}
    assert answer({"Events": [event]}) == b"HTTP/1.1 204 No Content"
    assert answer({"Events": [event | {"by": "guard"}]}) == b"HTTP/1.1 403 Forbidden"
    assert answer({"Events": [event], "More": 1}) == b"HTTP/1.1 403 Forbidden"
    lines = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    assert [(line["event"], line["by"]) for line in lines] == [
        ("logout", "hub"),
        ("guard.refuse", "guard"),
        ("guard.refuse", "guard"),
    ]
    assert lines[1]["call"] == "POST /v1.41/zhub/audit"
    assert lines[1]["reason"] == "an event is not known, or has other fields"


def test_reports_of_what_strangers_send_are_never_too_long(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report that the guard does not read would be sent for ever, and all others would wait."""
    client = docker.APIClient(f"unix://{site.path}", version="1.41")
    reporter = Reporter(to_guard(client))
    monkeypatch.setattr(audit, "_reporter", reporter)
    for text in ("x", "\N{GRINNING FACE}", '"', "\0"):
        for kind, fields in AUDITED.items():
            for _ in range(3):
                audit.report(kind, **dict.fromkeys(fields, text * 16_000))
    audit.report("hub.start")
    reporter.start()
    try:
        file = tmp_path / FILE
        wait_until(lambda: file.exists() and '"hub.start"' in file.read_text()[-200:], seconds=20)
    finally:
        reporter.end()
    assert len(file.read_text().splitlines()) == 4 * 3 * len(AUDITED) + 1
