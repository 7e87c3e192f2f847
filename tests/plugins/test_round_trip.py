"""A stack switches between these plugins and the official ones, and nothing changes.

Where the official plugins are not to be had, `recorded/docker.json` stands for them: the resources
of the stack below as pulumi-docker left them in its state, engine and all. What differs from one
machine and run to the next is a placeholder there.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
import pulumi_command
import pulumi_docker
import pulumi_tls
import pytest

from plugins.values import Secret
from tests.plugins.docker_tools import tiny_context
from tests.plugins.plugin_driver import Resource, running
from tests.plugins.stacks import OURS, Program, Stack
from tests.ports import free_port
from toolchain import plugins
from toolchain.pins import PLUGINS
from toolchain.places import ROOT

pytestmark = pytest.mark.slow

RECORDED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "recorded" / "docker.json").read_text()
)

#: The CLI itself: `.toolchain/bin/pulumi` uses only this repository's plugins.
CLI = ROOT / ".toolchain" / "cli" / "pulumi"

#: Marks a secret in an exported state.
SIGNATURE = "4dabf18193072939515e22adb298388d"


@dataclass
class Life:
    """A program before and after a change, and the steps of the change."""

    before: Program
    after: Program
    steps: list[tuple[str, str]]
    bridged: bool = True
    """Whether the official plugin is bridged from Terraform and leaves its mark in the state."""


def replacement(name: str) -> list[tuple[str, str]]:
    """Return the steps that replace a resource."""
    return [(step, name) for step in ("create-replacement", "delete-replaced", "replace")]


def keys() -> Life:
    """Keys of every kind, and certificates."""

    def program(*names: str) -> Program:
        def declare() -> None:
            for algorithm in ("RSA", "ED25519"):
                pulumi_tls.PrivateKey(algorithm, algorithm=algorithm)
            key = pulumi_tls.PrivateKey("key", algorithm="ECDSA", ecdsa_curve="P256")
            pulumi_tls.SelfSignedCert(
                "certificate",
                private_key_pem=key.private_key_pem,
                allowed_uses=["digital_signature", "key_encipherment", "server_auth"],
                validity_period_hours=8760,
                early_renewal_hours=720,
                subject={"common_name": names[0]},
                dns_names=names,
                ip_addresses=["127.0.0.1", "::1"],
            )
            pulumi_tls.SelfSignedCert(
                "authority",
                private_key_pem=key.private_key_pem,
                allowed_uses=["cert_signing"],
                validity_period_hours=100,
                is_ca_certificate=True,
                set_subject_key_id=True,
                subject={"organization": "zhub", "street_addresses": ["a", "b"]},
            )

        return declare

    return Life(
        program("localhost"),
        program("localhost", "hub.example.org"),
        replacement("certificate"),
    )


def commands() -> Life:
    """Commands with all inputs."""

    def program(value: str) -> Program:
        def declare() -> None:
            pulumi_command.local.Command(
                "full",
                create="echo created $VALUE; cat",
                update="echo updated $VALUE after $PULUMI_COMMAND_STDOUT",
                delete="true",
                environment={"VALUE": value, "SECRET": pulumi.Output.secret("a secret")},
                stdin="in\nput\n",
                triggers=["a", 1, True, {"k": ["v"]}],
                interpreter=["/bin/sh", "-ec"],
                logging=pulumi_command.local.Logging.NONE,
            )
            pulumi_command.local.Command("triggered", create="echo", triggers=[value])

        return declare

    return Life(
        program("one"),
        program("two"),
        [*replacement("triggered"), ("update", "full")],
        bridged=False,
    )


def containers(name: str) -> Life:
    """Image, networks, volumes and containers such as the program declares; all called `name`-…"""
    port = free_port()

    def program(*, memory: int, key: str) -> Program:
        def declare() -> None:
            image = pulumi_docker.Image(
                "image",
                image_name=f"{name}-image:1",
                skip_push=True,
                build=pulumi_docker.DockerBuildArgs(context="context", args={"WHAT": "test"}),
            )
            labels: list[Any] = [
                {"label": "zhub.stack", "value": name},
                {"label": "zhub.role", "value": "test"},
            ]
            network = pulumi_docker.Network(
                "network",
                name=f"{name}-network",
                internal=True,
                labels=labels,
                ipam_configs=[{"subnet": "10.231.117.0/24", "gateway": "10.231.117.1"}],
            )
            unnamed = pulumi_docker.Network(f"{name}-unnamed")
            volume = pulumi_docker.Volume("volume", name=f"{name}-volume", labels=labels)
            pulumi_docker.Volume(f"{name}-unnamed-volume")
            pulumi_docker.Container(
                "service",
                name=f"{name}-service",
                image=image.repo_digest,
                command=["sleep", "1000"],
                envs=["A=1", "B=2"],
                labels=labels,
                restart="unless-stopped",
                destroy_grace_seconds=1,
                network_mode="bridge",
                networks_advanced=[
                    {"name": network.name, "aliases": ["hub", "hub2"]},
                    {"name": unnamed.name},
                ],
                ports=[{"internal": 8000, "external": port, "ip": "127.0.0.1"}],
                volumes=[
                    {"volume_name": volume.name, "container_path": "/certs", "read_only": True},
                    {"host_path": "/tmp", "container_path": "/host"},  # noqa: S108
                ],
                memory=memory,
                memory_swap=128,
                log_driver="json-file",
                log_opts={"max-size": "10m", "max-file": "3"},
                capabilities={"drops": ["ALL"], "adds": ["CAP_SETUID", "CAP_CHOWN"]},
                security_opts=["no-new-privileges:true"],
                group_adds=["123"],
                read_only=True,
                tmpfs={"/run": "", "/tmp": "size=1m"},  # noqa: S108
                healthcheck={
                    "tests": ["CMD", "true"],
                    "interval": "1s",
                    "timeout": "5s",
                    "retries": 3,
                    "start_period": "1m0s",
                },
                wait=True,
                wait_timeout=60,
            )
            pulumi_docker.Container(
                "files",
                name=f"{name}-files",
                image=image.repo_digest,
                start=False,
                must_run=False,
                network_mode="none",
                log_driver="none",
                volumes=[{"volume_name": volume.name, "container_path": "/certs"}],
                uploads=[
                    {
                        "file": "/certs/hub.key",
                        "content": pulumi.Output.secret(key),
                        "permissions": "0600",
                    },
                    {"file": "/certs/hub.crt", "content_base64": "Y3J0", "executable": True},
                ],
            )
            pulumi_docker.Container(
                f"{name}-plain", image=image.image_name, mounts=[{"target": "/x", "type": "tmpfs"}]
            )

        return declare

    return Life(
        program(memory=64, key="one"),
        program(memory=80, key="two"),
        [*replacement("files"), ("update", "service")],
    )


@pytest.fixture(params=["tls", "command", pytest.param("docker", marks=pytest.mark.engine)])
def life(request: pytest.FixtureRequest) -> Life:
    """The programs of one provider."""
    if request.param == "docker":
        return containers(request.getfixturevalue("name"))
    program: Callable[[], Life] = {"tls": keys, "command": commands}[request.param]
    return program()


class AnyPluginsStack(Stack):
    """A stack that certainly uses the plugins in its `home`."""

    def _command(self, *arguments: str) -> list[str]:
        return [str(CLI), *super()._command(*arguments)[1:]]


def stack_at(folder: Path, home: Path) -> Stack:
    """Return a stack with the tiny image's context in its folder."""
    own = {"PULUMI_IGNORE_AMBIENT_PLUGINS": "true", "PULUMI_SKIP_UPDATE_CHECK": "true"}
    stack = AnyPluginsStack(folder, home, environment=own)
    tiny_context(folder / "context")
    return stack


