"""Servers are stopped by the hub's own service, in a real JupyterHub; hours are seconds here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.images.hub import real_hub, slapd
from tests.images.hub.real_hub import RealHub
from tests.images.hub.slapd import PASSWORDS, Slapd

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with slapd.running(tmp_path_factory.mktemp("slapd")) as server:
        yield server


@contextmanager
def running(
    directory: Slapd, folder: Path, *, idle_timeout: int = 0, max_age: int = 0, reported: int = 0
) -> Iterator[RealHub]:
    """A hub that stops servers after so many seconds."""
    ldap = directory.everybody()
    more = f"""
        from zhub.servers import culling
        culler = culling.service(
            {idle_timeout}, {max_age}, environment={{}}, reported={reported}
        )
        # Here, the package is not installed.
        culler["command"].remove("-I")
        c.JupyterHub.services = [culler]
        c.JupyterHub.load_roles = [culling.ROLE]
    """
    with real_hub.running(folder, ldap, more=more) as hub:
        yield hub


def start(hub: RealHub) -> tuple[Callable[[], bool], Callable[[], int]]:
    """Start bob's server; return how to ask whether it runs, and how it says that it is in use."""
    hub.browser("bob", PASSWORDS["bob"])
    token = hub.token("bob", PASSWORDS["bob"]).json()["token"]
    assert hub.api("POST", "users/bob/server", token).status_code in {201, 202}
    servers = (hub.folder / "server-token").read_text()

    def is_up() -> bool:
        return bool(hub.api("GET", "users/bob", token).json()["servers"])

    def is_used() -> int:
        now = {"last_activity": datetime.now(UTC).isoformat()}
        body = {"servers": {"": now}, **now}
        return hub.api("POST", "users/bob/activity", servers, json=body).status_code

    assert is_up()
    return is_up, is_used


def test_a_server_is_stopped_when_it_is_no_longer_used(directory: Slapd, tmp_path: Path) -> None:
    # More than a start takes on a busy machine.
    with running(directory, tmp_path / "hub", idle_timeout=10) as hub:
        is_up, is_used = start(hub)
        begin = time.monotonic()
        while time.monotonic() < begin + 12:
            assert is_used() == 200
            assert is_up(), "it was in use"
            time.sleep(0.5)
        while is_up():
            assert time.monotonic() < begin + 60, hub.log
            time.sleep(0.2)
        assert "Culling server bob (inactive for" in hub.log


def test_a_server_that_is_used_is_stopped_at_its_greatest_age(
    directory: Slapd, tmp_path: Path
) -> None:
    with running(directory, tmp_path / "hub", max_age=4) as hub:
        is_up, is_used = start(hub)
        begin = time.monotonic()
        while is_up():
            assert time.monotonic() < begin + 60, hub.log
            is_used()
            time.sleep(0.2)
        assert time.monotonic() > begin + 2
        assert "Culling server bob (age:" in hub.log


def test_no_server_is_stopped_before_it_could_say_that_it_is_used(
    directory: Slapd, tmp_path: Path
) -> None:
    """As after a start of the hub, which knows only what was reported before it went away."""
    begin = time.monotonic()
    with running(directory, tmp_path / "hub", idle_timeout=1, reported=20) as hub:
        is_up, _ = start(hub)
        while is_up():
            assert time.monotonic() < begin + 90, hub.log
            time.sleep(0.2)
        assert time.monotonic() > begin + 20
        assert "No server is stopped yet" in hub.log
