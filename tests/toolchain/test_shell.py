"""Which variables `make env` sets in a shell, and which it keeps."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from toolchain import passphrase, shell


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone's state folder, in a shell that has no Pulumi settings."""
    for name in [name for name in os.environ if name.startswith("PULUMI_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(shell, "STATE", tmp_path / "state")
    monkeypatch.setattr(passphrase, "STATE", tmp_path / "state")
    monkeypatch.setattr(shell, "CREDENTIALS", tmp_path / "credentials.json")
    return tmp_path / "state"


@pytest.mark.parametrize("name", ["dev", "site"])
def test_a_shell_is_set_to_the_stack_and_holds_no_passphrase(state: Path, name: str) -> None:
    assert shell.settings(name) == {
        "PULUMI_STACK": name,
        "PULUMI_CONFIG_PASSPHRASE": None,
        "PULUMI_CONFIG_PASSPHRASE_FILE": None,
        "PULUMI_BACKEND_URL": state.as_uri(),
    }
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert list(state.iterdir()) == []


def test_no_other_way_to_name_a_stack_is_left(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would have more weight than PULUMI_STACK."""
    monkeypatch.setenv("PULUMI_OPTION_STACK", "other")
    assert shell.settings("site")["PULUMI_OPTION_STACK"] is None
    assert "unset PULUMI_OPTION_STACK" in shell.exports("site")


@pytest.mark.parametrize("name", ["PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE"])
@pytest.mark.parametrize("of", ["dev", "site"])
def test_the_shells_own_passphrase_stays(
    state: Path, monkeypatch: pytest.MonkeyPatch, name: str, of: str
) -> None:
    monkeypatch.setenv(name, "/own")
    assert shell.settings(of) == {"PULUMI_STACK": of, "PULUMI_BACKEND_URL": state.as_uri()}


@pytest.mark.parametrize("of", ["dev", "site"])
def test_variables_of_an_earlier_release_are_unset(
    state: Path, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "zhub-dev")
    assert shell.settings(of)["PULUMI_CONFIG_PASSPHRASE"] is None
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", str(state / "passphrase-site"))
    assert shell.settings(of)["PULUMI_CONFIG_PASSPHRASE_FILE"] is None


def test_a_chosen_backend_stays(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://bucket")
    assert shell.settings("dev")["PULUMI_BACKEND_URL"] == "s3://bucket"
    monkeypatch.delenv("PULUMI_BACKEND_URL")
    state.with_name("credentials.json").write_text("{}")
    assert "PULUMI_BACKEND_URL" not in shell.settings("dev")
