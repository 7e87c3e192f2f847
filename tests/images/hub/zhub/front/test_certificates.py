"""How the hub checks its key and certificate, with real files."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from zhub.front import certificates
from zhub.settings import SettingsError

from tests.pki import DAY, Identity, passphrase, quick_key


def problems(folder: Path) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        certificates.find(folder)
    return list(caught.value.problems)


@pytest.fixture(scope="module")
def identity() -> Identity:
    return Identity.create("localhost", key=quick_key())


def test_a_key_and_its_certificate_are_found_whatever_their_names(
    tmp_path: Path, identity: Identity
) -> None:
    identity.write(tmp_path, "any name")
    (tmp_path / "ldap-ca.pem").write_text("another ending is none of the hub's business")
    pair = certificates.find(tmp_path)
    assert (pair.key.name, pair.certificate.name) == ("any name.key", "any name.crt")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path / "certs")
    assert "certs is not there" in problem


def test_an_empty_folder_lacks_both(tmp_path: Path) -> None:
    key, certificate = problems(tmp_path)
    assert "exactly one *.key file, but holds: none" in key
    assert "exactly one *.crt file, but holds: none" in certificate


def test_two_of_each_are_named(tmp_path: Path, identity: Identity) -> None:
    identity.write(tmp_path, "a")
    identity.write(tmp_path, "b")
    key, certificate = problems(tmp_path)
    assert "holds: a.key, b.key" in key
    assert "holds: a.crt, b.crt" in certificate


def test_a_key_of_another_certificate_is_refused(tmp_path: Path, identity: Identity) -> None:
    Identity.create("other", key=quick_key()).write(tmp_path, "hub")
    (tmp_path / "hub.key").unlink()
    identity.write(tmp_path / "elsewhere", "hub")
    (tmp_path / "elsewhere" / "hub.key").rename(tmp_path / "hub.key")
    (problem,) = problems(tmp_path)
    assert "hub.key is not the key of" in problem


@pytest.mark.parametrize("begin", [DAY, -2 * DAY])
def test_one_outside_of_its_time_does_not_keep_the_hub_down(
    begin: timedelta, tmp_path: Path
) -> None:
    other = Identity.create("localhost", begin=begin, end=begin + DAY, key=quick_key())
    other.write(tmp_path, "hub")
    assert certificates.find(tmp_path).certificate.name == "hub.crt"


def test_an_encrypted_key_is_refused(tmp_path: Path, identity: Identity) -> None:
    identity.write(tmp_path, "hub", encryption=passphrase("secret"))
    (problem,) = problems(tmp_path)
    assert "hub.key is encrypted" in problem


def test_a_key_too_short_for_openssl_is_refused(tmp_path: Path) -> None:
    Identity.create("localhost", bits=1024).write(tmp_path, "hub")
    (problem,) = problems(tmp_path)
    assert problem.endswith("hub.crt cannot be used: EE_KEY_TOO_SMALL")


def test_files_that_are_not_pem_are_both_named(tmp_path: Path) -> None:
    (tmp_path / "hub.key").write_bytes(b"\x00binary")
    (tmp_path / "hub.crt").write_text("")
    key, certificate = problems(tmp_path)
    assert "hub.key is not a private key in PEM form" in key
    assert "hub.crt is not a certificate in PEM form" in certificate


def test_unreadable_files_are_named(tmp_path: Path, identity: Identity) -> None:
    identity.write(tmp_path, "hub")
    (tmp_path / "hub.key").unlink()
    (tmp_path / "hub.key").symlink_to(tmp_path / "nowhere")
    (problem,) = problems(tmp_path)
    assert "hub.key cannot be read: No such file or directory" in problem
