"""A caller that sends too many requests waits, and nobody else does."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
from tornado import ioloop, web
from zhub.front import limits
from zhub.front.limits import CONNECTIONS, PATIENCE, Buckets, LimitedServer, Rate

pytestmark = pytest.mark.slow


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class TestBuckets:
    """Buckets of requests."""

    rate = Rate(burst=10, per_second=2)

    def test_a_burst_is_free_and_then_there_is_a_pace(self) -> None:
        clock = Clock()
        buckets = Buckets(self.rate, clock)
        assert [buckets.take("a") for _ in range(12)] == [0] * 10 + [0.5, 1.0]
        assert buckets.take("b") == 0
        clock.now += 1.5
        assert buckets.take("a") == 0
        clock.now += 100
        assert [buckets.take("a") for _ in range(11)] == [0] * 10 + [0.5]

    def test_a_request_that_would_wait_too_long_is_not_counted(self) -> None:
        clock = Clock()
        buckets = Buckets(self.rate, clock)
        waits = [buckets.take("a") for _ in range(1000)]
        assert max(waits) == PATIENCE + 0.5
        clock.now += 1
        assert buckets.take("a") == PATIENCE - 0.5

    def test_the_number_of_remembered_callers_is_limited(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "BUCKETS", 10)
        buckets = Buckets(self.rate, Clock())
        for number in range(1000):
            buckets.take(f"a{number}")
        assert len(buckets._empty_until) == 10


BODY_TIMEOUT = 4


class Page(web.RequestHandler):
    def get(self) -> None:
        self.finish("page")

    def post(self) -> None:
        self.finish(str(len(self.request.body)))


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server with small limits, in a thread."""
    monkeypatch.setattr(limits, "SERVER", Rate(burst=5, per_second=10))
    monkeypatch.setattr(limits, "OUTSIDE", Rate(burst=5, per_second=10))
    monkeypatch.setattr(limits, "PATIENCE", 1.0)
    monkeypatch.setattr(limits, "HEADER_SECONDS", 6)
    monkeypatch.setattr(limits, "BODY_SECONDS", BODY_TIMEOUT)
    ready = threading.Event()
    running: dict[str, Any] = {}

    def serve() -> None:
        loop = ioloop.IOLoop()

        def start() -> None:
            server = LimitedServer(web.Application([("/", Page)]))
            server.listen(0, "127.0.0.1")
            sockets: Any = server._sockets
            running["port"] = next(iter(sockets.values())).getsockname()[1]
            running["loop"] = loop
            ready.set()

        loop.add_callback(start)
        loop.start()
        loop.close(all_fds=True)

    thread = threading.Thread(target=serve)
    thread.start()
    ready.wait(10)
    yield running["port"]
    running["loop"].add_callback(running["loop"].stop)
    thread.join()


def connected(port: int, peer: str) -> http.client.HTTPConnection:
    """Connect from one of loopback's many addresses; 127.0.0.1 is the proxy's."""
    return http.client.HTTPConnection("127.0.0.1", port, timeout=10, source_address=(peer, 0))


def ask(
    connection: http.client.HTTPConnection, body: bytes | None = None, forwarded: str = ""
) -> tuple[int, bytes]:
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    connection.request("POST" if body is not None else "GET", "/", body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def seconds(port: int, peer: str, requests: int, **more: Any) -> float:
    begin = time.monotonic()
    with closing(connected(port, peer)) as connection:
        for _ in range(requests):
            assert ask(connection, **more) == (200, b"page")
    return time.monotonic() - begin


def test_a_server_that_floods_the_hub_waits_and_another_does_not(port: int) -> None:
    flood = threading.Thread(target=lambda: seconds(port, "127.0.0.2", 20))
    begin = time.monotonic()
    flood.start()
    time.sleep(0.3)
    assert seconds(port, "127.0.0.3", 5) < 0.3
    flood.join()
    # Twenty requests, of which five need not wait.
    assert 1.3 < time.monotonic() - begin < 4


def test_a_body_that_comes_with_a_request_that_waits_is_not_lost(port: int) -> None:
    seconds(port, "127.0.0.2", 5)
    with closing(connected(port, "127.0.0.2")) as connection:
        assert ask(connection, b"x" * 60_000) == (200, b"60000")


def test_without_the_proxy_a_forwarded_address_is_ignored(port: int) -> None:
    seconds(port, "127.0.0.2", 5)
    assert seconds(port, "127.0.0.2", 3, forwarded="127.0.0.1") > 0.2


def test_the_hub_itself_is_not_held_up(port: int) -> None:
    assert seconds(port, "127.0.0.1", 50) < 1


def test_a_forged_loopback_address_is_held_up(port: int) -> None:
    assert seconds(port, "127.0.0.1", 8, forwarded="192.0.2.1, 127.0.0.1") > 0.2


def test_outside_addresses_are_counted_separately(port: int) -> None:
    for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1"):
        assert seconds(port, "127.0.0.1", 5, forwarded=address) < 0.3
    # The same network, in which one machine can have any address.
    assert seconds(port, "127.0.0.1", 3, forwarded="2001:db8::2") > 0.2
    # Only the last address is from the proxy.
    assert seconds(port, "127.0.0.1", 8, forwarded="192.0.2.9, 192.0.2.1") > 0.2


def test_an_address_outside_that_asks_far_too_much_is_refused(port: int) -> None:
    connections = [connected(port, "127.0.0.1") for _ in range(40)]
    for connection in connections:
        connection.request("POST", "/", b"x" * 1000, {"X-Forwarded-For": "192.0.2.1"})
    answers = [connection.getresponse() for connection in connections]
    statuses = [answer.status for answer in answers]
    assert set(statuses) == {200, 429}
    assert 10 <= statuses.count(200) <= 25
    refused = answers[statuses.index(429)]
    assert refused.read().startswith(b"Too many requests")
    assert refused.getheader("Retry-After")
    for connection in connections:
        connection.close()


def open_ones(sockets: list[socket.socket]) -> int:
    """Return how many of the connections get an answer."""
    answered = 0
    for one in sockets:
        try:
            one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answered += one.recv(100).startswith(b"HTTP/1.1 200")
        except OSError:
            continue
    return answered


def test_a_servers_connections_are_limited(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PATIENCE", 60)

    def connect(peer: str) -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), 10, (peer, 0))

    many = [connect("127.0.0.2") for _ in range(CONNECTIONS + 20)]
    others = [connect("127.0.0.3")]
    proxys = [connect("127.0.0.1") for _ in range(CONNECTIONS + 20)]
    time.sleep(0.2)
    assert open_ones(others) == 1
    assert open_ones(proxys) == len(proxys)
    assert open_ones(many) == CONNECTIONS
    for one in many:
        one.close()
    time.sleep(0.2)
    again = [connect("127.0.0.2") for _ in range(3)]
    assert open_ones(again) == 3
    for one in (*others, *proxys, *again):
        one.close()


