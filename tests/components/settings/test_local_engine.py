"""What is looked at on an engine of this machine before anything is declared."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pytest

from components.settings import local_engine, logs, prefix
from components.settings.deployed import IMAGE, Deployed
from components.settings.engine import Engine
from components.settings.parsing import RefusedError
from tests.components.recorder import Recording, run
from tests.components.settings.engines import (
    LOOPBACK,
    at,
    container,
    local,
    on_this_machine,
    stack_on,
)
from tests.components.stacks import DEMO

# Most of these run the whole program, some of them twice.
pytestmark = pytest.mark.slow


def refuse_taken_port(engine: Engine, prefix: str, address: str, port: int) -> None:
    local = local_engine.ask(engine)
    assert local
    local_engine.refuse_taken_port(local, prefix, address, port, Deployed())


def test_a_free_port_is_fine(engine_with: Callable[..., Engine], free: int) -> None:
    refuse_taken_port(engine_with(), "zhub-test", LOOPBACK, free)


def test_a_port_another_program_has_is_refused(
    engine_with: Callable[..., Engine], taken: int
) -> None:
    with pytest.raises(RefusedError, match="taken by another program") as raised:
        refuse_taken_port(engine_with(), "zhub-test", LOOPBACK, taken)
    assert raised.value.fix == f"pulumi config set port {taken + 1}"


@pytest.mark.parametrize(("error", "refused"), [(errno.EACCES, False), (errno.EADDRINUSE, True)])
def test_only_the_engine_need_be_allowed_to_open_a_port_below_1024(
    engine_with: Callable[..., Engine],
    monkeypatch: pytest.MonkeyPatch,
    error: int,
    *,
    refused: bool,
) -> None:
    def bind(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(local_engine, "_bind", bind)
    if not refused:
        refuse_taken_port(engine_with(), "zhub-test", LOOPBACK, 443)
        return
    with pytest.raises(RefusedError, match="taken by another program") as raised:
        refuse_taken_port(engine_with(), "zhub-test", LOOPBACK, 443)
    assert raised.value.fix == "pulumi config set port 8443"


@pytest.mark.parametrize(
    ("theirs", "ours", "clash"),
    [
        ("0.0.0.0", LOOPBACK, True),  # noqa: S104 - not bound to
        (LOOPBACK, "0.0.0.0", True),  # noqa: S104 - not bound to
        (LOOPBACK, LOOPBACK, True),
        ("::", LOOPBACK, True),
        ("127.0.0.2", LOOPBACK, False),
    ],
)
def test_a_port_another_container_has_is_refused(
    engine_with: Callable[..., Engine], free: int, theirs: str, ours: str, *, clash: bool
) -> None:
    engine = engine_with(container("web", theirs, free, stack="zhub-other", role="hub"))
    if not clash:
        refuse_taken_port(engine, "zhub-test", ours, free)
        return
    with pytest.raises(RefusedError, match="taken by container web on this engine"):
        refuse_taken_port(engine, "zhub-test", ours, free)


def test_the_port_of_the_stacks_own_hub_is_fine(
    engine_with: Callable[..., Engine], taken: int
) -> None:
    """Docker's proxy listens on it, too."""
    engine = engine_with(container("zhub-test-hub", LOOPBACK, taken, stack="zhub-test", role="hub"))
    refuse_taken_port(engine, "zhub-test", LOOPBACK, taken)


def test_a_hub_that_is_being_restarted_keeps_its_port(
    engine_with: Callable[..., Engine], taken: int
) -> None:
    """By the time it is looked at, it may listen again."""
    hub = container("zhub-test-hub", LOOPBACK, taken, stack="zhub-test", role="hub")
    restarting = hub | {"State": "restarting", "Ports": []}
    refuse_taken_port(engine_with(restarting), "zhub-test", LOOPBACK, taken)
    with pytest.raises(RefusedError, match="taken by another program"):
        refuse_taken_port(engine_with(restarting), "zhub-other", LOOPBACK, taken)


def test_an_engine_that_does_not_answer_leaves_the_stack_its_port(
    tmp_path: Path, taken: int, free: int
) -> None:
    """A busy engine takes longer than a preview waits; the stack's own hub has the port."""
    config = local(tmp_path, taken)
    state = stack_on(config["docker:host"], provider=config["docker:host"])
    ports = [{"external": taken, "internal": taken, "ip": LOOPBACK, "protocol": "tcp"}]
    state["urn::hub"] = {
        "type": "docker:index/container:Container",
        "outputs": {"name": "zhub-test-hub", "ports": ports},
    }
    recording = run(config, preview=True, deployed=state)
    assert recording.declared
    assert any("does not answer" in text for text in recording.warnings)
    ports[0]["external"] = free
    with pytest.raises(pulumi.RunError, match="taken by another program"):
        run(config, preview=True, deployed=state)


