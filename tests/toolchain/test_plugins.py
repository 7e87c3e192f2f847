"""Which provider plugins are installed, and which of them an operator installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolchain import plugins
from toolchain.pins import PLUGINS

#: Begins like every Linux executable.
BINARY = b"\x7fELF of an operator"
OFFICIAL = "\x7fELF of Pulumi\n"

#: Replaces a CLI that can download plugins: `plugin install resource NAME VERSION --reinstall`.
CLI = f"""#!/bin/sh
folder=$PULUMI_HOME/plugins/resource-$4-v$5
rm -rf "$folder"
mkdir -p "$folder"
printf '{OFFICIAL}' > "$folder/pulumi-resource-$4"
echo "$4" >> "$PULUMI_HOME/asked"
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("BIN", "CLI", "STATE"):
        monkeypatch.setattr(plugins, name, tmp_path / name.lower())
    monkeypatch.setattr(plugins, "PULUMI_HOME", tmp_path / "home")
    (tmp_path / "home").mkdir()
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli" / "pulumi").write_text(CLI)
    (tmp_path / "cli" / "pulumi").chmod(0o755)
    return tmp_path / "home"


def put(name: str, content: bytes, version: str = "") -> Path:
    path = plugins.plugin_path(name, version)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    path.chmod(0o755)
    return path


def ours(name: str, version: str = "") -> bool:
    return f"-m plugins.{name} " in plugins.plugin_path(name, version).read_text()


@pytest.fixture
def earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Versions that were pinned before."""
    file = tmp_path / "earlier.txt"
    file.write_text("# tls 0.0.1 is only named here\ntls 5.5.0\ndocker 5.0.0\ndocker 5.1.0\n")
    monkeypatch.setattr(plugins, "EARLIER_PLUGINS", file)
    return [("tls", "5.5.0"), ("docker", "5.0.0"), ("docker", "5.1.0")]


def test_plugins_of_this_project_are_written_once(capsys: pytest.CaptureFixture[str]) -> None:
    plugins.ensure(official=False)
    assert all(map(ours, PLUGINS))
    before = {name: plugins.plugin_path(name).stat().st_mtime_ns for name in PLUGINS}
    plugins.ensure(official=False)
    assert {name: plugins.plugin_path(name).stat().st_mtime_ns for name in PLUGINS} == before
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("official", [False, True])
@pytest.mark.parametrize("content", [BINARY, b'#!/bin/sh\nexec /opt/pulumi-resource-tls "$@"\n'])
def test_a_plugin_that_an_operator_installed_is_kept(
    capsys: pytest.CaptureFixture[str], content: bytes, *, official: bool
) -> None:
    path = put("tls", content)
    for _ in range(2):
        plugins.ensure(official=official)
        assert path.read_bytes() == content
        assert f"the tls plugin is not this project's and is kept: {path}" in (
            capsys.readouterr().err
        )
    assert ours("docker") != official


def test_this_projects_plugins_have_the_versions_that_states_of_before_name(
    home: Path, earlier: list[tuple[str, str]]
) -> None:
    plugins.ensure(official=False)
    assert all(map(ours, PLUGINS))
    assert all(ours(name, version) for name, version in earlier)
    assert len(list((home / "plugins").iterdir())) == len(PLUGINS) + len(earlier)


def test_pulumis_own_cli_downloads_those_itself(home: Path, earlier: list[tuple[str, str]]) -> None:
    plugins.ensure(official=True)
    assert len(list((home / "plugins").iterdir())) == len(PLUGINS)


def test_an_operators_plugin_of_an_earlier_version_is_kept(
    capsys: pytest.CaptureFixture[str], earlier: list[tuple[str, str]]
) -> None:
    path = put("docker", BINARY, "5.1.0")
    plugins.ensure(official=False)
    assert path.read_bytes() == BINARY
    assert f"is kept: {path}" in capsys.readouterr().err
    assert ours("docker")
    assert ours("docker", "5.0.0")


def test_once_it_is_removed_this_projects_plugin_is_installed() -> None:
    path = put("tls", BINARY)
    plugins.ensure(official=False)
    path.unlink()
    plugins.ensure(official=False)
    assert ours("tls")


def test_the_script_of_another_clone_or_release_is_not_an_operators() -> None:
    put("tls", b'#!/bin/sh\nexec /old/clone/.venv/bin/python -m plugins.tls "$@"\n')
    plugins.ensure(official=False)
    assert f"exec {plugins.python()} -m plugins.tls" in plugins.plugin_path("tls").read_text()


def test_pulumis_own_are_downloaded_once_and_replaced_by_portable(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugins.ensure(official=False)
    plugins.ensure(official=True)
    plugins.ensure(official=True)
    assert (home / "asked").read_text().split() == list(PLUGINS)
    assert {plugins.plugin_path(name).read_text() for name in PLUGINS} == {OFFICIAL}
    plugins.ensure(official=False)
    assert all(map(ours, PLUGINS))
    assert "is kept" not in capsys.readouterr().err
