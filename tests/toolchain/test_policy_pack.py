"""The policy pack, run by the real CLI through the language host."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.toolchain.conftest import Project
from toolchain.places import ROOT

PACK = str(ROOT / "policy")

#: A provider for an engine elsewhere, which a preview does not ask.
PROGRAM = """
import pulumi
import pulumi_docker as docker

engine = docker.Provider("engine", host="ssh://ops@z.example.com")
docker.Container(
    "tool",
    image="tool",
    memory=64,
    memory_swap=64,
    capabilities={{"drops": ["ALL"]}},
    security_opts=["no-new-privileges:true"],
    privileged={privileged},
    opts=pulumi.ResourceOptions(provider=engine),
)
"""


def test_a_preview_fails_where_a_policy_is_violated(project: Project) -> None:
    project.write(PROGRAM.format(privileged=True))
    shown = project.pulumi("preview", "--policy-pack", PACK, fails=True)
    assert "[mandatory]" in shown
    assert "not-privileged" in shown
    assert "tool: privileged is set" in shown


def test_a_preview_succeeds_where_none_is(project: Project) -> None:
    project.write(PROGRAM.format(privileged=False))
    shown = project.pulumi("preview", "--policy-pack", PACK)
    assert "zhub@v1.0.0" in shown


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A copy of the pack, to be broken."""
    folder = tmp_path / "pack"
    shutil.copytree(ROOT / "policy", folder)
    text = (folder / "PulumiPolicy.yaml").read_text()
    (folder / "PulumiPolicy.yaml").write_text(text.replace("../.venv", str(ROOT / ".venv")))
    return folder


def test_a_pack_that_does_not_start_says_why(project: Project, pack: Path) -> None:
    (pack / "policies.py").write_text("raise SystemError('of the pack')\n")
    shown = project.pulumi("preview", "--policy-pack", str(pack), fails=True)
    assert "SystemError: of the pack" in shown
