"""Looks for every secret of a running stack wherever somebody else could read it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

import docker
import pytest
import requests
from docker.models.containers import Container

from tests.engine.attacks.conftest import Tenant
from tests.engine.people import Entrance
from tests.engine.stack import PASSPHRASE, Stack
from tests.hubclient import LoginRefused

pytestmark = pytest.mark.engine

TYPO = "Correct-Horse-Battery-Stable"
"""A mistyped password: who sees it can guess the right one."""


@dataclass(frozen=True)
class Secrets:
    """The secrets, by name."""

    named: dict[str, str]

    def found(self, text: str) -> set[str]:
        """Return the secrets that a text contains, as they are or in base64."""
        return {
            name
            for name, secret in self.named.items()
            if secret in text or base64.b64encode(secret.encode()).decode().rstrip("=") in text
        }


def out(container: Container, script: str, user: str = "") -> str:
    """Return the output of a shell script in a container."""
    output = container.exec_run(["sh", "-c", script], user=user).output
    assert isinstance(output, bytes)
    return output.decode(errors="replace")


def variable(name: str, environments: str) -> str:
    """Return the value of a variable in environments of processes."""
    found = re.search(f"{name}=([^\0]+)", environments)
    assert found, name
    return found[1]


def key_line(pem: str) -> str:
    """Return a line of the private part of an RSA key; certificates contain the public part."""
    lines = pem.splitlines()
    begin = next(number for number, line in enumerate(lines) if "PRIVATE KEY" in line)
    assert len(lines[begin + 8]) == 64
    return lines[begin + 8]


ENVIRONMENTS = "cat /proc/[0-9]*/environ"


@pytest.fixture(scope="module")
def typed(entrance: Entrance, alice: Tenant) -> dict[str, str]:
    """Secrets in Alice's browser, used and misused, so that they may have leaked anywhere."""
    answer = alice.user.request("POST", "hub/api/users/alice/tokens", json={"note": "x"})
    answer.raise_for_status()
    token = answer.json()["token"]
    url = urljoin(alice.user.base, "hub/api/user")
    for ask in ({"headers": {"Authorization": f"token {token}"}}, {"params": {"token": token}}):
        requests.get(url, verify=str(entrance.authority), timeout=30, **ask)
    with pytest.raises(LoginRefused):
        entrance.browser().log_in("alice", TYPO)
    [login] = [c.value for c in alice.user.cookies() if c.name == "jupyterhub-hub-login"]
    passwords = {f"password of {n}": p for n, p in entrance.outputs["demoUsers"].items()}
    return {"token of Alice": token, "login of Alice": login or "", "a typo": TYPO, **passwords}


@pytest.fixture(scope="module")
def secrets(
    directory: Container, alice: Tenant, mallory: Tenant, hub: Container, typed: dict[str, str]
) -> Secrets:
    """All secrets, collected from the places where they are used."""
    hub_only = out(hub, ENVIRONMENTS, "1000")
    tokens = sorted(set(re.findall("JUPYTERHUB_API_TOKEN=([^\0]+)", hub_only)))
    services = {f"token of service {number}": token for number, token in enumerate(tokens)}
    # Of the culler, the recheck and the plans for people; the service for metrics has no process.
    assert len(services) == 3
    return Secrets(
        {
            "key of the hub": key_line(out(hub, "cat /certs/hub.key", "1000")),
            "key of the directory": key_line(out(directory, "cat /certs/*.key", "0")),
            "cookie secret": out(hub, "cat /srv/jupyterhub/cookie_secret", "1000").strip(),
            "token of the proxy": variable("CONFIGPROXY_AUTH_TOKEN", hub_only),
            "password of the service account": out(hub, "cat /certs/ldap-password", "1000"),
            "token of Alice's server": server_token(alice),
            "token of Bob's server": server_token(mallory),
            "passphrase of the state": PASSPHRASE,
            "any private key": "PRIVATE KEY-----",
            **services,
            **typed,
        }
    )


def server_token(tenant: Tenant) -> str:
    return str(tenant.run("import os; result = os.environ['JUPYTERHUB_API_TOKEN']"))


def containers(stack: Stack, engine: docker.DockerClient) -> Iterator[Container]:
    labelled: dict[str, Any] = {"label": f"zhub.stack={stack.prefix}"}
    for container in engine.containers.list(all=True, filters=labelled):
        if container.labels["zhub.role"] != "outsider":
            yield container


