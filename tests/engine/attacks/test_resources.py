"""Attempts to exhaust what all users share: processes, memory, the hub's time."""

from __future__ import annotations

import socket
import ssl
import textwrap
import time
from concurrent.futures import Future, ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from tests.engine.attacks.conftest import PATIENCE, Tenant
from tests.engine.people import Entrance
from tests.hubclient import KernelError, User

pytestmark = pytest.mark.engine

#: Every process forks until the time is up, and reports when a fork fails.
FORK = textwrap.dedent(
    """
    import os, time
    end = time.monotonic() + 5
    full = False
    while time.monotonic() < end:
        try:
            os.fork()
        except OSError as error:
            if not full:
                os.write(1, f"errno {error.errno};".encode())
            full = True
            time.sleep(0.05)
    """
)


def test_a_fork_bomb_ends_at_the_limit(mallory: Tenant) -> None:
    limit = mallory.container.attrs["HostConfig"]["PidsLimit"]
    assert 0 < limit <= 4096
    with ThreadPoolExecutor(1) as thread:
        bomb = thread.submit(mallory.shell, f"/opt/jupyter/bin/python3 -I -c '{FORK}' 2>&1")
        most = 0
        while not bomb.done():
            most = max(most, mallory.usage["pids_stats"].get("current", 0))
    assert "errno 11;" in bomb.result()[1]
    assert limit // 2 < most <= limit
    # The attacker's own server has survived.
    assert mallory.user.request("GET", "user/bob/api/status").status_code == 200


def test_a_memory_bomb_ends_at_the_limit(mallory: Tenant) -> None:
    limit = mallory.container.attrs["HostConfig"]["Memory"]
    assert limit == mallory.container.attrs["HostConfig"]["MemorySwap"]
    # In a kernel, as users do it; the kernel is killed, and the client is notified.
    kernel = mallory.user.start_kernel()
    with pytest.raises(KernelError, match="ended"):
        kernel.run("x = []\nwhile True: x.append(b'x' * (32 << 20))", timeout=120)
    assert mallory.container.attrs["State"]["Running"]
    assert mallory.user.request("GET", "user/bob/api/status").status_code == 200


def refused(user: User, request: bytes, body: int) -> bool:
    """Send a request and `body` bytes after it; return whether it is refused."""
    url = urlsplit(user.base)
    context = ssl.create_default_context(cafile=str(user.authority))
    answer = b""
    with (
        socket.create_connection((str(url.hostname), url.port or 443), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname=url.hostname) as connection,
    ):
        try:
            connection.sendall(request)
            block = b"A" * (1 << 20)
            for _ in range(body >> 20):
                connection.sendall(block)
            answer = connection.recv(65536)
        except TimeoutError:
            return False
        except OSError:
            # Closed halfway: a refusal as well.
            return True
    return not answer or answer.split()[1] in {b"400", b"413", b"414", b"431", b"503"}


def test_oversized_requests_are_refused(entrance: Entrance, alice: Tenant) -> None:
    stranger = entrance.browser()
    stranger.base = alice.user.base
    path = urlsplit(stranger.base).path.encode()

    def post(size: int) -> bytes:
        return (
            b"POST %shub/login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n"
        ) % (path, size)

    page = b"GET %shub/login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" % path
    assert not refused(stranger, page + b"\r\n", 0)
    assert refused(stranger, page + b"X-Padding: " + b"A" * (1 << 20) + b"\r\n\r\n", 0)
    assert refused(stranger, page.replace(b"login", b"login" + b"A" * (1 << 20)) + b"\r\n", 0)

    # Many at a time: together they are larger than the hub's memory.
    size = 90 << 20
    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(lambda _: refused(stranger, post(size), size), range(16)))
    # Small ones that never end: the hub must not wait for them.
    size = 60 << 10
    request = post(size) + b"A" * (size - 1)
    with ThreadPoolExecutor(32) as threads:
        unfinished = [threads.submit(refused, stranger, request, 0) for _ in range(32)]
        time.sleep(3)
        assert not refused(stranger, page + b"\r\n", 0)
        assert all(one.result() for one in unfinished)


