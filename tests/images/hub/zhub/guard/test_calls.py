"""Which calls the guard makes to the engine; the engine here only records them."""

from __future__ import annotations

import json
import threading
from ipaddress import IPv4Network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import APIError, NotFound
from zhub import settings
from zhub.contract import NO_HOST, NO_IPV6
from zhub.guard import audit, measures
from zhub.guard.audit import Audit
from zhub.guard.bodies import Refused, Request
from zhub.guard.calls import Guard
from zhub.guard.counts import Full
from zhub.guard.environment import Image
from zhub.guard.folders import Folders
from zhub.guard.helpers import Helpers
from zhub.guard.homes import Homes
from zhub.guard.policy import Policy

LABELS = {"zhub.stack": "site", "zhub.user": "alice"}


class Engine:
    """Has one server, and records calls."""

    api_version = "1.41"

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.seen: list[tuple[str, str]] = []

    def inspect_container(self, _: str) -> dict[str, Any]:
        return {
            "Id": "abc",
            "Name": "/site-user-alice",
            "Config": {"Labels": LABELS | {"zhub.role": "notebook"}},
            "State": {"StartedAt": "2027-01-15T08:00:00Z"},
            "NetworkSettings": {"Networks": {"none": {}}},
        }

    def networks(self, **_: Any) -> list[Any]:
        return []

    def create_network(self, name: str, **named: Any) -> dict[str, Any]:
        self.asked.append(("create_network", (name,), named))
        return {"Id": "net"}

    def containers(self, **named: Any) -> list[dict[str, Any]]:
        self.asked.append(("containers", (), named))
        more = {"Image": "x", "Command": "y", "Ports": [], "Mounts": []}
        return [
            {
                "Id": "abc",
                "Names": ["/site-user-alice"],
                "Labels": LABELS,
                "NetworkSettings": {"Networks": {"site-user-alice": {"IPAddress": "10.213.0.3"}}},
                **more,
            }
        ]

    def volumes(self, **_: Any) -> dict[str, Any]:
        return {"Volumes": []}

    def info(self) -> dict[str, Any]:
        return {"DockerRootDir": "/var/lib/docker", "MemTotal": 1 << 30}

    def logs(self, _: str, *, tail: int) -> bytes:
        assert not self.asked, "it was removed before"
        return b"\n".join(b"line %d" % number for number in range(tail))

    def stats(self, *_: Any, **__: Any) -> None:
        raise NotFound("it has ended")

    def __getattr__(self, name: str) -> Any:
        return lambda *values, **named: self.asked.append((name, values, named))


def guard(**variables: str) -> tuple[Guard, Engine]:
    engine: Any = Engine()
    guard_settings = settings.read_guard({"ZHUB_PREFIX": "site"} | variables)
    confinement: Any = SimpleNamespace(name_servers=[], left_out=[IPv4Network("10.213.1.0/24")])
    folders = Folders(engine, Helpers(engine, "filter", "site"), guard_settings)
    policy = Policy(guard_settings, dict.fromkeys(guard_settings.images, Image((), frozenset())))
    written: Any = SimpleNamespace(
        seen=lambda event, user: engine.seen.append((event, user)), start=lambda _: None
    )
    return Guard(engine, policy, confinement, folders, written), engine


def settled() -> None:
    """Wait for the threads that ask the engine for a scrape."""
    for thread in threading.enumerate():
        if thread.name in {"usage", "homes disk"}:
            thread.join()


@pytest.mark.parametrize(
    ("value", "meant"),
    [(value, True) for value in ("1", "true", "True")]
    + [(value, False) for value in ("0", "false", "False")],
)
def test_booleans_are_as_docker_and_its_client_write_them(value: str, meant: object) -> None:
    request = Request("x", {"force": value}, {})
    assert request.flag("force") is meant
    assert request.flag("force") is False, "it is taken out, and then not there"
    request.done()


@pytest.mark.parametrize("value", ["", "yes", "TRUE", "2", "true ", "on", "None"])
def test_anything_else_is_refused(value: str) -> None:
    with pytest.raises(Refused, match="force is"):
        Request("x", {"force": value}, {}).flag("force")


@pytest.mark.parametrize("query", [{}, {"v": "1"}, {"force": "1"}, {"v": "true", "force": "True"}])
def test_a_container_is_removed_as_asked(query: dict[str, str]) -> None:
    made, engine = guard()
    made.remove_container(Request("x", dict(query), {}))
    wanted = {"v": "v" in query, "force": "force" in query}
    assert engine.asked == [("remove_container", ("abc",), wanted)]
    assert engine.seen == [("container.remove", "alice")]


def test_a_container_that_is_started_or_stopped_without_end_does_not_fill_the_audit_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "STARTS", (3, 0.0))
    made, engine = guard()
    made.audit = Audit(tmp_path)
    for _ in range(3):
        made.start_container(Request("x", {}, {}))
    with pytest.raises(Full):
        made.start_container(Request("x", {}, {}))
    for _ in range(5):
        made.stop_container(Request("x", {}, {}))
    written = (tmp_path / audit.FILE).read_text().splitlines()
    assert [json.loads(line)["event"] for line in written] == [
        *["container.start"] * 3,
        "container.stop",
    ]
    calls = [name for name, _, _ in engine.asked]
    assert calls == ["start"] * 3 + ["stop"] * 5