def test_docker_inspect_shows_only_a_servers_own_token(
    stack: Stack, engine: docker.DockerClient, secrets: Secrets
) -> None:
    found = {
        container.labels["zhub.role"] + container.labels.get("zhub.user", ""): secrets.found(
            json.dumps(container.attrs)
        )
        for container in containers(stack, engine)
    }
    # JupyterHub passes it in the environment. Whoever may inspect is root on the machine anyway.
    assert found.pop("notebookalice") == {"token of Alice's server"}
    assert found.pop("notebookbob") == {"token of Bob's server"}
    assert {"hub", "guard", "files", "directory"} <= set(found)
    assert not any(found.values()), found

    labelled: dict[str, Any] = {"label": f"zhub.stack={stack.prefix}"}
    others = [*engine.volumes.list(filters=labelled), *engine.networks.list(filters=labelled)]
    assert len(others) > 5
    for other in others:
        assert not secrets.found(json.dumps(other.attrs))


def test_images_contain_no_secrets(
    stack: Stack, engine: docker.DockerClient, secrets: Secrets
) -> None:
    images = {str(container.attrs["Image"]) for container in containers(stack, engine)}
    assert len(images) == 4, "hub, demo directory, and those that only waiting containers hold"
    for name in images:
        image = engine.images.get(name)
        text = json.dumps([image.attrs, image.history()])
        assert "jupyter" in text or "slapd" in text or "nft" in text
        assert not secrets.found(text)


def test_process_lists_show_no_secrets(
    stack: Stack, engine: docker.DockerClient, hub: Container, secrets: Secrets
) -> None:
    lists = []
    for container in containers(stack, engine):
        if container.status == "running":
            lists.append(json.dumps(container.top(ps_args="-eo pid,args")))
            assert not secrets.found(lists[-1]), container.name
    assert any("proxy.mjs" in text for text in lists)
    # Only their own user can read environments in the same container.
    assert "token of the proxy" in secrets.found(out(hub, ENVIRONMENTS, "1000"))
    assert not secrets.found(out(hub, ENVIRONMENTS, "65534"))


def test_only_the_hub_can_read_its_files(hub: Container, secrets: Secrets) -> None:
    reading = "cat /certs/* /srv/jupyterhub/* /run/zhub*/* /tmp/*/* /run/*/* 2>/dev/null"
    held = secrets.found(out(hub, reading, "1000"))
    assert not secrets.found(out(hub, reading, "65534"))
    # Tokens and users' passwords are not stored, or only as hashes.
    assert held == {
        "key of the hub",
        "any private key",
        "cookie secret",
        "password of the service account",
    }


def test_logs_contain_no_secrets(
    stack: Stack, engine: docker.DockerClient, secrets: Secrets
) -> None:
    logs = {
        c.name: c.logs().decode(errors="replace")
        for c in containers(stack, engine)
        # Without a log there is nothing to read, and the engine says so.
        if c.attrs["HostConfig"]["LogConfig"]["Type"] != "none"
    }
    assert "alice" in logs[f"{stack.prefix}-hub"]
    for name, text in logs.items():
        assert not secrets.found(text), name


def test_pulumi_shows_no_secrets(stack: Stack, secrets: Secrets) -> None:
    printed = [
        stack.on_stack("preview", "--diff", "--show-sames"),
        stack.on_stack("up", "--yes", "--diff", "--show-sames"),
        stack.on_stack("preview", "--json"),
        stack.pulumi("stack", "export", "--stack", stack.name),
        stack.pulumi("stack", "output", "--stack", stack.name, "--json"),
        stack.pulumi("stack", "history", "--stack", stack.name, "--json"),
    ]
    # A new name means a new certificate, and so new containers with it and its key.
    stack.configure({"hostname": "renamed.example.com"})
    printed.append(stack.on_stack("preview", "--diff"))
    stack.configure({"hostname": "localhost"})
    assert "renamed.example.com" in printed[-1]
    assert "uploads" in printed[-1]
    assert "[secret]" in printed[-1]
    for text in printed:
        assert not secrets.found(text)


def test_state_and_config_hold_no_secrets_in_clear(stack: Stack, secrets: Secrets) -> None:
    files = [path for path in stack.folder.rglob("*") if path.is_file()]
    assert stack.state_file in files
    assert stack.config_file in files
    assert "BEGIN CERTIFICATE" in stack.state_file.read_text()
    for path in files:
        assert not secrets.found(path.read_text(errors="replace")), path