def test_another_machine_is_not_looked_at(taken: int) -> None:
    assert local_engine.ask(at("ssh://z.example.com")) is None
    there = {"zhub:port": str(taken), "zhub:bindAddress": "192.0.2.1"}
    assert run(DEMO | there, preview=True).declared


def test_an_address_this_machine_does_not_have_is_refused() -> None:
    with pytest.raises(RefusedError, match="no address of this machine"):
        local_engine.refuse_foreign_address("192.0.2.1")


def test_an_engine_that_does_not_answer_is_said_and_no_reason_to_stop(
    tmp_path: Path, free: int
) -> None:
    recording: Recording = run(local(tmp_path, free), preview=True)
    [warning] = recording.warnings
    assert "does not answer" in warning
    assert "not checked whether" in warning


def test_the_program_refuses_a_taken_port_before_it_declares_anything(
    tmp_path: Path, taken: int
) -> None:
    with pytest.raises(pulumi.RunError) as raised:
        run(local(tmp_path, taken) | {"zhub:userMemory": "lots"})
    said = str(raised.value)
    assert f'port is "{taken}": taken by another program on this machine' in said
    assert "userMemory is" in said, "all mistakes at once, this one too"


def test_the_program_refuses_a_foreign_address(tmp_path: Path, free: int) -> None:
    with pytest.raises(pulumi.RunError, match=r"bindAddress is .* no address of this machine"):
        run(local(tmp_path, free) | {"zhub:bindAddress": "192.0.2.1"})


@pytest.mark.parametrize("state", ["running", "exited"])
def test_a_prefix_of_another_stack_is_refused(
    engine_with: Callable[..., Engine], free: int, state: str
) -> None:
    """As when a stack's file with `prefix` in it is copied for a second stack."""
    hub = container("zhub-site-hub", LOOPBACK, free, stack="zhub-site", role="hub")
    engine = engine_with(hub | {"State": state, "Ports": []})
    config = on_this_machine(engine, free, prefix="zhub-site")
    with pytest.raises(pulumi.RunError) as raised:
        run(config, stack="second")
    assert "prefix: the engine has a hub with zhub-site already, and this stack has none" in str(
        raised.value
    )
    assert "\n    pulumi config set prefix zhub-site-2" in str(raised.value)
    assert run(on_this_machine(engine, free, prefix="zhub-site-2"), stack="second").declared


def test_a_stack_has_its_own_prefix_also_after_a_destroy(
    engine_with: Callable[..., Engine], free: int
) -> None:
    hub = container("zhub-test-hub", LOOPBACK, free, stack="zhub-test", role="hub")
    engine = engine_with(hub)
    up = stack_on(engine.host, provider=engine.host)
    assert run(on_this_machine(engine, free), deployed=up).declared
    # Somebody's server, which a destroy that was cut short has left, is no other stack's hub.
    server = container("zhub-test-user-a", LOOPBACK, 9, stack="zhub-test", role="notebook")
    assert run(on_this_machine(engine_with(server), free), deployed={}).declared


def test_the_prefix_that_is_offered_is_one(engine_with: Callable[..., Engine], free: int) -> None:
    long = "a" * 34 + "-bc"
    hub = container("a-hub", LOOPBACK, 9, stack=long, role="hub")
    with pytest.raises(pulumi.RunError) as raised:
        run(on_this_machine(engine_with(hub), free, prefix=long))
    offered = str(raised.value).rpartition(" ")[2].strip()
    assert prefix.parse(offered) == "a" * 34 + "-2"


def image(name: str, digest: str) -> dict[str, Any]:
    """An image in a stack's state."""
    outputs = {"imageName": name, "repoDigest": digest}
    return {"type": "docker:index/image:Image", "outputs": outputs}