def official_plugins() -> Path:
    """Return the PULUMI_HOME that `ZHUB_OFFICIAL_PLUGINS` names; skip where it is not set.

    The plugins in it must be of the versions this program asks for.
    """
    home = os.environ.get("ZHUB_OFFICIAL_PLUGINS")
    if not home:
        pytest.skip(
            "Pulumi's own plugins are not to be had here: set ZHUB_OFFICIAL_PLUGINS to a "
            "PULUMI_HOME that has them"
        )
    for name in PLUGINS:
        ours = plugins.plugin_path(name)
        assert (Path(home) / ours.relative_to(OURS)).exists(), f"no {ours.name} in {home}"
    return Path(home)


@pytest.mark.parametrize("ours_first", [True, False], ids=["from ours", "to ours"])
def test_the_other_plugins_continue_without_changes(
    life: Life, tmp_path: Path, *, ours_first: bool
) -> None:
    first, other = homes = [OURS, official_plugins()]
    if not ours_first:
        first, other = reversed(homes)
    stack = stack_at(tmp_path / "stack", first)

    def unchanged(home: Path, program: Program) -> None:
        stack.home = home
        preview = stack.preview(program, "--expect-no-changes")
        assert (preview.steps(), preview.code) == ([], 0), preview.text

    try:
        up = stack.up(life.before)
        assert up.code == 0, up.text
        # It shows which plugins were used.
        marks = ["__pulumi_raw_state_delta" in resource["outputs"] for resource in resources(stack)]
        assert any(marks) == (life.bridged and not ours_first)
        unchanged(first, life.before)
        unchanged(other, life.before)
        assert stack.refresh(life.before, "--expect-no-changes").code == 0
        unchanged(first, life.before)
        assert stack.refresh(life.before, "--expect-no-changes").code == 0
        unchanged(other, life.before)
        change = stack.up(life.after)
        assert (sorted(change.steps()), change.code) == (sorted(life.steps), 0), change.text
        unchanged(other, life.after)
        unchanged(first, life.after)
        back = stack.up(life.before)
        assert (sorted(back.steps()), back.code) == (sorted(life.steps), 0), back.text
        unchanged(other, life.before)
    finally:
        stack.destroy()