def test_a_silent_connection_is_closed_unless_it_is_the_proxys(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers = socket.create_connection(("127.0.0.1", port), 10, ("127.0.0.2", 0))
    proxys = socket.create_connection(("127.0.0.1", port), 10)
    with servers, proxys:
        servers.sendall(b"GET / HTTP/1.1\r\nX: ")
        assert servers.recv(100) == b""
        assert open_ones([proxys]) == 1


def unfinished(port: int, address: str, size: int, times: int) -> list[socket.socket]:
    """Send requests through the proxy, without the last byte of their bodies."""
    request = (
        "POST / HTTP/1.1\r\nHost: x\r\n"
        f"X-Forwarded-For: {address}\r\nContent-Length: {size}\r\n\r\n"
    ).encode() + b"x" * (size - 1)
    sent = []
    for _ in range(times):
        one = socket.create_connection(("127.0.0.1", port), 10)
        with suppress(OSError):
            one.sendall(request)
        sent.append(one)
    return sent


def received(one: socket.socket) -> bytes:
    """Return what a connection has received so far."""
    one.setblocking(False)
    try:
        return one.recv(100)
    except BlockingIOError:
        return b"nothing"
    except OSError:
        return b""


def test_bodies_that_never_end_are_limited_and_time_out(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PATIENCE", 60)
    monkeypatch.setattr(limits, "HELD", 20 * (limits.REQUEST + limits.BODY_SIZE))
    monkeypatch.setattr(limits, "HELD_IN_ALL", 30 * (limits.REQUEST + limits.BODY_SIZE))
    many = unfinished(port, "192.0.2.1", limits.BODY_SIZE, 40)
    time.sleep(0.3)
    answers = [received(one) for one in many]
    assert answers.count(b"nothing") == 20
    assert all(one == b"nothing" or b" 429 " in one or one == b"" for one in answers)
    # Other addresses have room, up to the limit for all.
    others = unfinished(port, "192.0.2.2", limits.BODY_SIZE, 15)
    time.sleep(0.3)
    assert [received(one) for one in others].count(b"nothing") == 10
    with closing(connected(port, "127.0.0.1")) as connection:
        assert ask(connection)[0] == 200
    # They time out, and release all memory.
    time.sleep(BODY_TIMEOUT + 3)
    assert b"nothing" not in [received(one) for one in (*many, *others)]
    again = unfinished(port, "192.0.2.1", limits.BODY_SIZE, 20)
    time.sleep(0.3)
    assert [received(one) for one in again].count(b"nothing") == 20
    for one in (*many, *others, *again):
        one.close()


def test_an_oversized_body_is_refused(port: int) -> None:
    for header in ("Content-Length: 65537", "Content-Length: 9" + "9" * 30, "Content-Length: x"):
        with socket.create_connection(("127.0.0.1", port), 10) as one:
            start = "POST / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\n"
            one.sendall(f"{start}{header}\r\n\r\n".encode())
            assert one.recv(100).startswith(b"HTTP/1.1 400")


def test_answered_requests_hold_no_memory(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HELD", 2 * limits.REQUEST)
    for _ in range(3):
        with closing(connected(port, "127.0.0.1")) as connection:
            for _ in range(3):
                assert ask(connection, b"x" * 100, "192.0.2.1") == (200, b"100")
