"""What makes pull requests safe: untrusted code runs without secrets or rights.

What runs after the merge is in test_delivery.py.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from toolchain.pins import PLUGINS
from toolchain.places import ROOT
from toolchain.stack import NAME

FOLDER = ROOT / ".github" / "workflows"

#: The rights of each job, by file. A job that is not listed here fails the test.
PULL_REQUESTS = {
    "plugins.yml": {"round-trip": {"contents": "read"}},
    "pull-request.yml": {
        "checks": {"contents": "read"},
        "preview": {"contents": "read", "pull-requests": "write"},
    },
}

RIGHTS: dict[str, dict[str, dict[str, str]]] = PULL_REQUESTS | {
    "backup.yml": {"stacks": {"contents": "read"}, "backup": {"contents": "read"}},
    "deliver.yml": {"preview": {"contents": "read"}, "up": {"contents": "read"}},
    "deploy.yml": {"stacks": {"contents": "read"}, "deliver": {"contents": "read"}},
    "drift.yml": {"stacks": {"contents": "read"}, "drift": {"contents": "read"}},
    "long.yml": {"long": {"contents": "read"}},
}

#: True only for branches of this repository; in a fork's pull request the name differs.
SAME_ROOT = "github.event.pull_request.head.repo.full_name == github.repository"

#: The key `on`, which YAML 1.1 reads as a boolean.
ON = True


@cache
def load(file: str) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load((FOLDER / file).read_text())
    return found


@pytest.fixture(params=RIGHTS)
def any_workflow(request: pytest.FixtureRequest) -> dict[Any, Any]:
    return load(request.param)


@pytest.fixture(scope="module")
def workflow() -> dict[Any, Any]:
    return load("pull-request.yml")


def steps(workflow: dict[Any, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job.get("steps", [])


def run_as_the_runner_would(script: str, folder: Path, **environment: str) -> None:
    command = ["bash", "-e", "-o", "pipefail", "-c", script]
    subprocess.run(command, cwd=folder, env={**os.environ, **environment}, check=True)


def test_there_is_no_other_workflow() -> None:
    """An untested workflow could give away the secrets."""
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(RIGHTS)


@pytest.mark.parametrize("file", PULL_REQUESTS)
def test_they_run_on_pull_requests_without_the_rights_of_the_target(file: str) -> None:
    on = load(file)[ON]
    assert on == "pull_request" or list(on) == ["pull_request"]
    assert "pull_request_target" not in (FOLDER / file).read_text().replace("#", "")


@pytest.mark.parametrize("file", RIGHTS)
def test_no_job_has_more_rights_than_it_needs(file: str) -> None:
    workflow = load(file)
    assert workflow["permissions"] == {}
    assert {name: job["permissions"] for name, job in workflow["jobs"].items()} == RIGHTS[file]


@pytest.mark.parametrize("file", PULL_REQUESTS)
def test_secrets_are_for_branches_of_this_repository_only(file: str) -> None:
    for name, job in load(file)["jobs"].items():
        if "secrets." in json.dumps(job):
            conditions = [part.strip() for part in job["if"].split("&&")]
            assert SAME_ROOT in conditions, f"{name}: must not run for forks"
            assert "||" not in job["if"]
            assert job["environment"] == "${{ matrix.stack }}"


def test_previews_alone_have_secrets(workflow: dict[Any, Any]) -> None:
    assert "secrets." not in json.dumps(load("plugins.yml"))
    assert "secrets." not in json.dumps(workflow["jobs"]["checks"])
    assert "secrets." in json.dumps(workflow["jobs"]["preview"])


def test_actions_are_pinned_to_a_commit_and_leave_no_credentials(
    any_workflow: dict[Any, Any],
) -> None:
    used = [step for step in steps(any_workflow) if "uses" in step]
    assert used
    for job in any_workflow["jobs"].values():
        assert "steps" in job or job["uses"].startswith("./")
    for step in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"])
        if step["uses"].startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
            assert "ref" not in step["with"]


def test_no_script_contains_text_from_a_pull_request(any_workflow: dict[Any, Any]) -> None:
    """GitHub replaces expressions before the shell runs: a title could contain commands."""
    for step in steps(any_workflow):
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


def test_long_tests_run_every_week_with_the_history_that_one_of_them_needs() -> None:
    workflow = load("long.yml")
    assert workflow[ON]["schedule"]
    assert "pull_request" not in workflow[ON]
    checkout, *_, last = steps(workflow)
    assert checkout["with"]["fetch-depth"] == 0
    assert ".ci/run long" in last["run"]


def test_stacks_are_found_by_their_files(workflow: dict[Any, Any], tmp_path: Path) -> None:
    """Runs the step's script as the runner would."""
    [script] = [step["run"] for step in steps(workflow) if step.get("id") == "stacks"]
    for name in (
        "Pulumi.yaml",
        "Pulumi.dev.yaml",
        "Pulumi.site-2.yaml",
        "Pulumi.Site_1.yaml",
        "Pulumi.site.eu.yaml",
        "Pulumi.production.example.yaml",
        "Pulumi.$(id).yaml",
        "README.md",
    ):
        (tmp_path / name).touch()
    output = tmp_path / "output"
    run_as_the_runner_would(script, tmp_path, GITHUB_OUTPUT=str(output))
    assert output.read_text() == 'names=["Site_1", "dev", "site-2", "site.eu"]\n'


@pytest.mark.parametrize("file", ["pull-request.yml", "deploy.yml", "drift.yml"])
def test_all_names_that_make_accepts_are_found(file: str) -> None:
    [script] = [step["run"] for step in steps(load(file)) if step.get("id") == "stacks"]
    assert f"({NAME.pattern})" in script


def test_a_changed_version_or_plugin_is_tested_against_pulumis_own() -> None:
    """The workflow runs if the files with the versions, or those of the test, change."""
    paths = load("plugins.yml")[ON]["pull_request"]["paths"]
    for file in (
        "toolchain/pins.py",
        "toolchain/pulumi-cli/go.mod",
        "requirements.txt",
        "requirements-dev.txt",
        "plugins/docker/container.py",
        "tests/plugins/test_round_trip.py",
        ".github/workflows/plugins.yml",
    ):
        assert (ROOT / file).exists()
        assert any(fnmatch(file, pattern) for pattern in paths), file
    *_, last = steps(load("plugins.yml"))
    assert 'ZHUB_OFFICIAL_PLUGINS="$RUNNER_TEMP/official"' in last["run"]
    assert "pytest tests/plugins/test_round_trip.py" in last["run"]


def test_it_installs_all_of_pulumis_own_plugins(tmp_path: Path) -> None:
    """Runs the step's script with a CLI that only records its arguments."""
    [script] = [step["run"] for step in steps(load("plugins.yml")) if step.get("id") == "official"]
    for name in ("toolchain", "requirements.txt"):
        (tmp_path / name).symlink_to(ROOT / name)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    pulumi = tmp_path / ".toolchain" / "cli" / "pulumi"
    pulumi.parent.mkdir(parents=True)
    pulumi.write_text('#!/bin/sh\necho "$PULUMI_HOME $*" >> asked\n')
    pulumi.chmod(0o755)
    run_as_the_runner_would(script, tmp_path, RUNNER_TEMP="/runner")
    assert (tmp_path / "asked").read_text().splitlines() == [
        f"/runner/official plugin install resource {name} {version}"
        for name, version in PLUGINS.items()
    ]