def test_a_state_that_names_an_earlier_version_is_refreshed_and_destroyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a fresh clone, after `make lock` has moved the plugin since the last `up`."""
    for name in ("BIN", "CLI", "STATE", "PULUMI_HOME"):
        monkeypatch.setattr(plugins, name, tmp_path / name)
    before = tmp_path / "earlier"
    monkeypatch.setattr(plugins, "EARLIER_PLUGINS", before)
    before.write_text("")
    plugins.ensure(official=False)
    stack = stack_at(tmp_path / "stack", tmp_path / "PULUMI_HOME")
    program = keys().before
    up = stack.up(program)
    assert up.code == 0, up.text
    exported = Path(stack.folder, "exported.json")
    stack.cli("stack", "export", "--file", str(exported))
    pinned, earlier = f'"version": "{PLUGINS["tls"]}"', '"version": "5.0.1"'
    state = exported.read_text()
    assert pinned in state
    exported.write_text(state.replace(pinned, earlier))
    stack.cli("stack", "import", "--file", str(exported))

    refresh = stack.refresh(program)
    assert refresh.code != 0
    assert "5.0.1" in refresh.text
    before.write_text("tls 5.0.1\n")
    plugins.ensure(official=False)
    refresh = stack.refresh(program, "--expect-no-changes")
    assert refresh.code == 0, refresh.text
    stack.destroy()
    assert stack.state() == {}


@pytest.mark.engine
def test_the_state_is_the_recorded_one(tmp_path: Path, name: str) -> None:
    stack = stack_at(tmp_path / "stack", OURS)
    try:
        up = stack.up(containers(name).before)
        assert up.code == 0, up.text
        made = records(stack, name)
    finally:
        stack.destroy()
    assert [r["name"] for r in made] == [r["name"] for r in RECORDED]
    assert [
        f"{recorded['name']}.{difference}"
        for ours, recorded in zip(made, RECORDED, strict=True)
        for part in ("inputs", "outputs")
        for difference in differences(recorded[part], ours[part], part)
    ] == []


@pytest.mark.parametrize(
    "recorded",
    # A check hashes the context, and the recorded one is not here.
    [r for r in RECORDED if "Image" not in r["type"]],
    ids=lambda recorded: str(recorded["name"]),
)
def test_a_recorded_resource_has_nothing_to_change(recorded: dict[str, Any]) -> None:
    inputs, outputs = marked(recorded["inputs"]), marked(recorded["outputs"])
    stored = Resource(recorded["type"], recorded["name"], "id", inputs, outputs)
    with running("plugins.docker", {"host": "ssh://nobody@nowhere.invalid"}) as plugin:
        defaults = inputs["__defaults"]
        declared = {key: value for key, value in inputs.items() if key not in defaults}
        answer = plugin.diff(stored, without_bridge_keys(declared))
    assert (list(answer.diffs), answer.changes) == ([], answer.DIFF_NONE)


def resources(stack: Stack) -> list[dict[str, Any]]:
    """Return what the program declared, from the state."""
    return [r for r in stack.state().values() if not r["type"].startswith("pulumi:")]


def records(stack: Stack, name: str) -> list[dict[str, Any]]:
    """Return what the program declared, from `recorded/`."""
    found = [
        {
            "type": resource["type"],
            "name": resource["urn"].rsplit("::", 1)[-1].replace(name, "<name>"),
            "inputs": blanked(resource["inputs"], name),
            "outputs": blanked(resource["outputs"], name),
        }
        for resource in resources(stack)
    ]
    return sorted(found, key=lambda record: str(record["name"]))


#: Values that differ between machines or runs, in texts and as the whole value of a key.
VARYING_TEXTS = {
    r"[0-9a-f]{64}|(?<![0-9a-f])[0-9a-f]{12}(?![0-9a-f])": "<hex>",
    r"(?<=-)[0-9a-f]{7}$": "<hex>",
    r"([0-9a-f]{2}:){5}[0-9a-f]{2}": "<address>",
    # but for those the program gives
    r"(?<![\d.])(?!127\.|10\.231\.)\d+(\.\d+){3}(/\d+)?": "<address>",
    r"linux/\w+": "<platform>",
}
VARYING_KEYS = {"external", "ipPrefixLength", "mountpoint", "runtime"}


def blanked(value: Any, name: str) -> Any:
    """Return a value of an exported state with placeholders, and secrets as {"secret": …}."""
    if isinstance(value, dict):
        if SIGNATURE in value:
            return {"secret": blanked(json.loads(value["plaintext"]), name)}
        return {
            key: stand_in(item) if key in VARYING_KEYS else blanked(item, name)
            for key, item in value.items()
            if key != "__pulumi_raw_state_delta"
        }
    if isinstance(value, list):
        return [blanked(item, name) for item in value]
    if isinstance(value, str):
        value = value.replace(name, "<name>")
        for pattern, placeholder in VARYING_TEXTS.items():
            value = re.sub(pattern, placeholder, value)
    return value


def stand_in(value: Any) -> Any:
    """Return the placeholder for a value of this type."""
    return value and {str: "<varies>", int: 1}[type(value)]


def differences(official: Any, ours: Any, path: str) -> Iterator[str]:
    """Yield where two blanked values differ.

    Absent, null and empty are the same, as they are to Terraform; and so is any order of objects.
    """
    if isinstance(official, dict) and isinstance(ours, dict):
        for key in sorted({*official, *ours} - {"__meta", "__defaults"}):
            yield from differences(official.get(key), ours.get(key), f"{path}.{key}")
    elif isinstance(official, list) and isinstance(ours, list) and len(official) == len(ours):
        for index, pair in enumerate(zip(ordered(official), ordered(ours), strict=True)):
            yield from differences(*pair, f"{path}[{index}]")
    elif official != ours and (official or ours):
        yield f"{path}: official {official!r}, ours {ours!r}"


def ordered(values: list[Any]) -> list[Any]:
    """Return objects in an order that does not depend on their position."""
    if not all(isinstance(value, dict) for value in values):
        return values
    return sorted(values, key=lambda value: sorted((k, str(v)) for k, v in value.items() if v))


def marked(value: Any) -> Any:
    """Return a recorded value with its secrets as the plugins have them."""
    if isinstance(value, dict):
        if set(value) == {"secret"}:
            return Secret(marked(value["secret"]))
        return {key: marked(item) for key, item in value.items()}
    return [marked(item) for item in value] if isinstance(value, list) else value


def without_bridge_keys(value: Any) -> Any:
    """Return inputs as the program gave them."""
    if isinstance(value, Secret):
        return Secret(without_bridge_keys(value.value))
    if isinstance(value, dict):
        return {k: without_bridge_keys(v) for k, v in value.items() if k != "__defaults"}
    return [without_bridge_keys(item) for item in value] if isinstance(value, list) else value
