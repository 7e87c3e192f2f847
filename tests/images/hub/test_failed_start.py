"""What a real JupyterHub shows of a server that ended while it started."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import requests

from tests.images.hub import real_hub, slapd
from tests.images.hub.slapd import PASSWORDS

pytestmark = pytest.mark.slow

#: A spawner whose server says its last words to the hub, and ends.
MORE = """
    import json, os
    from tornado.httpclient import AsyncHTTPClient
    from zhub.servers import last_words
    c.JupyterHub.extra_handlers = last_words.HANDLERS


    class Ends(StandIn):
        last_words = []

        async def start(self):
            env = self.get_env()
            (FOLDER / "server-token").write_text(self.api_token)
            await AsyncHTTPClient().fetch(
                env["JUPYTERHUB_ACTIVITY_URL"].removesuffix("activity") + "last-words",
                method="POST",
                headers={"Authorization": f"token {self.api_token}"},
                body=json.dumps({"lines": ["Traceback", "OSError: <No space left on device>"]}),
            )
            raise last_words.EndedError(self.user.name, 0, self.last_words)


    c.JupyterHub.spawner_class = Ends
"""


def test_the_page_and_the_log_have_the_last_lines_of_the_servers_log(tmp_path: Path) -> None:
    with slapd.running(tmp_path / "slapd") as server:
        ldap = server.everybody()
        with real_hub.running(tmp_path / "hub", ldap, more=MORE) as hub:
            alice = hub.browser("alice", PASSWORDS["alice"])
            alice.get(f"{hub.url}hub/spawn/alice", timeout=30)
            end = time.monotonic() + 60
            while "No space left" not in (page := _pending(alice, hub.url)):
                assert time.monotonic() < end, hub.log
                time.sleep(0.2)
            assert "Your server ended while it started. The disk with your home is full." in page
            assert "OSError: &lt;No space left on device&gt;</pre>" in page
            assert "server of alice: OSError: <No space left on device>" in hub.log

            token = (hub.folder / "server-token").read_text()
            for name in ("alice", "bob"):
                late = hub.api(
                    "POST",
                    f"users/{name}/last-words",
                    token,
                    data=json.dumps({"lines": ["too late"]}),
                )
                assert late.status_code in {403, 404}, "only while it starts, and of its own"
            assert "too late" not in hub.log


def test_of_a_start_that_fails_late_the_log_has_one_line(tmp_path: Path) -> None:
    """The page that asked for the server has been answered by then."""
    late = MORE.replace(
        "async def start(self):", "async def start(self):\n            await sleep(3)"
    )
    settings = """
    from asyncio import sleep
    c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 1}
    """
    with slapd.running(tmp_path / "slapd") as server:
        ldap = server.everybody()
        with real_hub.running(tmp_path / "hub", ldap, more=settings + late) as hub:
            alice = hub.browser("alice", PASSWORDS["alice"])
            assert "spawn-pending" in alice.get(f"{hub.url}hub/spawn/alice", timeout=30).url
            end = time.monotonic() + 60
            while "Your server ended while it started" not in _pending(alice, hub.url):
                assert time.monotonic() < end, hub.log
                time.sleep(0.2)
            failed = "Error starting alice's server: The server of alice ended while it started: 0"
            assert failed in hub.log
            assert "Traceback (most recent call last)" not in hub.log


def _pending(session: requests.Session, url: str) -> str:
    return session.get(f"{url}hub/spawn-pending/alice", timeout=30).text
