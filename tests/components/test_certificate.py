"""The hub's key and certificate: made, or brought by the operator."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pulumi
from cryptography.hazmat.primitives import hashes

from components.certificate import Certificate, CertificateArgs
from components.settings.keypair import KeyPair
from tests.components.recorder import (
    Recording,
    certificate_pem,
    environment,
    identity,
    key_pem,
    run,
    run_alone,
    uploads,
)
from tests.components.stacks import SITE


def test_the_fingerprint_is_what_browsers_show(demo: Recording) -> None:
    digest = identity("certificate").certificate.fingerprint(hashes.SHA256())
    assert demo.outputs["certificateFingerprint"]["value"] == digest.hex(":").upper()


def test_its_end_is_an_output_that_monitoring_can_read(demo: Recording) -> None:
    end = identity("certificate").certificate.not_valid_after_utc
    text = demo.outputs["certificateExpires"]["value"]
    assert text.endswith("Z")
    assert datetime.fromisoformat(text) == end


def test_a_made_certificate_is_for_all_names_and_renewed_in_time() -> None:
    names = '["hub", "192.0.2.7", "2001:db8::7"]'
    recording = run(SITE | {"zhub:extraNames": names})
    certificate = recording.one("SelfSignedCert", "certificate").inputs
    assert certificate["subject"] == {"commonName": "hub.example.com"}
    assert certificate["dnsNames"] == ["hub.example.com", "hub"]
    assert certificate["ipAddresses"] == ["192.0.2.7", "2001:db8::7"]
    assert certificate["validityPeriodHours"] == 365 * 24
    assert certificate["earlyRenewalHours"] >= 30 * 24
    assert "server_auth" in certificate["allowedUses"]
    key = recording.one("PrivateKey", "certificate").inputs
    assert key == {"algorithm": "RSA", "rsaBits": 2048}


def test_users_own_names_are_in_the_certificate_and_known_to_the_hub() -> None:
    recording = run(SITE | {"zhub:subdomainHost": "hub.example.com"})
    certificate = recording.one("SelfSignedCert", "certificate").inputs
    assert certificate["dnsNames"] == ["hub.example.com", "*.hub.example.com"]
    env = environment(recording.one("Container", "hub"))
    assert env["ZHUB_SUBDOMAIN_HOST"] == "hub.example.com"


def test_a_long_host_name_does_not_make_an_invalid_subject() -> None:
    """RFC 5280 allows a common name of 64 characters."""
    name = f"{'a' * 60}.{'b' * 60}.example.com"
    certificate = run(SITE | {"zhub:hostname": name}).one("SelfSignedCert", "certificate").inputs
    assert certificate["subject"]["commonName"] == name[:64]
    assert certificate["dnsNames"] == [name]


def test_the_hub_gets_the_brought_certificate(brought: dict[str, str], tmp_path: Path) -> None:
    recording = run(brought)
    files = uploads(recording.one("Container", "files"))
    assert files["/certs/hub.crt"]["content"] == (tmp_path / "hub.crt").read_text()
    assert files["/certs/hub.key"]["content"] == (tmp_path / "hub.key").read_text()
    assert files["/certs/ldap-ca.pem"]["content"] == (tmp_path / "ldap-ca.crt").read_text()


def test_the_brought_key_may_be_an_encrypted_setting(
    brought: dict[str, str], tmp_path: Path
) -> None:
    brought["zhub:tlsKey"] = (tmp_path / "hub.key").read_text()
    brought.pop("zhub:tlsKeyFile")
    recording = run(brought)
    files = uploads(recording.one("Container", "files"))
    assert files["/certs/hub.key"]["content"] == brought["zhub:tlsKey"]


def export(certificate: Certificate) -> None:
    pulumi.export("key", certificate.key_pem)
    pulumi.export("certificate", certificate.certificate_pem)
    pulumi.export("fingerprint", certificate.fingerprint)


def test_alone_it_makes_a_key_that_is_secret_and_a_certificate_that_is_not() -> None:
    recording = run_alone(
        lambda: export(Certificate("certificate", CertificateArgs(names=("192.0.2.7", "hub"))))
    )
    assert [one.name for one in recording.all("PrivateKey")] == ["certificate"]
    certificate = recording.one("SelfSignedCert", "certificate")
    assert certificate.inputs["privateKeyPem"] == key_pem("certificate")
    assert certificate.inputs["dnsNames"] == ["hub"]
    assert certificate.inputs["ipAddresses"] == ["192.0.2.7"]
    assert certificate.inputs["subject"] == {"commonName": "192.0.2.7"}
    outputs = recording.outputs
    assert outputs["key"] == {"value": key_pem("certificate"), "known": True, "secret": True}
    assert outputs["certificate"]["value"] == certificate_pem("certificate")
    assert not outputs["certificate"]["secret"]
    assert not outputs["fingerprint"]["secret"]
    assert not any(one.request.protect for one in recording.declared)


def test_alone_it_passes_on_what_the_operator_brought_and_only_keeps_the_key_it_made() -> None:
    server, issuer = (identity(name).certificate for name in ("certificate", "directory"))

    def program() -> None:
        brought = KeyPair(chain=[server, issuer], key_pem=pulumi.Output.secret("the key"))
        export(
            Certificate("certificate", CertificateArgs(names=("hub.example.com",), brought=brought))
        )

    recording = run_alone(program)
    assert {one.name for one in recording.all("Certificate")} == {"certificate"}
    assert [one.request.protect for one in recording.all("PrivateKey")] == [False]
    assert not recording.all("SelfSignedCert")
    outputs = recording.outputs
    assert outputs["key"] == {"value": "the key", "known": True, "secret": True}
    assert outputs["certificate"]["value"] == (
        certificate_pem("certificate") + certificate_pem("directory")
    )
    own = server.fingerprint(hashes.SHA256()).hex(":").upper()
    assert outputs["fingerprint"]["value"] == own, "of the server's, not of its issuer's"
