"""Services and roles of the site in a real JupyterHub: what they can do, and what is left later."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.images.hub import real_hub, slapd
from tests.images.hub.real_hub import RealHub
from tests.images.hub.slapd import PASSWORDS, SUFFIX, Slapd

pytestmark = pytest.mark.slow

FIRST, SECOND = "0123456789abcdef" * 4, "fedcba9876543210" * 4

#: As zhub/jupyterhub_config.py does it, with the most that JupyterHub logs.
MORE = """
    import json, os
    from zhub import settings
    from zhub.login import administrators, services

    c.JupyterHub.log_level = "DEBUG"
    found = settings.services.Services(**{{
        "services": settings.services._services({services!r}),
        "roles": settings.services._roles({roles!r}),
        "tokens_file": FOLDER / "tokens.json",
    }})
    c.JupyterHub.services = services.declared(found)
    c.JupyterHub.load_roles = services.roles(found)
    services.take_tokens(found.tokens_file)
    c.DirectoryAuthenticator.manage_groups = True
    administrators.keep_out(of_groups=found.by_groups)
"""

SCOPES = ["start:servers!user=bob", "read:servers!user=bob"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with slapd.running(tmp_path_factory.mktemp("slapd")) as server:
        yield server


@contextmanager
def running(
    directory: Slapd, folder: Path, tokens: dict[str, str], roles: list[Any]
) -> Iterator[RealHub]:
    """A hub with a service for each token, in a folder that may have been a hub's before."""
    ldap = directory.everybody() | {"group_base": f"ou=groups,{SUFFIX}"}
    folder.mkdir(exist_ok=True)
    (folder / "tokens.json").write_text(json.dumps(tokens))
    services = [{"name": name, "scopes": SCOPES} for name in tokens]
    more = MORE.format(services=json.dumps(services), roles=json.dumps(roles))
    with real_hub.running(folder, ldap, more=more) as hub:
        yield hub


def statuses(hub: RealHub, token: str) -> list[int]:
    """What the hub answers when asked who asks, about bob, about alice, and for all users."""
    paths = ("user", "users/bob", "users/alice", "users")
    return [hub.api("GET", path, token).status_code for path in paths]


def test_a_service_does_what_its_scopes_say_until_its_token_is_changed_or_it_is_removed(
    directory: Slapd, tmp_path: Path
) -> None:
    folder = tmp_path / "hub"
    tutors = {"name": "tutors", "scopes": ["list:users"], "users": ["alice"]}
    with running(directory, folder, {"class-start": FIRST}, [tutors]) as hub:
        for name in ("alice", "bob"):
            hub.browser(name, PASSWORDS[name])
        assert statuses(hub, FIRST) == [200, 200, 404, 403]
        assert hub.api("GET", "user", FIRST).json()["name"] == "class-start"
        assert hub.api("POST", "users/bob/server", FIRST).status_code in {201, 202}
        for method, path in (
            ("POST", "users/alice/server"),
            ("DELETE", "users/bob/server"),
            ("POST", "users/bob/tokens"),
            ("POST", "users/mallory"),
            ("POST", "services/other"),
            ("POST", "shutdown"),
            ("PATCH", "proxy"),
        ):
            assert hub.api(method, path, FIRST).status_code in {403, 404}, path
        alices = hub.token("alice", PASSWORDS["alice"]).json()["token"]
        bobs = hub.token("bob", PASSWORDS["bob"]).json()["token"]
        assert len(hub.api("GET", "users", alices).json()) > 1
        assert hub.api("GET", "users", bobs).status_code == 403

    with running(directory, folder, {"class-start": SECOND}, []) as hub:
        assert statuses(hub, FIRST) == [403, 403, 403, 403]
        assert statuses(hub, SECOND) == [200, 200, 404, 403]
        assert hub.api("GET", "users", alices).status_code == 403

    with running(directory, folder, {}, []) as hub:
        assert statuses(hub, SECOND) == [403, 403, 403, 403]
        with sqlite3.connect(hub.database) as database:
            for table in ("services", "roles"):
                names = {row[0] for row in database.execute(f"SELECT name FROM {table}")}  # noqa: S608 - one of these two
                assert not names & {"class-start", "tutors"}
            [left] = database.execute(
                "SELECT count(*) FROM api_tokens WHERE service_id IS NOT NULL"
            ).fetchone()
            assert left == 0
        database.close()
        assert "\n[D " in hub.log
        for token in (FIRST, SECOND):
            assert token not in hub.log


def test_an_administrator_takes_no_right_that_a_group_gives(
    directory: Slapd, tmp_path: Path
) -> None:
    """Groups are the directory's; JupyterHub would let administrators change them as well."""
    role = {"name": "inspectors", "scopes": ["access:servers", "tokens"], "groups": ["inspectors"]}
    with running(directory, tmp_path / "hub", {}, [role]) as hub:
        hub.browser("bob", PASSWORDS["bob"])
        carol = hub.token("carol", PASSWORDS["carol"]).json()["token"]
        assert hub.api("GET", "users/bob", carol).status_code == 200, "an administrator"
        assert "inspectors" in [one["name"] for one in hub.api("GET", "groups", carol).json()]
        for method, path in (
            ("POST", "groups/inspectors/users"),
            ("POST", "groups/another"),
            ("DELETE", "groups/inspectors"),
        ):
            answer = hub.api(method, path, carol, json={"users": ["carol"]})
            assert answer.status_code in {403, 404}, path
        assert hub.api("POST", "users/bob/tokens", carol).status_code in {403, 404}
