"""What Prometheus gets from a stack, and what else its token is good for: nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import docker
import pytest
import requests

from tests.engine.people import Entrance
from tests.engine.scrapes import metrics_token, samples, scrape, with_servers
from tests.engine.stack import Stack
from tests.monitoring.names import used

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def entrance(stack: Stack) -> Entrance:
    return Entrance.of(stack)


@pytest.fixture(scope="module")
def token(stack: Stack, engine: docker.DockerClient) -> str:
    return metrics_token(engine, stack)


def test_rules_and_dashboard_ask_only_for_what_there_is(entrance: Entrance, token: str) -> None:
    alice = entrance.logged_in("alice")
    if alice.server():
        alice.stop_server()
    alice.start_server()
    found = with_servers(entrance, token, "alice")
    # Of what servers have written, the numbers may come only ten minutes later.
    # This stack has neither usersMemory nor homesPath.
    later = {
        "guard_server_layer_bytes",
        "guard_users_memory_limit_bytes",
        "guard_homes_disk_size_bytes",
        "guard_homes_disk_free_bytes",
    }
    names = {sample.name for sample in found} | later
    for file in (Path("rules.yml"), Path("dashboard.json")):
        assert used(file) <= names, file
    value = {(s.name, *sorted(s.labels.values())): s.value for s in found}
    assert value["zhub_logins_total", "success"] >= 1
    assert value["zhub_server_starts_total", "server", "success"] >= 1
    assert value["zhub_directory_asked_total", "answered", "directory"] >= 1
    assert value["guard_calls_total", "create_container", "done"] >= 1
    assert value["guard_server_memory_bytes", "alice"] > 1 << 20
    assert value["guard_server_cpu_seconds_total", "alice"] > 0
    assert value["zhub_certificate_end_timestamp_seconds",] > 1.7e9
    assert [
        value["zhub_metrics_up", part] for part in ("hub", "guard", "proxy", "certificate")
    ] == [1] * 4
    alice.stop_server()


def test_a_wrong_password_is_counted(entrance: Entrance, token: str) -> None:
    def refused() -> float:
        [found] = [
            sample.value
            for sample in samples(scrape(entrance, token).text)
            if sample.name == "zhub_logins_total" and sample.labels["outcome"] == "refused"
        ]
        return found

    before = refused()
    with pytest.raises(Exception, match="Invalid username or password"):
        entrance.browser().log_in("bob", "wrong")
    assert refused() == before + 1


def test_nobody_else_gets_the_metrics(entrance: Entrance) -> None:
    assert scrape(entrance, None).status_code == 403
    assert scrape(entrance, "0" * 64).status_code == 403
    alice = entrance.logged_in("alice")
    assert alice.request("GET", "hub/metrics").status_code == 403


def test_the_token_is_good_for_nothing_else(entrance: Entrance, token: str) -> None:
    hub = urljoin(entrance.outputs["url"], f"{entrance.outputs['basePath'].rstrip('/')}/hub/")
    headers = {"Authorization": f"Bearer {token}"}
    for method, path in (
        ("GET", "api/users"),
        ("GET", "api/users/alice"),
        ("GET", "api/info"),
        ("GET", "api/proxy"),
        ("GET", "api/services"),
        ("POST", "api/users/alice/server"),
        ("POST", "api/users/alice/tokens"),
        ("POST", "api/shutdown"),
    ):
        answer = requests.request(
            method, urljoin(hub, path), headers=headers, verify=str(entrance.authority), timeout=60
        )
        assert answer.status_code in {403, 404}, path


def test_the_token_is_in_a_file_alone(
    stack: Stack, engine: docker.DockerClient, token: str
) -> None:
    labels: dict[str, Any] = {"label": f"zhub.stack={stack.prefix}"}
    for container in engine.containers.list(all=True, filters=labels):
        assert token not in json.dumps(container.attrs)
        # The container of files keeps no log.
        if container.attrs["HostConfig"]["LogConfig"]["Type"] != "none":
            assert token.encode() not in container.logs()
    assert token not in stack.pulumi("stack", "export", "--stack", stack.name, "--show-secrets")


def test_it_stays_until_it_is_exchanged_and_the_old_one_ends(
    stack: Stack, engine: docker.DockerClient, entrance: Entrance, token: str
) -> None:
    assert metrics_token(engine, stack) == token
    new = metrics_token(engine, stack, "--new")
    assert scrape(entrance, new).ok
    assert scrape(entrance, token).status_code == 403
    assert metrics_token(engine, stack) == new
