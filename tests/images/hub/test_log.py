"""A real JupyterHub with its services logs lines that a program can read, and no secrets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.built import wait_until
from tests.images.hub import real_hub, slapd
from tests.images.hub.slapd import PASSWORDS, Slapd

pytestmark = pytest.mark.slow

#: As zhub/__main__.py and zhub/jupyterhub_config.py do it.
MORE = """
    from zhub import logs
    from zhub.servers import culling
    from zhub.servers.hub import JupyterHub
    environment = {{"ZHUB_LOG_LEVEL": "debug", "ZHUB_LOG_FORMAT": {form!r}}}
    logs.begin(environment)
    c.JupyterHub.update(logs.of_application(environment))
    culler = culling.service(60, 0, environment=environment, reported=0)
    # Here, the package is not installed.
    culler["command"].remove("-I")
    c.JupyterHub.services = [culler]
    c.JupyterHub.load_roles = [culling.ROLE]
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with slapd.running(tmp_path_factory.mktemp("slapd")) as server:
        yield server


def log(directory: Slapd, folder: Path, form: str) -> tuple[str, list[str]]:
    """What a hub logs while people use it, and the secrets that they use."""
    ldap = directory.everybody()
    with real_hub.running(folder, ldap, more=MORE.format(form=form)) as hub:
        browser = hub.browser("bob", PASSWORDS["bob"])
        token = hub.token("bob", PASSWORDS["bob"]).json()["token"]
        assert hub.api("POST", "users/bob/server", token).status_code in {201, 202}
        wrong = f"wrong-{PASSWORDS['bob']}"
        assert hub.token("bob", wrong).status_code == 403
        assert hub.api("GET", f"users/bob?token={token}", "no such token").status_code == 403
        hub.api("GET", f"nothing?next=%2Fx%3Ftoken%3D{token}", "no such token")
        # A culler that is interrupted while it starts says so in Python's own way.
        wait_until(lambda: "IdleCuller" in hub.log, seconds=30)
        secrets = [
            *(PASSWORDS["bob"], token, (folder / "server-token").read_text()),
            *(cookie.value or "" for cookie in browser.cookies if "session" not in cookie.name),
        ]
    return hub.log, secrets


def test_json_is_all_there_is(directory: Slapd, tmp_path: Path) -> None:
    text, secrets = log(directory, tmp_path / "hub", "json")
    lines = [json.loads(line) for line in text.splitlines()]
    assert {"JupyterHub", "IdleCuller"} <= {line["logger"] for line in lines}
    assert {"debug", "info", "warning"} <= {line["level"] for line in lines}
    assert any("Login of 'bob'" in line["message"] for line in lines)
    assert [secret for secret in secrets if secret in text] == []


def test_text_has_no_colours_and_no_secrets_either(directory: Slapd, tmp_path: Path) -> None:
    text, secrets = log(directory, tmp_path / "hub", "text")
    assert " JupyterHub " in text
    assert "\x1b" not in text
    assert [secret for secret in secrets if secret in text] == []
