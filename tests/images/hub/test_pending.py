"""What a real JupyterHub answers to who starts or stops a server that something is done with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.images.hub import real_hub, slapd
from tests.images.hub.real_hub import RealHub
from tests.images.hub.slapd import PASSWORDS

pytestmark = pytest.mark.slow

#: Servers that outlive the hub, until the file is removed, and that the hub finds slowly.
MORE = """
    from zhub.servers import pending
    pending.install()

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


#: A hub that begins to check the servers of its database some seconds after it has started.
LATE = """
    from zhub.servers import pending
    pending.install()
    from jupyterhub.app import JupyterHub

    look = JupyterHub.init_spawners


    async def init_spawners(self):
        pending.FOUND.clear()
        await asyncio.sleep(4)
        pending.FOUND.set()
        return await look(self)


    JupyterHub.init_spawners = init_spawners


    class Slow(StandIn):
        async def start(self):
            await asyncio.sleep(6)
            return await super().start()


    c.JupyterHub.spawner_class = Slow
    c.JupyterHub.init_spawners_timeout = 1
"""


@pytest.fixture
def late(tmp_path: Path, ldap: dict[str, Any]) -> Iterator[tuple[RealHub, str]]:
    """A hub that has just started and does not look yet which servers run, and alice's token."""
    with real_hub.running(tmp_path / "hub", ldap) as hub:
        hub.browser("alice", PASSWORDS["alice"])
        token = hub.token("alice", PASSWORDS["alice"]).json()["token"]
    with real_hub.running(tmp_path / "hub", ldap, more=LATE) as hub:
        yield hub, token


def test_a_start_just_before_the_hub_looks_is_not_ended_by_it(late: tuple[RealHub, str]) -> None:
    hub, token = late
    with ThreadPoolExecutor(2) as threads:
        asked = [threads.submit(hub.api, "POST", "users/alice/server", token) for _ in range(2)]
        codes = sorted(one.result().status_code for one in asked)
    assert codes == [201, 202], hub.log
    assert hub.api("GET", "users/alice", token).json()["server"]
    assert "Traceback" not in hub.log


#: A server that starts slowly, ends, and leaves what cannot be removed at once.
SLOW = """
    from zhub.servers import pending
    pending.install()


    class Slow(StandIn):
        async def start(self):
            await asyncio.sleep(3)
            return "127.0.0.1", 9

        async def stop(self, now=False):
            (FOLDER / "stopped").touch()

        async def poll(self):
            return 1

        async def run_post_stop_hook(self):
            await asyncio.sleep(5)


    c.JupyterHub.spawner_class = Slow
    c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 4}
"""


@pytest.fixture
def slow(tmp_path: Path, ldap: dict[str, Any]) -> Iterator[tuple[RealHub, str]]:
    """A hub with servers that start slowly, and alice's token."""
    with real_hub.running(tmp_path / "hub", ldap, more=SLOW) as hub:
        hub.browser("alice", PASSWORDS["alice"])
        yield hub, hub.token("alice", PASSWORDS["alice"]).json()["token"]


def test_a_start_that_fails_and_leaves_something_has_an_answer(slow: tuple[RealHub, str]) -> None:
    hub, token = slow
    answer = hub.api("POST", "users/alice/server", token)
    assert answer.status_code == 503, hub.log
    assert answer.json()["message"].startswith("Your server did not start")
    assert "InvalidStateError" not in hub.log


def test_who_interrupts_a_start_has_an_answer_and_so_has_who_asked_for_it(
    slow: tuple[RealHub, str],
) -> None:
    hub, token = slow
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(hub.api, "POST", "users/alice/server", token)
        while pending(hub, token) != "spawn":
            time.sleep(0.1)
        stopped = hub.api("DELETE", "users/alice/server", token)
        started = asked.result()
    assert (started.status_code, stopped.status_code) == (503, 204), hub.log
    assert started.json()["message"] == "Your server was stopped while it started."
    assert "Traceback" not in hub.log


#: A directory that is asked before each start, and takes its time.
ASKED = """
    from zhub.servers import pending
    pending.install()


    class Asks(DirectoryAuthenticator):
        async def refresh_user(self, user, handler=None):
            await asyncio.sleep(2)
            return await super().refresh_user(user, handler)


    class Slow(StandIn):
        async def start(self):
            await asyncio.sleep(4)
            return await super().start()


    c.JupyterHub.authenticator_class = Asks
    c.JupyterHub.spawner_class = Slow
    c.DirectoryAuthenticator.auth_refresh_age = 300
"""


def test_a_start_whose_directory_is_slow_is_shown_as_one(
    tmp_path: Path, ldap: dict[str, Any]
) -> None:
    with real_hub.running(tmp_path / "hub", ldap, more=ASKED) as hub:
        browser = hub.browser("alice", PASSWORDS["alice"])
        page = browser.get(f"{hub.url}hub/spawn", timeout=30)
    assert page.url.endswith("/hub/spawn-pending/alice"), hub.log
    assert "server/progress" in page.text, page.text
