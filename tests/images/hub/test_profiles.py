"""What becomes of the profile that was chosen last when a stack's profiles change."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.images.hub import real_hub, slapd
from tests.images.hub.profiles import described
from tests.images.hub.real_hub import RealHub
from tests.images.hub.slapd import PASSWORDS

pytestmark = pytest.mark.slow


def offering(*names: str) -> str:
    """Configuration of a hub whose servers have these profiles, which everybody may choose."""
    listed = json.dumps([described(name, groups=[]) for name in names])
    return textwrap.dedent(
        f"""
        from zhub.servers.choosing import ChoosingSpawner
        from zhub.settings import profiles


        class Chooses(ChoosingSpawner):
            start, stop, poll = StandIn.start, StandIn.stop, StandIn.poll


        c.JupyterHub.spawner_class = Chooses
        c.Chooses.profiles = list(profiles.parser("image")({listed!r}))
        """
    )


def options(hub: RealHub, token: str) -> dict[str, Any]:
    """What alice's server was started with; it is then stopped."""
    [server] = hub.api("GET", "users/alice", token).json()["servers"].values()
    assert hub.api("DELETE", "users/alice/server", token).status_code in {202, 204}
    found: dict[str, Any] = server["user_options"]
    return found


def opened(hub: RealHub, browser: requests.Session) -> requests.Response:
    """The answer to the page that starts alice's server; a redirect if there is nothing to ask."""
    return browser.get(f"{hub.url}hub/spawn/alice", allow_redirects=False, timeout=30)


def test_a_profile_that_is_renamed_or_removed_keeps_nobody_from_a_server(tmp_path: Path) -> None:
    server, folder = "users/alice/server", tmp_path / "hub"
    with slapd.running(tmp_path / "slapd") as directory:
        ldap = directory.everybody()
        with real_hub.running(folder, ldap, more=offering("standard", "large")) as hub:
            alice = hub.browser("alice", PASSWORDS["alice"])
            token = hub.token("alice", PASSWORDS["alice"]).json()["token"]
            assert hub.api("POST", server, token, json={"profile": "large"}).status_code == 201
            assert options(hub, token) == {"profile": "large"}
        with real_hub.running(folder, ldap, more=offering("standard", "huge")) as hub:
            # As a program that starts servers for a class, or one that restarts old ones.
            assert hub.api("POST", server, token).status_code == 201, hub.log
            assert options(hub, token) == {"profile": "standard"}
            refused = hub.api("POST", server, token, json={"profile": "large"})
            assert refused.status_code == 403
            assert hub.api("POST", server, token, json={"profile": "huge"}).status_code == 201
            assert hub.api("POST", server, token).status_code == 400, "it runs"
            assert options(hub, token) == {"profile": "huge"}
        with real_hub.running(folder, ldap, more=offering("small")) as hub:
            assert opened(hub, alice).status_code == 302, hub.log
            assert options(hub, token) == {"profile": "small"}
        with real_hub.running(folder, ldap, more=offering()) as hub:
            assert opened(hub, alice).status_code == 302, hub.log
            assert options(hub, token) == {}
