"""The policy pack, run by the real CLI through the language host."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.toolchain.conftest import Project
from toolchain.places import ROOT

pytestmark = pytest.mark.slow

PACK = str(ROOT / "policy")

#: Has a provider for a remote engine, which a preview does not contact.
PROGRAM = """
import pulumi
import pulumi_docker as docker

engine = docker.Provider("engine", host="ssh://ops@z.example.com")
docker.Volume(
    "state",
    name="zhub-test-state",
    labels=[
        {{"label": "zhub.stack", "value": "zhub-test"}},
        {{"label": "zhub.role", "value": "state"}},
    ],
    driver_opts={options},
    opts=pulumi.ResourceOptions(provider=engine),
)
"""

#: Settings of the whole program; a preview contacts neither engine nor directory.
SETTINGS = """
config:
  docker:host: ssh://ops@z.example.com
  zhub:demoDirectory: "true"
  zhub:profiles:
    - name: with-r
      packages: [r-base-dev]
"""


def test_a_preview_fails_where_a_policy_is_violated(project: Project) -> None:
    overlay = {"type": "overlay", "device": "overlay", "o": "lowerdir=/,upperdir=/x,workdir=/y"}
    project.write(PROGRAM.format(options=overlay))
    shown = project.pulumi("preview", "--policy-pack", PACK, fails=True)
    assert "[mandatory]" in shown
    assert "volumes" in shown
    assert 'state: driverOpts is {"' in shown
    assert "allowed: not set" in shown


def test_a_preview_succeeds_without_a_violation(project: Project) -> None:
    project.write(PROGRAM.format(options=None))
    shown = project.pulumi("preview", "--policy-pack", PACK)
    assert "zhub@v1.0.0" in shown


@pytest.mark.parametrize("prefix", ["", "zhub-old"], ids=["default", "renamed"])
def test_the_programs_own_preview_passes(project: Project, tmp_path: Path, prefix: str) -> None:
    """The policies see the inputs after the plugins' check and defaults."""
    settings = tmp_path / "Pulumi.test.yaml"
    settings.write_text(SETTINGS + (f"  zhub:prefix: {prefix}\n" if prefix else ""))
    files = ("--config-file", str(settings), "--policy-pack", PACK)
    shown = project.pulumi("preview", "--cwd", str(ROOT), *files)
    assert "docker:index:Container hub create" in shown
    assert "docker:index:Image profile_with_r create" in shown
    assert "zhub@v1.0.0" in shown


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A copy of the pack, for tests that break it."""
    folder = tmp_path / "pack"
    shutil.copytree(ROOT / "policy", folder)
    text = (folder / "PulumiPolicy.yaml").read_text()
    (folder / "PulumiPolicy.yaml").write_text(text.replace("../.venv", str(ROOT / ".venv")))
    return folder


def test_a_pack_that_does_not_start_says_why(project: Project, pack: Path) -> None:
    (pack / "policies.py").write_text("raise SystemError('of the pack')\n")
    shown = project.pulumi("preview", "--policy-pack", str(pack), fails=True)
    assert "SystemError: of the pack" in shown