@pytest.mark.parametrize("query", [{"link": "1"}, {"v": "x"}, {"other": "1"}])
def test_a_container_is_not_removed_with_other_options(query: dict[str, str]) -> None:
    made, engine = guard()
    with pytest.raises(Refused):
        made.remove_container(Request("x", query, {}))
    assert not engine.asked


SERVERS = json.dumps({"label": ["zhub.stack=site", "zhub.role=notebook"]})


def test_servers_are_listed_with_what_finds_them() -> None:
    made, engine = guard()
    query = {"limit": "-1", "all": "1", "size": "0", "trunc_cmd": "0", "filters": SERVERS}
    assert made.list_containers(Request("", query, {})) == [
        {
            "Id": "abc",
            "Names": ["/site-user-alice"],
            "Labels": LABELS,
            "NetworkSettings": {"Networks": {"site-user-alice": None}},
        }
    ]
    [(_, _, named)] = engine.asked
    assert named == {"all": True, "filters": json.loads(SERVERS)}


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"filters": "{}"},
        {"filters": SERVERS.replace("site", "other")},
        {"filters": SERVERS.replace("notebook", "hub")},
        {"filters": SERVERS, "size": "1"},
        {"filters": SERVERS, "before": "x"},
    ],
    ids=repr,
)
def test_no_other_containers_are_listed(query: dict[str, str]) -> None:
    made, engine = guard()
    with pytest.raises(Refused):
        made.list_containers(Request("", query, {}))
    assert not engine.asked


@pytest.mark.parametrize("internet", ["true", "false"])
def test_a_network_is_internal_unless_the_stack_opens_it(internet: str) -> None:
    made, engine = guard(ZHUB_USER_INTERNET=internet)
    internal = internet == "false"
    body = {
        "Name": "site-user-alice",
        "Labels": LABELS | {"zhub.role": "user-network"},
        "IPAM": {"Config": [{"Subnet": "10.213.0.0/28"}]},
    }
    with pytest.raises(Refused, match=f"Internal is not {internal}"):
        made.create_network(Request("", {}, body | {"Internal": not internal}))
    assert not engine.asked
    made.create_network(Request("", {}, body | {"Internal": internal}))
    [(call, _, named)] = engine.asked
    assert call == "create_network"
    assert named["internal"] is internal
    assert named["options"] == NO_IPV6 | (NO_HOST if internal else {})


def test_a_network_that_hides_one_of_the_site_is_refused() -> None:
    made, engine = guard()
    body = {
        "Name": "site-user-alice",
        "Labels": LABELS | {"zhub.role": "user-network"},
        "IPAM": {"Config": [{"Subnet": "10.213.1.16/28"}]},
        "Internal": False,
    }
    # The hub goes on to the next subnet where an error says "overlap"; it is no attack.
    with pytest.raises(APIError, match=r"overlaps with a network of the site: 10\.213\.1\.16/28"):
        made.create_network(Request("", {}, body))
    assert not engine.asked


def test_what_is_the_sites_counts_as_taken() -> None:
    made, _ = guard()
    listed = made.list_networks(Request("", {}, {}))
    assert listed == [{"IPAM": {"Config": [{"Subnet": "10.213.1.0/24"}]}}]


def test_the_version_call_fails_when_the_engine_does_not_answer() -> None:
    made, engine = guard()
    assert made.version(Request("", {}, {}))["ApiVersion"] == "1.41"
    assert [call for call, _, _ in engine.asked] == ["ping"]


def test_a_home_is_mounted_on_itself_so_that_pruning_leaves_it() -> None:
    made, engine = guard()
    labels = LABELS | {"zhub.role": "home"}
    made.create_volume(Request("", {}, {"Name": "site-home-alice", "Labels": labels}))
    [(call, values, named)] = engine.asked
    assert (call, values) == ("create_volume", ("site-home-alice",))
    folder = "/var/lib/docker/volumes/site-home-alice/_data"
    assert named["driver_opts"] == {"type": "none", "o": "bind", "device": folder}
    assert named["labels"] == labels


def test_the_disk_of_homes_is_measured_where_they_are_in_a_folder_of_the_sites_choice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(measures, "FOLDER", tmp_path)
    monkeypatch.setattr(Homes, "disk", lambda _: (100, 5))
    for made, there in ((guard(ZHUB_HOMES_PATH="/srv/homes")[0], True), (guard()[0], False)):
        made.measures.text()
        settled()
        assert ("guard_homes_disk_free_bytes 5.0" in made.measures.text()) is there
        settled()


def test_the_hub_learns_the_sizes_of_homes_where_they_have_a_limit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(measures, "FOLDER", tmp_path)
    monkeypatch.setattr(Homes, "disk", lambda _: (100, 5))
    without, _ = guard()
    assert without.sizes is None
    assert without.home_sizes(Request("", {}, {})) == {"Bytes": {}}
    assert without.home_size(Request("site-home-alice", {}, {})) == {"Bytes": None}
    limited, _ = guard(ZHUB_HOME_LIMIT="1G", ZHUB_HOMES_PATH="/srv/homes")
    assert limited.sizes
    limited.sizes._known["site-home-alice"] = "alice", 5
    assert limited.home_sizes(Request("", {}, {})) == {"Bytes": {"alice": 5}}
    assert limited.home_size(Request("site-home-alice", {}, {})) == {"Bytes": 5}
    assert "guard_home_bytes" in limited.measures.text()
    assert "guard_home" not in without.measures.text()
    settled()