@pytest.mark.parametrize(
    ("there", "before", "after"),
    [
        ([{"Id": "sha256:1", "RepoDigests": ["site/filter@sha256:3"]}], {}, {}),
        (
            [{"Id": "sha256:1", "RepoDigests": ["site/filter@sha256:3"]}],
            {"filter": 2},
            {"filter": 2},
        ),
        ([{"Id": "sha256:1", "RepoDigests": None}], {}, {"filter": 1}),
        (
            [{"Id": "sha256:1", "RepoDigests": None}],
            {"filter": 2, "hub": 1},
            {"filter": 3, "hub": 1},
        ),
        ([], {"notebook": 1}, {"notebook": 2, "filter": 1}),
    ],
)
def test_an_image_that_the_engine_has_lost_is_named_and_made_again_with_what_holds_it(
    engine_with: Callable[..., Engine],
    free: int,
    there: list[dict[str, Any]],
    before: dict[str, int],
    after: dict[str, int],
) -> None:
    engine = engine_with(images=there)
    state = stack_on(engine.host, provider=engine.host)
    state["urn:stack"]["outputs"]["lostImages"] = before
    state["urn::notebook"] = image("notebook:zhub-test", "sha256:1")
    state["urn::filter"] = image("site/filter", "site/filter@sha256:3")
    # What is only for use by hand does not count.
    state["urn::notebook-latest"] = image("notebook:latest", "sha256:9")
    recording = run(on_this_machine(engine, free), deployed=state)

    for folder, holder in (("notebook", "notebookimage"), ("filter", "filterimage")):
        for kind, name in (("Image", folder), ("Container", holder)):
            trigger = recording.one(kind, name).request.replacement_trigger
            assert trigger.number_value == after.get(folder, 0)
    trigger = recording.one("Image", "notebook-latest").request.replacement_trigger
    assert trigger.number_value == after.get("notebook", 0)
    assert recording.outputs.get("lostImages", {"value": {}})["value"] == after
    missing = [text for text in recording.warnings if "is missing on the engine" in text]
    assert len(missing) == sum(after.values()) - sum(before.values())


def test_what_an_engine_had_lost_still_counts_where_it_is_not_asked_any_more(
    tmp_path: Path, free: int
) -> None:
    """An engine got an ssh:// address: with another count, its images would be replaced again."""
    address = "ssh://admin@z.example.com"
    state = stack_on("unix:///var/run/docker.sock", provider="unix:///var/run/docker.sock")
    state["urn:stack"]["outputs"]["lostImages"] = {"notebook": 2}
    state["urn::notebook"] = image("notebook:zhub-test", "sha256:1")
    same = {"docker:host": address, "zhub:sameEngineAs": "unix:///var/run/docker.sock"}
    recording = run(local(tmp_path, free) | same, preview=True, deployed=state)
    assert recording.one("Image", "notebook").request.replacement_trigger.number_value == 2
    assert recording.outputs["lostImages"]["value"] == {"notebook": 2}


@pytest.mark.parametrize(
    ("listed", "digest"),
    [
        ("myorg/zhub_filter_s390x@sha256:3", "docker.io/myorg/zhub_filter_s390x@sha256:3"),
        ("zhub_filter_s390x@sha256:3", "docker.io/library/zhub_filter_s390x@sha256:3"),
        ("localhost/filter@sha256:3", "localhost/filter@sha256:3"),
        ("localhost:5000/filter@sha256:3", "localhost:5000/filter@sha256:3"),
        ("hub.example.com/filter@sha256:3", "hub.example.com/filter@sha256:3"),
    ],
)
def test_an_image_at_a_registry_is_known_by_its_digest_there(
    engine_with: Callable[..., Engine], listed: str, digest: str
) -> None:
    there = {"Id": "sha256:1", "RepoDigests": [listed]}
    found = local_engine.ask(engine_with(images=[there]))
    assert found
    assert found.images == frozenset({"sha256:1", listed, digest})
    before = Deployed({"urn::filter": (IMAGE, {"imageName": "filter", "repoDigest": digest})})
    assert local_engine.lost_images(found, before) == {}


def test_an_engine_that_does_not_answer_has_lost_no_image(tmp_path: Path, free: int) -> None:
    state = {"urn::notebook": image("notebook:zhub-test", "sha256:1")}
    recording = run(local(tmp_path, free), preview=True, deployed=state)
    assert not any("is missing" in text for text in recording.warnings)
    assert "lostImages" not in recording.outputs


def test_the_program_warns_of_a_machine_without_a_journal(
    engine_with: Callable[..., Engine], free: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(logs, "JOURNAL", tmp_path / "none")
    recording = run(on_this_machine(engine_with(), free, logDriver="journald"))
    assert [text for text in recording.warnings if "this machine has no journal" in text]
