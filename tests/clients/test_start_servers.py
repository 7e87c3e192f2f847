"""The client that starts servers, against a real JupyterHub."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from zhub.settings.ldap import LdapTls

from tests.images.hub import real_hub, slapd
from tests.images.hub.real_hub import RealHub
from tests.images.hub.slapd import PASSWORDS, SUFFIX
from toolchain.places import ROOT

pytestmark = pytest.mark.slow

TOKEN = "0123456789abcdef" * 4

MORE = """
    c.JupyterHub.services = [{"name": "class-start", "api_token": "%s"}]
    c.JupyterHub.load_roles = [
        {
            "name": "class-start",
            "scopes": [
                f"{scope}!user={name}"
                for name in ("alice", "bob")
                for scope in ("list:users", "start:servers", "read:servers")
            ],
            "services": ["class-start"],
        }
    ]
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHub]:
    """A hub that runs one server at a time, where alice, bob and carol have logged in."""
    with slapd.running(tmp_path_factory.mktemp("slapd")) as directory:
        ldap: dict[str, Any] = {
            "servers": ("127.0.0.1",),
            "port": directory.port,
            "tls": LdapTls.NONE,
            "dn_templates": (f"uid={{username}},ou=people,{SUFFIX}",),
            "allow_everyone": True,
        }
        with real_hub.running(tmp_path_factory.mktemp("hub"), ldap, more=MORE % TOKEN) as hub:
            for name in ("alice", "bob", "carol"):
                hub.browser(name, PASSWORDS[name])
            yield hub


def client(
    hub: RealHub, folder: Path, *arguments: str, token: str = TOKEN
) -> subprocess.CompletedProcess[str]:
    file = folder / "token"
    file.write_text(f"{token}\n")
    return subprocess.run(
        [
            *(sys.executable, "-I", str(ROOT / "clients" / "start_servers.py")),
            *(hub.url, "--token", str(file), *arguments),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_server_is_started_once_and_what_fails_is_named(hub: RealHub, tmp_path: Path) -> None:
    done = client(hub, tmp_path, "bob")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("bob: ready after")
    # Alice's does not start beside it: the stand-in for a server has one port.
    done = client(hub, tmp_path, "--all", "--timeout", "20")
    assert done.returncode == 1
    assert done.stdout.startswith("bob: ready already after")
    assert done.stderr.startswith("alice: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["carol", "nobody"])
def test_others_are_not_started(hub: RealHub, tmp_path: Path, name: str) -> None:
    done = client(hub, tmp_path, name)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{name}: ")
    assert "none that the token is for) [404]" in done.stderr
    assert TOKEN not in json.dumps(done.stderr)


def test_a_token_that_is_not_valid_and_a_hub_that_is_not_there(
    hub: RealHub, tmp_path: Path
) -> None:
    done = client(hub, tmp_path, "--all", token="of somebody else")
    assert (done.returncode, done.stdout) == (1, "")
    assert "[403]" in done.stderr
    gone = RealHub("http://127.0.0.1:9/", hub.folder, hub.process)
    done = client(gone, tmp_path, "bob")
    assert done.stderr.startswith("bob: http://127.0.0.1:9/hub/api does not answer: ")
    assert "Traceback" not in done.stderr


def test_names_or_all(hub: RealHub, tmp_path: Path) -> None:
    for wrong in ((), ("bob", "--all")):
        done = client(hub, tmp_path, *wrong)
        assert done.returncode == 2
        assert "give users' names, or --all" in done.stderr
