"""What `make doctor` says of a stack's certificate, and of a restart of its engine."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from components.settings.own_config import OUTPUT
from toolchain import doctor, engine, stack
from toolchain.console import Problem

NOW = datetime(2026, 11, 29, tzinfo=UTC)


@pytest.mark.parametrize(
    ("end", "good", "text"),
    [
        ("2027-11-29T00:00:00Z", True, "in 365 days"),
        ("2026-12-29T00:00:00Z", True, "in 30 days"),
        ("2026-12-28T23:59:59Z", False, "in 29 days"),
        ("2026-11-28T23:59:59Z", False, "in the past"),
    ],
)
def test_a_certificate_that_expires_soon_is_named(end: str, *, good: bool, text: str) -> None:
    [finding] = doctor.certificate({"certificateExpires": end}, NOW)
    assert finding.good is good
    assert finding.text == f"certificate: expires at {end}, {text}"
    assert "make up renews it" in finding.fix


def test_a_stack_that_is_not_up_has_none() -> None:
    assert list(doctor.certificate({}, NOW)) == []


def test_configuration_of_the_sites_own_is_named_as_unsupported() -> None:
    assert list(doctor.own_configuration({})) == []
    [finding] = doctor.own_configuration({OUTPUT: "0123"})
    assert (finding.good, finding.serious, finding.word) == (False, False, "WARNING")
    assert finding.text.startswith("hubConfigFile: unsupported; ")
    assert "(sha256 0123)" in finding.text
    assert "pulumi config rm hubConfigFile" in finding.fix


def test_a_group_that_the_directory_does_not_have_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    client = tmp_path / "docker"
    client.write_text(
        """#!/bin/sh
        [ "$*" = "exec zhub-nowhere-hub zhub check-directory --groups" ] || exit 2
        echo 'profiles cn=Desk 7'
        """
    )
    client.chmod(0o755)
    monkeypatch.setattr(engine, "clients", lambda: iter([str(client)]))
    [found] = doctor._groups("nowhere")
    assert (found.good, found.serious, found.word) == (False, False, "WARNING")
    assert found.text == "profiles: the service account finds no group cn=Desk 7 in the directory"
    assert found.fix.startswith("correct profiles, make the group, ")


@pytest.mark.parametrize("answers", [True, False])
def test_networks_that_overlap_are_a_warning_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, answers: bool
) -> None:
    client = tmp_path / "docker"
    client.write_text(
        f"""#!/bin/sh
        [ "$*" = "exec zhub-nowhere-guard zhub check-networks" ] || exit 3
        printf '%s\\t%s\\n' 'one is in two' 'pulumi config set three'
        exit {0 if answers else 2}
        """
    )
    client.chmod(0o755)
    monkeypatch.setattr(engine, "clients", lambda: iter([str(client)]))
    found = list(doctor._networks("nowhere"))
    if not answers:
        assert found == [], "a guard of a release before does not know the command"
        return
    [warning] = found
    assert (warning.good, warning.serious, warning.word) == (False, False, "WARNING")
    assert (warning.text, warning.fix) == ("one is in two", "pulumi config set three")


@pytest.mark.parametrize("devices", [[], ["z90crypt"]])
def test_a_device_that_servers_cannot_use_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, devices: list[str]
) -> None:
    profiles = json.dumps([{"name": "large", "devices": devices}])
    (tmp_path / "said").write_text(json.dumps(["A=b", f"ZHUB_PROFILES={profiles}"]))
    client = tmp_path / "docker"
    client.write_text(
        f"""#!/bin/sh
        [ "$1 $4" = "inspect zhub-nowhere-guard" ] && exec cat {tmp_path}/said
        [ "$*" = "exec zhub-nowhere-guard zhub check-devices" ] || exit 3
        printf '%s\\t%s\\n' 'profiles, large: no device' 'chmod it'
        """
    )
    client.chmod(0o755)
    monkeypatch.setattr(engine, "clients", lambda: iter([str(client)]))
    found = [(one.text, one.fix, one.serious) for one in doctor._devices("nowhere")]
    assert found == [("profiles, large: no device", "chmod it", False)][: len(devices)]


@pytest.mark.parametrize(
    ("made", "options", "added"),
    [
        ({"max-size": "10m"}, {"max-size": "10m"}, None),
        ({"max-size": "10m", "tag": "x", "mode": "y"}, {"max-size": "10m"}, "adds mode, tag to"),
        ({"max-size": "10m"}, None, None),
        (None, {}, None),
    ],
)
def test_log_options_that_the_engine_adds_are_a_warning(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    made: object,
    options: object,
    added: str | None,
) -> None:
    variables = ["PATH=/bin"] if options is None else [f"ZHUB_LOG_OPTIONS={json.dumps(options)}"]
    (tmp_path / "said").write_text(f"{json.dumps(made)}\n{json.dumps(variables)}\n")
    client = tmp_path / "docker"
    client.write_text(
        f'#!/bin/sh\n[ "$1 $4" = "inspect zhub-nowhere-hub" ] && cat {tmp_path}/said\n'
    )
    client.chmod(0o755)
    monkeypatch.setattr(engine, "clients", lambda: iter([str(client)]))
    found = list(doctor._logs("nowhere"))
    assert [added in one.text for one in found if added] == [True] * len(found)
    assert bool(found) is bool(added)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo true", "live-restore: on; users' servers run on"),
        ("echo false", "live-restore: off; a restart of the engine ends all users' servers"),
        ("exit 1", None),
    ],
)
def test_live_restore(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, said: str | None
) -> None:
    client = tmp_path / "docker"
    client.write_text(f'#!/bin/sh\n[ "$1" = info ] && {script}\n')
    client.chmod(0o755)
    monkeypatch.setattr(engine, "clients", lambda: iter([str(client)]))
    found = list(doctor._live_restore("nowhere"))
    assert [(one.good, one.text.startswith(said or "")) for one in found] == [(True, True)] * bool(
        said
    )


def test_a_user_is_asked_about_at_an_engine_with_tls(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = "config:\n  docker:host: tcp://z.example.com:2376\n  docker:certPath: engine-tls\n"
    (tmp_path / "Pulumi.site.yaml").write_text(settings)
    monkeypatch.setattr(stack, "ROOT", tmp_path)
    client = tmp_path / "docker"
    client.write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/calls\necho true\n')
    client.chmod(0o755)
    monkeypatch.setattr(engine, "clients", lambda: iter([str(client)]))
    doctor.check_directory("site", "alice")
    folder = tmp_path / "engine-tls"
    options = f"--host tcp://z.example.com:2376 --tlsverify --tlscacert={folder}/ca.pem"
    options += f" --tlscert={folder}/cert.pem --tlskey={folder}/key.pem"
    assert (tmp_path / "calls").read_text().splitlines() == [
        f"{options} inspect --format {{{{.State.Running}}}} zhub-site-hub",
        f"{options} exec zhub-site-hub zhub check-directory -- alice",
    ]


def test_what_the_hub_answers_about_a_user_is_only_text(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stack, "ROOT", tmp_path)
    client = tmp_path / "docker"
    client.write_text(
        '#!/bin/sh\n[ "$1" = inspect ] && echo true && exit\n'
        "printf 'alice \\033[2J\\r\\377\\nno\\n'; printf 'and \\033c\\n' >&2; exit 1\n"
    )
    client.chmod(0o755)
    monkeypatch.setattr(engine, "clients", lambda: iter([str(client)]))
    with pytest.raises(Problem, match="alice cannot log in"):
        doctor.check_directory("site", "alice")
    shown = capsys.readouterr().out
    assert shown.startswith("alice ?[2J")
    assert shown.endswith("\nno\nand ?c\n")
    assert "\r" not in shown


@pytest.mark.parametrize("answers", [True, False])
def test_an_engine_elsewhere_that_does_not_answer_is_a_fault(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    answers: bool,
) -> None:
    """It was asked five questions in silence, and then all was well."""
    settings = "config:\n  docker:host: ssh://ops@z.example.com\n"
    (tmp_path / "Pulumi.site.yaml").write_text(settings)
    monkeypatch.setattr(stack, "ROOT", tmp_path)
    monkeypatch.setattr(stack, "outputs", lambda _: {"container": "zhub-site-hub"})
    client = tmp_path / "docker"
    said = f'[ "$3 {answers}" = "version True" ] && echo 20.1'
    client.write_text(f'#!/bin/sh\necho "$3" >>{tmp_path}/calls\n{said}\n')
    client.chmod(0o755)
    monkeypatch.setattr(engine, "clients", lambda: iter([str(client)]))
    with contextlib.suppress(Problem):
        doctor.check("site", with_engine=False)
    shown = capsys.readouterr().out
    about = "the stack's engine at ssh://ops@z.example.com"
    asked = (tmp_path / "calls").read_text().split()
    if answers:
        assert f"     ok  {about}: answers, Docker 20.1\n" in shown
        assert "exec" in asked
        return
    fix = "this says why: docker --host ssh://ops@z.example.com version"
    assert f"MISSING  {about}: does not answer\n         → {fix}\n" in shown
    assert asked == ["version"]
    with pytest.raises(Problem, match=f"^{about}: does not answer; {fix}$"):
        doctor.check_directory("site", "alice")


INFO, NODES, KEPT = doctor.SWARM_STATE, doctor.SWARM_NODES, doctor.SWARM_SERVICES
OWN = "--filter label=zhub.stack=zhub-nowhere --filter mode=global"


@pytest.fixture
def swarm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., list[str]]:
    """What is said of a swarm, given what `docker info`, `node ls` and `service ls` print."""

    def said(info: str, nodes: str, kept: str = "") -> list[str]:
        client = tmp_path / "docker"
        client.write_text(
            f"""#!/bin/sh
            [ "$*" = "info --format {INFO}" ] && echo '{info}' && exit
            [ "$*" = "node ls --format {NODES}" ] && echo '{nodes}' && exit
            [ "$*" = "service ls --format {KEPT} {OWN}" ] && echo '{kept}' && exit
            exit 2
            """
        )
        client.chmod(0o755)
        monkeypatch.setattr(engine, "clients", lambda: iter([str(client)]))
        monkeypatch.setattr(stack, "ROOT", tmp_path)
        return [f"{one.good} {one.text}" for one in doctor._swarm("nowhere")]

    (tmp_path / "Pulumi.nowhere.yaml").write_text("config:\n  zhub:swarm: true\n")
    return said


def test_the_nodes_of_a_swarm(swarm: Callable[[str, str], list[str]]) -> None:
    nodes = "a Ready,Active 28.5.2 Leader\nb Ready,Drain 28.5.2 \nc Down,Active 27.1.1 "
    assert swarm("active true", nodes) == [
        "True swarm: 3 nodes, 1 of them managers",
        "True node a: ready,active, engine 28.5.2",
        "False node b: ready,drain, engine 28.5.2",
        "False node c: down,active, engine 27.1.1",
    ]


def test_machines_that_are_not_ready_for_servers(swarm: Callable[..., list[str]]) -> None:
    nodes = "a Ready,Active 28.5.2 Leader"
    kept = "zhub-nowhere-nodeguard 2/3\nzhub-nowhere-nodefilter 3/3 "
    assert swarm("active true", nodes, kept)[2:] == [
        "False service zhub-nowhere-nodeguard: runs on 2 of 3 nodes; servers start on no other",
        "True service zhub-nowhere-nodefilter: runs on 3 of 3 nodes",
    ]


@pytest.mark.parametrize("info", ["active false", "inactive false"])
def test_an_engine_that_manages_no_swarm(swarm: Callable[[str, str], list[str]], info: str) -> None:
    [said] = swarm(info, "")
    assert said == f"False swarm: the stack's engine is not a working manager ({info})"


def test_a_swarm_without_a_leader_has_no_nodes(swarm: Callable[[str, str], list[str]]) -> None:
    assert swarm("active true", "") == ["False swarm: 0 nodes, 0 of them managers"]


def test_a_stack_on_one_engine_is_not_asked(
    swarm: Callable[[str, str], list[str]], tmp_path: Path
) -> None:
    (tmp_path / "Pulumi.nowhere.yaml").write_text("config: {}\n")
    assert swarm("inactive false", "") == []
