"""Stopping a server while a real JupyterHub that has just started looks whether it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.images.hub import real_hub, slapd
from tests.images.hub.real_hub import RealHub
from tests.images.hub.slapd import PASSWORDS

pytestmark = pytest.mark.slow

#: Servers that outlive the hub, until the file is removed, and that the hub finds slowly.
MORE = """
    from zhub.servers import stopping
    stopping.install()

    RUNS = FOLDER / "runs"


    class Outlives(StandIn):
        async def start(self):
            RUNS.touch()
            return await super().start()

        async def stop(self, now=False):
            RUNS.unlink()
            await super().stop()

        async def poll(self):
            if not RUNS.exists():
                return 0
            if not hasattr(self, "runs"):
                self.runs = web.Application([("/.*", Page)]).listen(self.server.port, "127.0.0.1")
                await asyncio.sleep(4)
            return None if RUNS.exists() else 0


    c.JupyterHub.spawner_class = Outlives
    c.JupyterHub.init_spawners_timeout = 1
"""


@pytest.fixture
def ldap(tmp_path: Path) -> Iterator[dict[str, Any]]:
    with slapd.running(tmp_path / "slapd") as server:
        yield server.everybody()


@pytest.fixture
def token(tmp_path: Path, ldap: dict[str, Any]) -> str:
    """Alice's, whose server runs when this hub has ended."""
    with real_hub.running(tmp_path / "hub", ldap, more=MORE) as hub:
        hub.browser("alice", PASSWORDS["alice"])
        made = str(hub.token("alice", PASSWORDS["alice"]).json()["token"])
        assert hub.api("POST", "users/alice/server", made).status_code == 201
    return made


def pending(hub: RealHub, token: str) -> object:
    return hub.api("GET", "users/alice", token).json()["pending"]


def test_it_is_stopped_when_the_hub_has_looked(
    tmp_path: Path, ldap: dict[str, Any], token: str
) -> None:
    with real_hub.running(tmp_path / "hub", ldap, more=MORE) as hub:
        assert pending(hub, token) == "check"
        stopped = hub.api("DELETE", "users/alice/server", token)
        assert stopped.status_code == 204, hub.log
        assert not (hub.folder / "runs").exists()
        # As at any time, the next start is a new one.
        assert hub.api("POST", "users/alice/server", token).status_code == 201
        assert "Traceback" not in hub.log


def test_one_that_has_ended_meanwhile_is_none_that_cannot_be_stopped(
    tmp_path: Path, ldap: dict[str, Any], token: str
) -> None:
    with real_hub.running(tmp_path / "hub", ldap, more=MORE) as hub:
        assert pending(hub, token) == "check"
        (hub.folder / "runs").rename(hub.folder / "ended")
        stopped = hub.api("DELETE", "users/alice/server", token)
        assert stopped.status_code == 204, hub.log
