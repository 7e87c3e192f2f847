"""The `tls` plugin against the behaviour of the official one, checked by openssl."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
    load_ssh_private_key,
)

from plugins.values import UNKNOWN, Secret, reveal
from tests.plugins.plugin_driver import CheckError, Plugin, PluginError, Resource, changed, running

KEY = "tls:index/privateKey:PrivateKey"
CERT = "tls:index/selfSignedCert:SelfSignedCert"

pytestmark = pytest.mark.slow

KEYS = [
    {"algorithm": "RSA"},
    {"algorithm": "RSA", "rsaBits": 1024},
    {"algorithm": "ECDSA"},
    {"algorithm": "ECDSA", "ecdsaCurve": "P256"},
    {"algorithm": "ECDSA", "ecdsaCurve": "P384"},
    {"algorithm": "ECDSA", "ecdsaCurve": "P521"},
    {"algorithm": "ED25519"},
]


@pytest.fixture(scope="module")
def tls() -> Iterator[Plugin]:
    with running("plugins.tls", {}) as plugin:
        yield plugin


@pytest.fixture(scope="module")
def pem() -> str:
    """A private key that a program provides itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    ).decode()


@pytest.fixture
def base(pem: str) -> dict[str, Any]:
    """The required inputs of a certificate."""
    return {
        "privateKeyPem": pem,
        "validityPeriodHours": 100,
        "allowedUses": ["digital_signature", "server_auth"],
    }


def openssl(*arguments: str, text: str) -> str:
    """Return openssl's output for the text."""
    return subprocess.run(
        ["openssl", *arguments], input=text, capture_output=True, text=True, check=True
    ).stdout


