"""What `system` stands for: settings of pip, npm and the machine's CA certificates."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.settings import machine
from components.settings.parsing import RefusedError, certificates
from tests.components.recorder import identity


def test_ca_certificates_an_administrator_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "ca-certificates"
    identity("a.example.com").write(folder, "a")
    identity("b.example.com").write(folder / "site", "b")
    (folder / "README").write_text("not a certificate")
    monkeypatch.setattr(machine, "CA_FOLDERS", (tmp_path / "none", folder))
    found = {
        certificate.subject.rfc4514_string()
        for certificate in certificates(machine.ca_certificates())
    }
    assert found == {"CN=a.example.com", "CN=b.example.com"}


def test_a_machine_without_further_ca_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CA_FOLDERS", (tmp_path,))
    assert machine.ca_certificates() == b""


@pytest.mark.slow
def test_pip_is_asked_and_its_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://packages.example.com/file\n")
    assert machine.pip_index_url() == "https://packages.example.com/file"
    monkeypatch.setenv("PIP_INDEX_URL", "https://packages.example.com/environment")
    assert machine.pip_index_url() == "https://packages.example.com/environment"


@pytest.mark.slow
def test_a_pip_without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    assert machine.pip_index_url() == ""


@pytest.mark.slow
def test_a_pip_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pip.conf").write_text("index-url = before any section\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    with pytest.raises(RefusedError, match=r"pip config list` failed: .*pip\.conf"):
        machine.pip_index_url()


def test_npm_is_asked_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://packages.example.com/npm/")
    assert machine.npm_registry() == "https://packages.example.com/npm/"


def test_without_npm_its_environment_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("NPM_CONFIG_REGISTRY", raising=False)
    assert machine.npm_registry() == ""
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://packages.example.com/npm/")
    assert machine.npm_registry() == "https://packages.example.com/npm/"
