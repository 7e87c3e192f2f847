"""What makes previews in pull requests safe: untrusted code runs without secrets or rights."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.recorder import ROOT

FILE = ROOT / ".github" / "workflows" / "pull-request.yml"

#: Holds for branches of this repository alone; a fork's pull request has another full name.
SAME_REPOSITORY = "github.event.pull_request.head.repo.full_name == github.repository"


@pytest.fixture(scope="module")
def workflow() -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load(FILE.read_text())
    return found


def steps(workflow: dict[Any, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job["steps"]


def test_there_is_no_other_workflow() -> None:
    """One that is not tested here could give away what this one keeps."""
    assert [path.name for path in FILE.parent.iterdir()] == [FILE.name]


def test_it_runs_on_pull_requests_without_the_rights_of_the_target(
    workflow: dict[Any, Any],
) -> None:
    # YAML 1.1 reads the key `on` as true.
    assert workflow[True] == "pull_request"
    assert "pull_request_target" not in FILE.read_text().replace("#", "")


def test_no_job_has_more_rights_than_it_needs(workflow: dict[Any, Any]) -> None:
    assert workflow["permissions"] == {}
    assert {name: job["permissions"] for name, job in workflow["jobs"].items()} == {
        "checks": {"contents": "read"},
        "preview": {"contents": "read", "pull-requests": "write"},
    }


def test_secrets_are_for_branches_of_this_repository_only(workflow: dict[Any, Any]) -> None:
    for name, job in workflow["jobs"].items():
        if "secrets." in json.dumps(job):
            conditions = [part.strip() for part in job["if"].split("&&")]
            assert SAME_REPOSITORY in conditions, f"{name}: must not run for forks"
            assert "||" not in job["if"]
            assert job["environment"] == "${{ matrix.stack }}"
    assert "secrets." not in json.dumps(workflow["jobs"]["checks"])
    assert "secrets." in json.dumps(workflow["jobs"]["preview"])


def test_actions_are_pinned_to_a_commit_and_leave_no_credentials(workflow: dict[Any, Any]) -> None:
    used = [step for step in steps(workflow) if "uses" in step]
    assert used
    for step in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"])
        if step["uses"].startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
            assert "ref" not in step["with"]


def test_no_script_is_made_of_what_a_pull_request_says(workflow: dict[Any, Any]) -> None:
    """An expression in a script is replaced before the shell sees it: a title could be commands."""
    for step in steps(workflow):
        assert "${{" not in step.get("run", "")


def test_each_stack_is_previewed_and_nothing_is_changed(workflow: dict[Any, Any]) -> None:
    pulumi = [step for step in steps(workflow) if step.get("uses", "").startswith("pulumi/")]
    [preview] = pulumi
    assert preview["with"]["command"] == "preview"
    assert preview["with"]["stack-name"] == "${{ matrix.stack }}"
    assert preview["with"]["comment-on-pr"] is True
    assert preview["with"]["refresh"] is False
    assert (ROOT / preview["with"]["policyPacks"] / "PulumiPolicy.yaml").exists()
    for step in steps(workflow):
        assert not re.search(r"pulumi (up|destroy|refresh)|make (up|down)", step.get("run", ""))


def test_stacks_are_found_by_their_files(workflow: dict[Any, Any], tmp_path: Path) -> None:
    """Really run, as the runner would."""
    [script] = [step["run"] for step in steps(workflow) if step.get("id") == "stacks"]
    for name in (
        "Pulumi.yaml",
        "Pulumi.dev.yaml",
        "Pulumi.site-2.yaml",
        "Pulumi.production.example.yaml",
        "Pulumi.$(id).yaml",
        "README.md",
    ):
        (tmp_path / name).touch()
    output = tmp_path / "output"
    command = ["bash", "-e", "-o", "pipefail", "-c", script]
    subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "GITHUB_OUTPUT": str(output)}, check=True
    )
    assert output.read_text() == 'names=["dev", "site-2"]\n'