class TestPrivateKey:
    @pytest.mark.parametrize("inputs", KEYS, ids=repr)
    def test_every_form_is_the_same_key(self, tls: Plugin, inputs: dict[str, Any]) -> None:
        outputs = tls.create(KEY, inputs).outputs
        plain = reveal(outputs)
        key = load_pem_private_key(plain["privateKeyPem"].encode(), None)
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        heading = {"RSA": "RSA PRIVATE KEY", "ECDSA": "EC PRIVATE KEY", "ED25519": "PRIVATE KEY"}
        assert plain["privateKeyPem"].startswith(f"-----BEGIN {heading[inputs['algorithm']]}-----")
        assert plain["privateKeyPemPkcs8"].startswith("-----BEGIN PRIVATE KEY-----")
        others = [
            load_pem_private_key(plain["privateKeyPemPkcs8"].encode(), None).public_key(),
            load_pem_public_key(plain["publicKeyPem"].encode()),
        ]
        if plain["privateKeyOpenssh"]:
            ssh = load_ssh_private_key(plain["privateKeyOpenssh"].encode(), None)
            others.append(ssh.public_key())
        for other in others:
            assert other.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == public

    @pytest.mark.parametrize("inputs", KEYS, ids=repr)
    def test_private_forms_are_secret_and_public_ones_are_not(
        self, tls: Plugin, inputs: dict[str, Any]
    ) -> None:
        outputs = tls.create(KEY, inputs).outputs
        assert {name for name, value in outputs.items() if isinstance(value, Secret)} == {
            "privateKeyPem",
            "privateKeyPemPkcs8",
            "privateKeyOpenssh",
        }

    def test_the_id_is_the_sha1_of_the_public_key(self, tls: Plugin) -> None:
        made = tls.create(KEY, {"algorithm": "RSA"})
        pem = made.outputs["publicKeyPem"]
        der = base64.b64decode("".join(pem.splitlines()[1:-1]))
        assert made.id == made.outputs["id"] == hashlib.sha1(der, usedforsecurity=False).hexdigest()
        # Without it the official plugin would convert the state from version 0 of its schema.
        assert made.outputs["__meta"] == '{"schema_version":"1"}'

    def test_fingerprints_are_what_openssh_says(self, tls: Plugin, tmp_path: Path) -> None:
        outputs = tls.create(KEY, {"algorithm": "ED25519"}).outputs
        assert outputs["publicKeyOpenssh"].endswith("\n")
        blob = base64.b64decode(outputs["publicKeyOpenssh"].split()[1])
        md5 = hashlib.md5(blob, usedforsecurity=False).hexdigest()
        assert outputs["publicKeyFingerprintMd5"].replace(":", "") == md5
        assert re.fullmatch(r"([0-9a-f]{2}:){15}[0-9a-f]{2}", outputs["publicKeyFingerprintMd5"])
        sha = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
        assert outputs["publicKeyFingerprintSha256"] == f"SHA256:{sha}"

    def test_p224_has_no_openssh_form(self, tls: Plugin) -> None:
        outputs = reveal(tls.create(KEY, {"algorithm": "ECDSA", "ecdsaCurve": "P224"}).outputs)
        for name in (
            "privateKeyOpenssh",
            "publicKeyOpenssh",
            "publicKeyFingerprintMd5",
            "publicKeyFingerprintSha256",
        ):
            assert outputs[name] == ""

    def test_sizes_and_curves_are_those_requested(self, tls: Plugin) -> None:
        def made(inputs: dict[str, Any]) -> Any:
            return load_pem_private_key(
                reveal(tls.create(KEY, inputs).outputs)["privateKeyPem"].encode(), None
            )

        rsa_key = made({"algorithm": "RSA", "rsaBits": 3072})
        assert isinstance(rsa_key, rsa.RSAPrivateKey)
        assert rsa_key.key_size == 3072
        ec_key = made({"algorithm": "ECDSA", "ecdsaCurve": "P384"})
        assert isinstance(ec_key.curve, ec.SECP384R1)

    def test_two_keys_differ(self, tls: Plugin) -> None:
        first, second = (tls.create(KEY, {"algorithm": "ED25519"}) for _ in range(2))
        assert first.id != second.id

    @pytest.mark.parametrize(
        ("old", "new", "expected"),
        [
            ({}, {"rsaBits": 2048, "ecdsaCurve": "P224"}, {}),
            ({"rsaBits": 2048}, {}, {}),
            ({}, {"rsaBits": 4096}, {"rsaBits": "UPDATE_REPLACE"}),
            ({}, {"ecdsaCurve": "P256"}, {"ecdsaCurve": "UPDATE_REPLACE"}),
            ({}, {"algorithm": "ED25519"}, {"algorithm": "UPDATE_REPLACE"}),
        ],
        ids=repr,
    )
    def test_every_change_replaces(
        self, tls: Plugin, old: dict[str, Any], new: dict[str, Any], expected: dict[str, str]
    ) -> None:
        made = tls.create(KEY, {"algorithm": "RSA", **old})
        response = tls.diff(made, {"algorithm": "RSA", **new})
        assert changed(response) == expected
        assert not response.deleteBeforeReplace

    @pytest.mark.parametrize(
        ("inputs", "message"),
        [
            ({}, "algorithm is required"),
            ({"algorithm": "DSA"}, "algorithm must be one of RSA, ECDSA, ED25519"),
            (
                {"algorithm": "ECDSA", "ecdsaCurve": "P25519"},
                "ecdsaCurve must be one of P224, P256",
            ),
            ({"algorithm": "RSA", "rsaBits": 512}, "rsaBits must be at least 1024"),
            ({"algorithm": "RSA", "colour": "red"}, "colour is not a property"),
        ],
    )
    def test_wrong_inputs_are_refused(
        self, tls: Plugin, inputs: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(CheckError, match=message):
            tls.check(KEY, inputs)

    def test_a_refresh_changes_nothing(self, tls: Plugin) -> None:
        made = tls.create(KEY, {"algorithm": "ED25519"})
        assert tls.read(made) == made
        tls.delete(made)

    def test_an_import_is_refused(self, tls: Plugin) -> None:
        with pytest.raises(PluginError, match="a private key cannot be imported"):
            tls.read(Resource(KEY, "it", "abc", {}, {}))

    def test_a_preview_makes_no_key(self, tls: Plugin) -> None:
        previewed = tls.create(KEY, {"algorithm": UNKNOWN}, preview=True)
        assert previewed.outputs["algorithm"] is UNKNOWN
        assert previewed.outputs["publicKeyPem"] is UNKNOWN
        assert previewed.outputs["privateKeyPem"] == Secret(UNKNOWN)
        assert previewed.outputs["rsaBits"] == 2048


class TestCertificate:
    def made(self, tls: Plugin, inputs: dict[str, Any]) -> tuple[Resource, x509.Certificate]:
        made = tls.create(CERT, inputs)
        return made, x509.load_pem_x509_certificate(made.outputs["certPem"].encode())

    @pytest.mark.parametrize("inputs", KEYS, ids=repr)
    def test_openssl_accepts_it_for_every_key(
        self, tls: Plugin, base: dict[str, Any], inputs: dict[str, Any], tmp_path: Path
    ) -> None:
        key = reveal(tls.create(KEY, inputs).outputs)
        made, _ = self.made(
            tls,
            {
                **base,
                "privateKeyPem": Secret(key["privateKeyPem"]),
                "subject": {"commonName": "hub.example.org"},
                "dnsNames": ["hub.example.org"],
            },
        )
        assert made.outputs["keyAlgorithm"] == inputs["algorithm"]
        file = tmp_path / "cert.pem"
        file.write_text(made.outputs["certPem"])
        assert openssl("verify", "-CAfile", str(file), text=file.read_text()).endswith("OK\n")
        assert openssl("x509", "-noout", "-pubkey", text=file.read_text()) == key["publicKeyPem"]

    def test_its_id_is_the_serial_number(self, tls: Plugin, base: dict[str, Any]) -> None:
        made, certificate = self.made(tls, base)
        assert made.id == made.outputs["id"] == str(certificate.serial_number)
        assert "__meta" not in made.outputs  # the official one writes none for schema version 0

    def test_its_times_are_in_the_state(self, tls: Plugin, base: dict[str, Any]) -> None:
        before = datetime.now(UTC)
        made, certificate = self.made(tls, base)
        start, end = (
            datetime.fromisoformat(made.outputs[f"validity{which}Time"])
            for which in ("Start", "End")
        )
        assert before <= start <= datetime.now(UTC)
        assert end - start == timedelta(hours=100)
        assert certificate.not_valid_before_utc == start.astimezone(UTC).replace(microsecond=0)
        assert certificate.not_valid_after_utc == end.astimezone(UTC).replace(microsecond=0)

    @pytest.mark.parametrize(
        ("zone", "pattern"),
        [
            ("UTC", r"\d\.?\d*Z"),
            ("Asia/Kolkata", r".*\+05:30"),
            ("America/St_Johns", r".*-0[23]:30"),
        ],
    )
    def test_its_times_are_written_as_go_writes_them(
        self, base: dict[str, Any], zone: str, pattern: str
    ) -> None:
        with running("plugins.tls", {}, {"TZ": zone}) as tls:
            made, _ = self.made(tls, base)
            text = made.outputs["validityStartTime"]
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d" + pattern, text), text
            assert changed(tls.diff(made, base)) == {}

    def test_its_names_are_those_requested(self, tls: Plugin, base: dict[str, Any]) -> None:
        _, certificate = self.made(
            tls,
            {
                **base,
                "subject": {
                    "commonName": "hub",
                    "country": "DE",
                    "locality": "Böblingen",
                    "province": "BW",
                    "organization": "Z shop",
                    "organizationalUnit": "",
                    "streetAddresses": ["Main street", "Side street"],
                    "postalCode": "71032",
                    "serialNumber": "42",
                    "emailAddress": "ops@example.org",
                },
                "dnsNames": ["hub", "*.example.org"],
                "ipAddresses": ["127.0.0.1", "::1", "::ffff:10.0.0.1"],
                "uris": ["spiffe://example.org/hub"],
            },
        )
        text = openssl(
            "x509",
            "-noout",
            "-subject",
            "-issuer",
            "-nameopt",
            "utf8,sep_comma_plus,esc_ctrl,sname",
            text=certificate.public_bytes(Encoding.PEM).decode(),
        )
        name = (
            "C=DE,O=Z shop,L=Böblingen,ST=BW,street=Main street+street=Side street,"
            "postalCode=71032,CN=hub,serialNumber=42,emailAddress=ops@example.org"
        )
        assert text == f"subject={name}\nissuer={name}\n"
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert [str(entry.value) for entry in alternative.value] == [
            "hub",
            "*.example.org",
            "127.0.0.1",
            "::1",
            "10.0.0.1",
            "spiffe://example.org/hub",
        ]
        assert not alternative.critical

    def test_without_a_subject_the_other_names_are_critical(
        self, tls: Plugin, base: dict[str, Any]
    ) -> None:
        _, certificate = self.made(tls, {**base, "dnsNames": ["hub"]})
        assert not list(certificate.subject)
        assert certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical

    def test_its_uses_are_those_requested(self, tls: Plugin, base: dict[str, Any]) -> None:
        uses = [
            "key_encipherment",
            "digital_signature",
            "server_auth",
            "any_extended",
            "crl_signing",
        ]
        _, certificate = self.made(tls, {**base, "allowedUses": uses})
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
        assert usage.critical
        flags = ("digital_signature", "key_encipherment", "crl_sign", "key_cert_sign")
        assert [getattr(usage.value, flag) for flag in flags] == [True, True, True, False]
        extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        assert [oid.dotted_string for oid in extended.value] == ["1.3.6.1.5.5.7.3.1", "2.5.29.37.0"]

    def test_without_uses_it_limits_none(self, tls: Plugin, base: dict[str, Any]) -> None:
        _, certificate = self.made(tls, {**base, "allowedUses": []})
        assert [type(extension.value) for extension in certificate.extensions] == [
            x509.BasicConstraints
        ]

    def test_an_authority_is_one(self, tls: Plugin, base: dict[str, Any]) -> None:
        _, certificate = self.made(
            tls,
            {
                **base,
                "allowedUses": ["cert_signing"],
                "isCaCertificate": True,
                "maxPathLength": 1,
                "setAuthorityKeyId": True,
                "subject": {"organization": "Z shop"},
            },
        )
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        assert constraints.critical
        assert (constraints.value.ca, constraints.value.path_length) == (True, 1)
        subject = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        authority = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
        assert authority.value.key_identifier == subject.value.digest

    @pytest.mark.parametrize("algorithm", ["RSA", "ECDSA", "ED25519"])
    def test_the_subject_key_id_is_gos(
        self, tls: Plugin, base: dict[str, Any], algorithm: str
    ) -> None:
        key = reveal(tls.create(KEY, {"algorithm": algorithm}).outputs)["privateKeyPem"]
        _, certificate = self.made(tls, {**base, "privateKeyPem": key, "setSubjectKeyId": True})
        public = certificate.public_key()
        if algorithm == "RSA":
            hashed = public.public_bytes(Encoding.DER, PublicFormat.PKCS1)
        elif algorithm == "ECDSA":
            hashed = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        else:
            hashed = b"\x04\x20" + public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        extension = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        assert extension.value.digest == hashlib.sha1(hashed, usedforsecurity=False).digest()

    def test_the_key_is_secret_and_the_certificate_is_not(
        self, tls: Plugin, base: dict[str, Any]
    ) -> None:
        made = tls.create(CERT, base)
        assert isinstance(made.inputs["privateKeyPem"], Secret)
        secret = {name for name, value in made.outputs.items() if isinstance(value, Secret)}
        assert secret == {"privateKeyPem"}

    @pytest.mark.parametrize(
        ("new", "expected"),
        [
            ({"validityPeriodHours": 200}, {"validityPeriodHours": "UPDATE_REPLACE"}),
            (
                {"allowedUses": ["server_auth"]},
                {"allowedUses[0]": "UPDATE_REPLACE", "allowedUses[1]": "DELETE_REPLACE"},
            ),
            ({"dnsNames": ["hub", "other"]}, {"dnsNames[1]": "ADD_REPLACE"}),
            ({"dnsNames": []}, {"dnsNames[0]": "DELETE_REPLACE"}),
            ({"ipAddresses": ["::1"]}, {"ipAddresses": "ADD_REPLACE"}),
            ({"ipAddresses": UNKNOWN}, {"ipAddresses": "ADD_REPLACE"}),
            ({"uris": ["a:b"]}, {"uris": "ADD_REPLACE"}),
            ({"subject": {"commonName": "b"}}, {"subject.commonName": "UPDATE_REPLACE"}),
            ({"subject": None}, {"subject": "DELETE_REPLACE"}),
            ({"isCaCertificate": True}, {"isCaCertificate": "UPDATE_REPLACE"}),
            ({"isCaCertificate": False}, {}),
            ({"setSubjectKeyId": True}, {"setSubjectKeyId": "UPDATE_REPLACE"}),
            ({"maxPathLength": -1}, {"maxPathLength": "ADD_REPLACE"}),
            ({"privateKeyPem": UNKNOWN}, {"privateKeyPem": "UPDATE_REPLACE"}),
            ({"earlyRenewalHours": 5}, {"earlyRenewalHours": "UPDATE"}),
            ({"earlyRenewalHours": 0}, {}),
            ({"validityPeriodHours": "100"}, {}),
        ],
        ids=repr,
    )
    def test_all_but_the_early_renewal_replaces(
        self, tls: Plugin, base: dict[str, Any], new: dict[str, Any], expected: dict[str, str]
    ) -> None:
        inputs = {**base, "dnsNames": ["hub"], "subject": {"commonName": "a"}}
        response = tls.diff(tls.create(CERT, inputs), {**inputs, **new})
        assert changed(response) == expected
        assert not response.deleteBeforeReplace  # the old one serves until the new one is there

    def test_the_early_renewal_is_updated_in_place(self, tls: Plugin, base: dict[str, Any]) -> None:
        made = tls.create(CERT, base)
        updated = tls.update(made, {**base, "earlyRenewalHours": 5})
        assert updated.outputs == {**made.outputs, "earlyRenewalHours": 5}
        previewed = tls.update(made, {**base, "earlyRenewalHours": 5}, preview=True)
        assert previewed.outputs == updated.outputs

    def test_a_path_length_left_out_again_stays(self, tls: Plugin, base: dict[str, Any]) -> None:
        inputs = {**base, "isCaCertificate": True, "subject": {"commonName": "ca"}}
        made = tls.create(CERT, {**inputs, "maxPathLength": 1})
        assert changed(tls.diff(made, inputs)) == {}
        updated = tls.update(made, {**inputs, "earlyRenewalHours": 5})
        assert updated.outputs["maxPathLength"] == 1

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"allowedUses": ["server"]}, r"allowedUses\[0\] must be one of any_extended, "),
            (
                {"allowedUses": ["encipher_only"]},
                "allowedUses encipher_only and decipher_only need",
            ),
            ({"validityPeriodHours": -1}, "validityPeriodHours must be at least 0"),
            ({"earlyRenewalHours": -1}, "earlyRenewalHours must be at least 0"),
            ({"dnsNames": ["böblingen.de"]}, r'dnsNames\[0\] is "böblingen.de"'),
            ({"ipAddresses": ["10.0.0.256"]}, r'ipAddresses\[0\] is "10.0.0.256"'),
            ({"ipAddresses": ["fe80::1%eth0"]}, r"ipAddresses\[0\] .*must not name a zone"),
            ({"uris": [""]}, r"uris\[0\] .*must not be empty"),
            ({"isCaCertificate": "true"}, "isCaCertificate must be a boolean, not a string"),
            ({"isCaCertificate": True}, "subject must have a name for a certificate authority"),
            ({"setAuthorityKeyId": True}, "setAuthorityKeyId needs setSubjectKeyId"),
            ({"maxPathLength": 1}, "maxPathLength needs isCaCertificate"),
            ({"subject": {"country": "Germany"}}, "subject.country must be a code of two letters"),
            ({"subject": {"name": "hub"}}, "subject.name is not a property"),
            ({"privateKeyPemWo": "x"}, "privateKeyPemWo is not supported by this plugin"),
            ({"certPem": "x"}, "certPem is an output and cannot be set"),
        ],
        ids=repr,
    )
    def test_wrong_inputs_are_refused(
        self, tls: Plugin, base: dict[str, Any], wrong: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(CheckError, match=message):
            tls.check(CERT, {**base, **wrong})

    @pytest.mark.parametrize(
        "key", ["no key", "-----BEGIN PRIVATE KEY-----\nMTIz\n-----END PRIVATE KEY-----\n"]
    )
    def test_an_invalid_key_is_one_message(
        self, tls: Plugin, base: dict[str, Any], key: str
    ) -> None:
        with pytest.raises(PluginError, match="privateKeyPem cannot be read: it must be an unenc"):
            tls.create(CERT, {**base, "privateKeyPem": key})

    def test_a_key_of_openssh_is_refused_as_the_official_one_does(
        self, tls: Plugin, base: dict[str, Any]
    ) -> None:
        key = reveal(tls.create(KEY, {"algorithm": "RSA"}).outputs)["privateKeyOpenssh"]
        with pytest.raises(PluginError, match="which OpenSSH's own form is not"):
            tls.create(CERT, {**base, "privateKeyPem": key})

    def test_an_end_after_the_year_9999_is_one_message(
        self, tls: Plugin, base: dict[str, Any]
    ) -> None:
        with pytest.raises(PluginError) as caught:
            tls.create(CERT, {**base, "validityPeriodHours": 10**9})
        assert "\n" not in str(caught.value)

    def test_a_preview_without_the_key_makes_nothing(
        self, tls: Plugin, base: dict[str, Any]
    ) -> None:
        inputs = {**base, "privateKeyPem": Secret(UNKNOWN)}
        previewed = tls.create(CERT, inputs, preview=True)
        assert previewed.outputs["certPem"] is UNKNOWN
        assert previewed.outputs["privateKeyPem"] == Secret(UNKNOWN)
        assert previewed.outputs["readyForRenewal"] is False

    def test_an_import_is_refused(self, tls: Plugin) -> None:
        with pytest.raises(PluginError, match="a certificate cannot be imported"):
            tls.read(Resource(CERT, "it", "42", {}, {}))


class TestRenewal:
    REPLACED: ClassVar = {"readyForRenewal": "UPDATE_REPLACE"}

    @pytest.mark.slow
    def test_a_preview_replaces_once_the_early_renewal_comes(
        self, tls: Plugin, base: dict[str, Any]
    ) -> None:
        inputs = {**base, "validityPeriodHours": 1, "earlyRenewalHours": 0}
        made = tls.create(CERT, inputs)
        # The end of a certificate created 59 minutes and 58 seconds ago.
        end = datetime.now().astimezone() + timedelta(seconds=2)
        made.outputs["validityEndTime"] = end.isoformat()
        assert changed(tls.diff(made, inputs)) == {}
        time.sleep(2.1)
        response = tls.diff(made, inputs)
        assert changed(response) == self.REPLACED
        assert list(response.replaces) == ["readyForRenewal"]
        assert not response.detailedDiff["readyForRenewal"].inputDiff

    def test_a_certificate_that_is_always_ready_says_so_at_once(
        self, tls: Plugin, base: dict[str, Any]
    ) -> None:
        inputs = {**base, "validityPeriodHours": 1, "earlyRenewalHours": 1}
        made = tls.create(CERT, inputs)
        assert made.outputs["readyForRenewal"] is True
        assert changed(tls.diff(made, inputs)) == self.REPLACED

    def test_a_longer_early_renewal_takes_effect_at_once(
        self, tls: Plugin, base: dict[str, Any]
    ) -> None:
        made = tls.create(CERT, base)
        assert changed(tls.diff(made, {**base, "earlyRenewalHours": 99})) == {
            "earlyRenewalHours": "UPDATE"
        }
        assert changed(tls.diff(made, {**base, "earlyRenewalHours": 100})) == {
            "earlyRenewalHours": "UPDATE",
            **self.REPLACED,
        }
        assert changed(tls.diff(made, {**base, "earlyRenewalHours": UNKNOWN})) == {
            "earlyRenewalHours": "UPDATE"
        }

    def test_a_refresh_sees_that_it_is_ready(self, tls: Plugin, base: dict[str, Any]) -> None:
        made = tls.create(CERT, base)
        assert tls.read(made) == made
        # The official plugin's format of times: nanoseconds, in the machine's time zone.
        made.outputs["validityEndTime"] = "2024-02-29T12:00:00.123456789+01:00"
        refreshed = tls.read(made)
        assert refreshed is not None
        assert refreshed.outputs == {**made.outputs, "readyForRenewal": True}
        assert changed(tls.diff(refreshed, base)) == self.REPLACED

    def test_a_shorter_early_renewal_undoes_readiness(
        self, tls: Plugin, base: dict[str, Any]
    ) -> None:
        made = tls.create(CERT, {**base, "earlyRenewalHours": 100})
        response = tls.diff(made, base)
        assert changed(response) == {"earlyRenewalHours": "UPDATE", "readyForRenewal": "UPDATE"}
        assert tls.update(made, base).outputs["readyForRenewal"] is False


class TestProvider:
    def test_its_configuration_is_refused_by_name(self) -> None:
        with running("plugins.tls") as plugin, pytest.raises(CheckError, match="tls:proxy is not"):
            plugin.configure(proxy='{"url":"http://proxy"}')

    @pytest.mark.parametrize(
        "name", ["certRequest:CertRequest", "locallySignedCert:LocallySignedCert"]
    )
    def test_other_types_are_refused_by_name(self, tls: Plugin, name: str) -> None:
        with pytest.raises(PluginError, match=f"no tls:index/{name}"):
            tls.check(f"tls:index/{name}", {})
