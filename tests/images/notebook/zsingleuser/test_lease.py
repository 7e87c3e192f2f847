"""A server that does not reach its hub ends with its lease, whatever its programs do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import zsingleuser
from zhub import contract
from zsingleuser import lease
from zsingleuser.lease import Lease, boottime

PACKAGES = Path(zsingleuser.__file__).parents[1]

#: Watches a child that only waits, as the first process does with a server; it renews so often.
WATCHES = """
import os, signal, sys, time
from zsingleuser import first, lease
lease.LOOK = 0.05
own = lease.Lease(0.4)
server = os.fork()
if not server:
    for _ in range(int(sys.argv[1])):
        own.renew(lease.boottime())
        time.sleep(0.2)
    time.sleep(60)
print(server, flush=True)
began = time.monotonic()
status = first.watch(server, own)
print(status, time.monotonic() - began, flush=True)
# As Python does when it ends, while timers go on.
signal.signal(signal.SIGALRM, signal.SIG_DFL)
time.sleep(0.2)
"""


class Clock:
    """Seconds that pass only as the test says."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_it_is_over_when_nothing_was_said_for_its_time() -> None:
    clock = Clock()
    own = Lease(180, clock)
    clock.now += 180
    assert not own.over()
    own.renew(clock.now)
    assert not own.over()
    clock.now += 180
    assert not own.over()
    clock.now += 0.1
    assert own.over()


def test_much_may_be_said_between_two_looks() -> None:
    own = Lease(180)
    for _ in range(100_000):
        own.renew(boottime())
    assert not own.over()


def test_an_answer_counts_from_when_it_was_asked_for() -> None:
    """The hub may have removed the server while its answer was on its way."""
    clock = Clock()
    own = Lease(180, clock)
    sent = clock.now + 10
    clock.now += 100
    own.renew(sent)
    own.renew(sent - 10)  # a late one of before changes nothing
    assert not own.over()
    clock.now = sent + 180.1
    assert own.over()


def test_what_the_server_starts_cannot_renew_it() -> None:
    own = Lease(180)
    assert not os.get_inheritable(own._writing)


@pytest.mark.slow
@pytest.mark.parametrize(("renewals", "least"), [(0, 0.4), (4, 1.0)])
def test_the_first_process_ends_a_server_whose_lease_is_over(renewals: int, least: float) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WATCHES, str(renewals)],
        env={**os.environ, "PYTHONPATH": str(PACKAGES)},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    status, seconds = ended.stdout.splitlines()[-1].split()
    assert int(status) == 128 + signal.SIGKILL
    assert float(seconds) >= least
    assert "the hub has not answered for 0.4 s, so this server ends" in ended.stderr


@pytest.mark.slow
def test_a_stopped_server_ends_as_well() -> None:
    """Its programs may stop it; nobody stops the first process."""
    watching = subprocess.Popen(
        [sys.executable, "-c", WATCHES, "0"],
        env={**os.environ, "PYTHONPATH": str(PACKAGES)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert watching.stdout
    os.kill(int(watching.stdout.readline()), signal.SIGSTOP)
    assert watching.stdout.readline().startswith(f"{128 + signal.SIGKILL} ")
    watching.wait(10)


@pytest.fixture
def hub() -> Iterator[tuple[str, list[str], Callable[[int], None]]]:
    """A hub's address, the tokens that it was asked with, and a way to have it answer otherwise."""
    tokens: list[str] = []
    status = [200]

    class Api(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            tokens.append(f"{self.path} {self.headers['Authorization']}")
            if not status[0]:
                self.wfile.write(b"HTT\r\n")  # as from one that is killed meanwhile
                return
            self.send_response(status[0])
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(code: int) -> None:
        status[0] = code

    yield f"http://127.0.0.1:{server.server_port}/hub/api", tokens, answer
    server.shutdown()
    server.server_close()


class Noted(Lease):
    renewed = 0

    def renew(self, sent: float) -> None:
        assert sent <= boottime()
        self.renewed += 1


@pytest.mark.slow
def test_the_hubs_answers_renew_it_and_errors_do_not(
    hub: tuple[str, list[str], Callable[[int], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEWAL", 0.02)
    url, tokens, answer = hub
    own = Noted(180)
    own.keep({"JUPYTERHUB_API_URL": url, "JUPYTERHUB_API_TOKEN": "abc"})
    wait_for(lambda: own.renewed >= 2)
    assert set(tokens) == {"/hub/api/user token abc"}
    for code in (0, 403):
        answer(code)
        asked = len(tokens)
        wait_for(lambda asked=asked: len(tokens) >= asked + 2)  # type: ignore[misc]
    before, asked = own.renewed, len(tokens)
    wait_for(lambda: len(tokens) >= asked + 3)
    assert own.renewed == before
    answer(200)
    wait_for(lambda: own.renewed > before)


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_guard_gives_it_by_the_same_variable() -> None:
    assert lease.VARIABLE == contract.LEASE
    # Also where each answer takes as long as it may.
    assert contract.LEASE_SECONDS > lease.RENEWAL + 2 * lease.ANSWER


def test_only_where_the_environment_says_so() -> None:
    assert lease.of({}) is None
    assert lease.of({lease.VARIABLE: ""}) is None
    assert lease.of({lease.VARIABLE: "180"}) is not None
