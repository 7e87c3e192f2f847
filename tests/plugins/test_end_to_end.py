"""The plugins with the real CLI: what an operator sees, and what the state contains."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pulumi
import pulumi_command
import pulumi_tls
import pytest
from pulumi import ResourceOptions

from tests.plugins.plugin_driver import alive, wait_until
from tests.plugins.stacks import Program, Stack
from toolchain.plugins import plugin_path

pytestmark = pytest.mark.slow

SECRET = "correct horse battery"


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(tmp_path / "stack")


def certificate(**changes: Any) -> Program:
    """Return a program with a key, a certificate and a command that depends on it."""

    def program() -> None:
        key = pulumi_tls.PrivateKey("key", algorithm="ECDSA", ecdsa_curve="P256")
        certificate = pulumi_tls.SelfSignedCert(
            "certificate",
            private_key_pem=key.private_key_pem,
            allowed_uses=["server_auth"],
            validity_period_hours=100,
            early_renewal_hours=changes.get("early", 0),
            dns_names=changes.get("names", ["hub.example.org"]),
        )
        command = pulumi_command.local.Command(
            "command",
            create="wc -c",
            stdin=certificate.cert_pem,
            environment={"KEY": key.private_key_pem},
        )
        pulumi.export("length", command.stdout)
        pulumi.export("key", key.private_key_pem)

    return program


def commands(**inputs: Any) -> Program:
    """Return a program with one command; a secret input is a function, called in the program."""

    def program() -> None:
        values = {name: value() if callable(value) else value for name, value in inputs.items()}
        pulumi_command.local.Command("command", **values)

    return program


def test_a_whole_life(stack: Stack) -> None:
    names = ["key", "certificate", "command"]
    preview = stack.preview(certificate())
    assert preview.code == 0, preview.text
    assert preview.steps() == [("create", name) for name in names]
    assert set(stack.state()) <= {"plugins-test"}

    up = stack.up(certificate())
    assert up.code == 0, up.text
    assert (up.errors(), up.warnings()) == ([], [])
    outputs = json.loads(stack.cli("stack", "output", "--json", "--show-secrets"))
    assert int(outputs["length"]) == len(stack.state()["certificate"]["outputs"]["certPem"])
    assert "-----BEGIN" in outputs["key"]
    for file in (stack.folder / "backend").rglob("*.json"):
        assert "PRIVATE KEY" not in file.read_text()

    assert stack.up(certificate(), "--expect-no-changes").code == 0
    assert stack.refresh(certificate(), "--expect-no-changes").code == 0

    changed = stack.up(certificate(names=["hub.example.org", "hub"]))
    assert changed.code == 0, changed.text
    assert changed.steps() == [
        ("create-replacement", "certificate"),
        ("replace", "certificate"),
        ("update", "command"),
        ("delete-replaced", "certificate"),
    ]
    stack.destroy()
    assert stack.state() == {}


def test_a_certificate_is_renewed_in_its_early_renewal(stack: Stack) -> None:
    stack.up(certificate(early=99))
    assert stack.preview(certificate(early=99)).steps() == []
    due = certificate(early=100)
    assert ("replace", "certificate") in stack.preview(due).steps()
    before = stack.state()["certificate"]["id"]
    assert stack.up(due).code == 0
    assert stack.state()["certificate"]["id"] != before
    assert ("replace", "certificate") in stack.preview(due).steps()
    assert stack.up(certificate(early=99)).code == 0
    assert stack.preview(certificate(early=99)).steps() == []


def test_a_wrong_input_is_one_message_before_any_change(stack: Stack) -> None:
    def logging() -> Any:
        return pulumi.Output.secret(SECRET)

    program = commands(create="true", asset_paths=["*"], logging=logging)
    preview = stack.preview(program)
    assert preview.code != 0
    assert [message for name, message in preview.errors() if name == "command"] == [
        f"command:local:Command resource 'command' has a problem: {reason}"
        for reason in (
            "assetPaths is not supported by this plugin",
            "logging must be one of stdout, stderr, stdoutAndStderr, none",
        )
    ]
    assert "Traceback" not in preview.text
    assert SECRET not in preview.text


def test_a_failing_command_is_one_message_on_its_resource(stack: Stack) -> None:
    def password() -> dict[str, Any]:
        return {"PASSWORD": pulumi.Output.secret(SECRET)}

    script = "echo starting; echo $PASSWORD; exit 3"
    failing = commands(create=script, environment=password)
    up = stack.up(failing)
    assert up.code != 0
    message = f'exit status 3: running "{script}":\nstarting\n[secret]'
    assert ("command", message) in up.errors(), (up.errors(), up.text)
    assert "Traceback" not in up.text
    assert SECRET not in up.text
    assert "command" not in stack.state()
    fixed = commands(create="echo done", environment=password)
    assert stack.up(fixed).steps() == [("create", "command")]
    assert stack.state()["command"]["outputs"]["stdout"] == "done"


@pytest.mark.parametrize("first", [True, False], ids=["delete before replace", "as usual"])
def test_triggers_replace_in_the_requested_order(
    stack: Stack, tmp_path: Path, *, first: bool
) -> None:
    log = tmp_path / "log"

    def program(trigger: str) -> Program:
        return commands(
            create=f"echo create $WHICH >> {log}",
            delete=f"echo delete $WHICH >> {log}",
            environment={"WHICH": trigger},
            triggers=[trigger],
            opts=ResourceOptions(delete_before_replace=first),
        )

    stack.up(program("one"))
    assert stack.up(program("two")).code == 0
    replacement = ["delete one", "create two"] if first else ["create two", "delete one"]
    assert log.read_text().splitlines() == ["create one", *replacement]
    stack.destroy()
    assert log.read_text().splitlines()[-1] == "delete two"


def test_ignored_changes_do_nothing(stack: Stack) -> None:
    options = ResourceOptions(ignore_changes=["environment", "triggers"])
    stack.up(commands(create="true", environment={"A": "1"}, triggers=[1], opts=options))
    changed = commands(create="true", environment={"A": "2"}, triggers=[2], opts=options)
    assert stack.up(changed, "--expect-no-changes").code == 0


def test_an_impossible_import_is_one_message(stack: Stack) -> None:
    def program() -> None:
        pulumi_tls.PrivateKey("key", algorithm="RSA", opts=ResourceOptions(import_="abc"))

    up = stack.up(program)
    [message] = [text for name, text in up.errors() if name == "key"]
    assert "a private key cannot be imported" in message
    assert "Traceback" not in up.text


def test_an_interrupt_ends_the_command(stack: Stack, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    program = commands(create=f"echo $$ > {pid}; exec sleep 600")
    with stack.started("up", program, "--yes", "--skip-preview") as process:
        wait_until(lambda: pid.exists() and pid.read_text().strip())
        process.send_signal(signal.SIGINT)
        text = process.communicate(timeout=30)[0]
    assert not alive(int(pid.read_text()))
    assert "cancelled" in text
    assert "Traceback" not in text
    assert "command" not in stack.state()


@pytest.mark.parametrize("name", ["tls", "command", "docker"])
def test_the_cli_can_read_the_schema(stack: Stack, name: str) -> None:
    plugin = plugin_path(name)
    schema = json.loads(stack.cli("package", "get-schema", str(plugin)))
    assert schema["name"] == name
    assert f"resource-{name}-v{schema['version']}" == plugin.parent.name
