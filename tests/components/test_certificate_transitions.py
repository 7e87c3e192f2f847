"""From a made certificate to a brought one and back, on one stack, by the real CLI.

Users' servers and sessions through such a change are the matter of tests/engine.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pulumi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from components.certificate import Certificate, CertificateArgs
from components.settings.keypair import KeyPair
from tests.pki import Identity
from tests.plugins.stacks import Program, Stack

pytestmark = pytest.mark.slow

KEY = "tls:index/privateKey:PrivateKey"


def protected(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult:
    """Protects the key, as releases up to 0db4f5d did where the setting `protect` was on."""
    opts = pulumi.ResourceOptions(protect=True) if args.type_ == KEY else None
    return pulumi.ResourceTransformationResult(
        args.props, pulumi.ResourceOptions.merge(args.opts, opts)
    )


def made(*, by_an_older_release: bool = False) -> Program:
    """A program whose certificate Pulumi makes."""

    def program() -> None:
        certificate = Certificate(
            "certificate",
            CertificateArgs(names=("hub.example.com",)),
            pulumi.ResourceOptions(transformations=[protected] if by_an_older_release else []),
        )
        export(certificate)

    return program


def brought(identity: Identity) -> Program:
    """A program whose certificate the operator brings."""

    def program() -> None:
        pair = KeyPair(chain=[identity.certificate], key_pem=pulumi.Output.secret("the key"))
        export(
            Certificate("certificate", CertificateArgs(names=("hub.example.com",), brought=pair))
        )

    return program


def export(certificate: Certificate) -> None:
    pulumi.export("certificate", certificate.certificate_pem)
    pulumi.export("key", certificate.key_pem)


def resources(stack: Stack) -> dict[str, dict[str, Any]]:
    """What Pulumi made of a certificate, by type."""
    return {
        one["type"].rpartition(":")[2]: one
        for one in stack.resources()
        if one["type"].startswith("tls:")
    }


def outputs(stack: Stack) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(stack.cli("stack", "output", "--json", "--show-secrets"))
    return found


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(tmp_path / "stack")


@pytest.mark.parametrize("by_an_older_release", [False, True])
def test_made_brought_made_brought(stack: Stack, *, by_an_older_release: bool) -> None:
    first = stack.up(made(by_an_older_release=by_an_older_release))
    assert first.code == 0, first.text
    before = resources(stack)
    assert before["PrivateKey"].get("protect", False) is by_an_older_release

    own = Identity.create("hub.example.com")
    preview = stack.preview(brought(own))
    assert preview.code == 0, preview.text
    assert preview.steps() == [("delete", "certificate")], "of the certificate that was made"
    up = stack.up(brought(own))
    assert up.code == 0, up.text
    assert outputs(stack)["certificate"] == own.pem
    assert outputs(stack)["key"] == "the key"
    assert set(resources(stack)) == {"PrivateKey"}
    assert not resources(stack)["PrivateKey"].get("protect", False)

    back = stack.up(made())
    assert back.code == 0, back.text
    assert back.steps() == [("create", "certificate")]
    after = resources(stack)
    assert after["PrivateKey"]["id"] == before["PrivateKey"]["id"], "the same key"
    assert after["SelfSignedCert"]["id"] != before["SelfSignedCert"]["id"], "a new certificate"
    key = load_pem_private_key(outputs(stack)["key"].encode(), None)
    certificate = x509.load_pem_x509_certificate(outputs(stack)["certificate"].encode())
    assert certificate.public_key() == key.public_key()

    again = stack.up(brought(own))
    assert again.code == 0, again.text
    assert again.steps() == [("delete", "certificate")]
    stack.destroy()


def test_a_stack_that_begins_with_a_brought_one_can_have_one_made(stack: Stack) -> None:
    own = Identity.create("hub.example.com")
    assert stack.up(brought(own)).code == 0
    up = stack.up(made())
    assert up.steps() == [("create", "certificate")]
    assert outputs(stack)["certificate"] != own.pem
    stack.destroy()


def test_another_brought_one_is_taken_at_once(stack: Stack) -> None:
    assert stack.up(brought(Identity.create("hub.example.com"))).code == 0
    renewed = Identity.create("hub.example.com")
    up = stack.up(brought(renewed))
    assert (up.code, up.steps()) == (0, [])
    assert outputs(stack)["certificate"] == renewed.pem
