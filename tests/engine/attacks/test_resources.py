"""Attempts to take from the others what all need: processes, memory, the hub's attention."""

from __future__ import annotations

import socket
import ssl
import textwrap
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from tests.engine.attacks.conftest import Tenant
from tests.engine.people import Entrance
from tests.hubclient import KernelError, User

pytestmark = pytest.mark.engine

#: Every process makes others until the time is up, and says so when it gets none any more.
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
    # The own server has come through.
    assert mallory.user.request("GET", "user/bob/api/status").status_code == 200


def test_a_memory_bomb_ends_at_the_limit(mallory: Tenant) -> None:
    limit = mallory.container.attrs["HostConfig"]["Memory"]
    assert limit == mallory.container.attrs["HostConfig"]["MemorySwap"]
    # In a kernel, as users do it; the kernel is ended, and the hub's client is told.
    kernel = mallory.user.start_kernel()
    with pytest.raises(KernelError, match="ended"):
        kernel.run("x = []\nwhile True: x.append(b'x' * (32 << 20))", timeout=120)
    assert mallory.container.attrs["State"]["Running"]
    assert mallory.user.request("GET", "user/bob/api/status").status_code == 200


def refused(user: User, request: bytes, body: int) -> bool:
    """Send a request and `body` bytes after it; whether that ends in a refusal."""
    url = urlsplit(user.base)
    context = ssl.create_default_context(cafile=str(user.authority))
    answer = b""
    with (
        socket.create_connection((str(url.hostname), url.port or 443), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname=url.hostname) as connection,
    ):
        try:
            connection.sendall(request)
            block = b"A" * (1 << 20)
            for _ in range(body >> 20):
                connection.sendall(block)
            answer = connection.recv(65536)
        except OSError:
            # Closed in the middle: a refusal as well.
            return True
    return not answer or answer.split()[1] in {b"400", b"413", b"414", b"431", b"503"}


def test_requests_without_measure_are_refused(entrance: Entrance, alice: Tenant) -> None:
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

    # Many at a time: together more than the hub's memory, were they kept there.
    size = 90 << 20
    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(lambda _: refused(stranger, post(size), size), range(16)))


CONNECT = textwrap.dedent(
    """
    import socket
    kept = []
    for _ in range(count):
        connection = socket.create_connection(("hub", port), timeout=10)
        connection.sendall(b"GET /hub/health HTTP/1.1\\r\\nHost: hub\\r\\nX: ")
        kept.append(connection)
    result = len(kept)
    """
)


def test_requests_that_never_end_do_not_stop_the_others(mallory: Tenant) -> None:
    assert mallory.run(CONNECT, count=400, port=8081) == 400