#: Opens connections and leaves a request unfinished on each; how many are still open then.
CONNECT = textwrap.dedent(
    """
    import select, socket, time
    kept = []
    for _ in range(count):
        connection = socket.create_connection((host, port), timeout=10)
        connection.sendall(b"GET /hub/health HTTP/1.1\\r\\nHost: hub\\r\\nX: ")
        kept.append(connection)
    time.sleep(5)
    closed, _, _ = select.select(kept, [], [], 0)
    result = len(kept) - len(closed)
    for connection in kept: connection.close()
    """
)

#: Reads everything and answers nothing, as the hub does with an unfinished request.
LISTEN = textwrap.dedent(
    """
    import socket
    listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
    result = listener.getsockname()[1]
    """
)


def test_requests_that_never_end_do_not_block_others(mallory: Tenant) -> None:
    own = mallory.run(LISTEN)
    assert mallory.run(CONNECT, count=400, host="127.0.0.1", port=own) == 400
    # The server itself may have one of the connections.
    assert 16 < mallory.run(CONNECT, count=400, host="hub", port=8081) <= 32


#: Requests a page as often as it can, on many connections; prints the number of answers.
FLOOD = textwrap.dedent(
    """
    import http.client, threading, time
    end = time.monotonic() + seconds
    answers = []
    def ask():
        while time.monotonic() < end:
            try:
                connection = http.client.HTTPConnection(host, port, timeout=5)
                while time.monotonic() < end:
                    connection.request("GET", path)
                    connection.getresponse().read()
                    answers.append(1)
            except (OSError, http.client.HTTPException):
                time.sleep(0.01)
    threads = [threading.Thread(target=ask) for _ in range(40)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    result = len(answers)
    """
)

#: A server to test the flood on.
SERVE = textwrap.dedent(
    """
    import http.server, threading
    class Page(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"page")
        def log_message(self, *_): pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    result = server.server_address[1]
    """
)


def test_a_server_that_floods_the_hub_slows_itself(
    mallory: Tenant, alice: Tenant, entrance: Entrance
) -> None:
    seconds = 15
    path = f"{urlsplit(alice.user.base).path}hub/login"
    page = entrance.browser()
    page.base = alice.user.base

    def times(flood: Future[int] | None) -> list[float]:
        """Return the seconds that a stranger's pages take, sorted."""
        found: list[float] = []
        while len(found) < 40 if flood is None else not flood.done():
            begin = time.monotonic()
            page.request("GET", "hub/login").raise_for_status()
            found.append(time.monotonic() - begin)
            time.sleep(0.1)
        return sorted(found)

    own = mallory.run(SERVE)
    unlimited = mallory.run(FLOOD, host="127.0.0.1", port=own, path="/", seconds=5)
    quiet = times(None)
    with ThreadPoolExecutor(1) as thread:
        flood = thread.submit(mallory.run, FLOOD, host="hub", port=8081, path=path, seconds=seconds)
        flooded = times(flood)
    for name, found in (("quiet", quiet), ("flooded", flooded)):
        p50, p95 = found[len(found) // 2], found[len(found) * 95 // 100]
        print(f"{name}: p50 {p50:.3f} s, p95 {p95:.3f} s")
    print(f"{flood.result()} answers in {seconds} s, {unlimited} of its own server in 5 s")
    # A hundred at once and ten a second; the others waited.
    assert flood.result() < 100 + 10 * (seconds + 10)
    assert unlimited > 200
    # On any machine: pages take at most a few times as long, and none hangs.
    assert flooded[len(flooded) // 2] < 4 * quiet[len(quiet) // 2] + 0.05
    assert flooded[-1] < PATIENCE
