"""Changes of the stack's own containers are in the audit log, by the guard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from docker.errors import NotFound
from zhub.guard.audit import Audit
from zhub.guard.declared import Declared

MARK, OTHER_MARK = "a" * 64, "b" * 64


class Engine:
    """Has the stack's containers, by their names."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {
            "site-hub": container("hub@1", ldap_password=MARK, open_at="127.0.0.1"),
            "site-guard": container("hub@1"),
        }

    def apart(self, trusted: list[str]) -> None:
        """Have a proxy of its own, with the port."""
        self.found["site-hub"] = container("hub@1", ldap_password=MARK)
        self.found["site-front"] = container("filter@1", open_at="127.0.0.1")
        options = json.dumps({"port": 11119, "trustedProxies": trusted})
        self.found["site-proxy"] = container("proxy@1", command=[options])

    def inspect_container(self, name: str) -> dict[str, Any]:
        if name not in self.found:
            raise NotFound(name)
        found: dict[str, Any] = self.found[name]
        return found


def container(
    image: str,
    *,
    ldap_password: str = "",
    open_at: str = "",
    command: list[str] | None = None,
    memory: int = 512,
) -> dict[str, Any]:
    bound = {"11119/tcp": [{"HostIp": open_at, "HostPort": "11119"}]} if open_at else None
    labels = {"zhub.ldap-password": ldap_password, "zhub.role": "x"}
    return {
        "Config": {"Image": image, "Labels": labels, "Cmd": command},
        "HostConfig": {"PortBindings": bound, "Memory": memory << 20},
    }


def files(certificate: str, **texts: str) -> dict[str, Any]:
    site = {"name": "", "announcement": "", **texts}
    labels = {"zhub.certificate": certificate, "zhub.site": json.dumps(site)}
    return {"Config": {"Image": "hub@1", "Labels": labels}, "HostConfig": {}}


@pytest.fixture
def engine() -> Engine:
    return Engine()


def guard(engine: Any, folder: Path, *, apart: bool = False) -> Declared:
    """One that has just started."""
    return Declared(engine, "site", Audit(folder), folder, separate_proxy=apart)


def written(folder: Path) -> list[tuple[str, str, str]]:
    """The lines since the last call."""
    file = folder / "audit.log"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    file.unlink(missing_ok=True)
    assert {(one["event"], one["by"]) for one in lines} <= {("setting", "guard")}
    return [(one["name"], one["before"], one["now"]) for one in lines]


def test_a_secret_a_port_and_an_image_that_are_changed(engine: Engine, tmp_path: Path) -> None:
    guard(engine, tmp_path).look()
    assert written(tmp_path) == [], "what there was before is no change"
    hub = engine.found.pop("site-hub")
    before = guard(engine, tmp_path)
    before.look()
    assert written(tmp_path) == [], "an `up` is replacing it"
    engine.found["site-hub"] = container("hub@2", ldap_password=OTHER_MARK, open_at="192.0.2.1")
    before.look()
    changed = [
        ("hub image", "hub@1", "hub@2"),
        ("ldapBindPassword", MARK, OTHER_MARK),
        ("open at", "127.0.0.1:11119", "192.0.2.1:11119"),
    ]
    assert written(tmp_path) == changed
    before.look()
    guard(engine, tmp_path).look()
    assert written(tmp_path) == []
    engine.found["site-hub"] = hub
    guard(engine, tmp_path).look()
    assert written(tmp_path) == [(name, now, then) for name, then, now in changed]


def test_the_arguments_of_a_proxy_of_its_own(engine: Engine, tmp_path: Path) -> None:
    engine.apart([])
    guard(engine, tmp_path, apart=True).look()
    engine.apart(["192.0.2.0/24"])
    guard(engine, tmp_path, apart=True).look()
    assert written(tmp_path) == [("proxy trustedProxies", "[]", '["192.0.2.0/24"]')]


def test_a_proxy_that_moves_out(engine: Engine, tmp_path: Path) -> None:
    guard(engine, tmp_path).look()
    engine.apart([])
    guard(engine, tmp_path, apart=True).look()
    assert [name for name, _, _ in written(tmp_path)] == [
        "proxy image",
        "proxy port",
        "proxy trustedProxies",
    ]


def test_a_certificate_and_texts_that_are_exchanged(engine: Engine, tmp_path: Path) -> None:
    made_before = {"Config": {"Image": "hub@1", "Labels": {}}, "HostConfig": {}}
    engine.found["site-files"] = made_before
    watching = guard(engine, tmp_path)
    watching.look()
    engine.found["site-files"] = files("AA:BB", announcement="Closed on Sunday")
    watching.look()
    assert written(tmp_path) == [], "an `up` to this release changes neither"
    # As pruning does; nothing is changed by that.
    engine.found.pop("site-files")
    guard(engine, tmp_path).look()
    engine.found["site-files"] = files("CC:DD", name="Hub of the institute")
    guard(engine, tmp_path).look()
    assert written(tmp_path) == [
        ("announcement", "Closed on Sunday", ""),
        ("certificate", "AA:BB", "CC:DD"),
        ("siteName", "", "Hub of the institute"),
    ]


def test_a_chain_that_is_exchanged_shows_where(engine: Engine, tmp_path: Path) -> None:
    """Of three certificates, a line has no room for all."""
    own, one, other, root = (":".join([digit * 2] * 32) for digit in "ABCD")
    for issuer in (one, other):
        engine.found["site-files"] = files(f"{own}, {issuer}, {root}")
        guard(engine, tmp_path).look()
    [(name, before, now)] = written(tmp_path)
    assert name == "certificate"
    assert (", BB:BB" in before, ", CC:CC" in now) == (True, True)


def test_memory_that_a_running_hub_gets_and_another_socket(engine: Engine, tmp_path: Path) -> None:
    def at(path: str) -> dict[str, Any]:
        mounts = [{"Source": path, "Destination": "/var/run/docker.sock"}]
        return container("hub@1") | {"Mounts": mounts}

    engine.found["site-guard"] = at("/var/run/docker.sock")
    guard(engine, tmp_path).look()
    engine.found["site-guard"] = at("/run/podman.sock")
    engine.found["site-hub"]["HostConfig"]["Memory"] = 1 << 30
    guard(engine, tmp_path).look()
    assert written(tmp_path) == [
        ("engineSocket", "/var/run/docker.sock", "/run/podman.sock"),
        ("hubMemory", "512M", "1024M"),
    ]
