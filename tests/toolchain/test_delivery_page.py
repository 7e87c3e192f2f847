"""The pipeline in docs/delivery.md and the workflows, checked with the tools they call."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.toolchain.conftest import go_install, require_toolchain
from toolchain.places import CLI, ROOT

pytestmark = pytest.mark.slow

#: Top-level keywords of a GitLab pipeline that are not jobs.
NO_JOBS = ("stages", "default", "variables")

Pipeline = dict[str, Any]


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    page = (ROOT / "docs/delivery.md").read_text()
    [text] = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    found: Pipeline = yaml.safe_load(text)
    return found


def jobs(pipeline: Pipeline) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, job in pipeline.items():
        if name not in NO_JOBS and not name.startswith("."):
            yield name, pipeline.get(job.get("extends", ""), {}) | job


def lines(job: dict[str, Any]) -> list[str]:
    return [*job.get("before_script", []), *job["script"]]


def test_each_job_has_a_stage_and_says_when(pipeline: Pipeline) -> None:
    for name, job in jobs(pipeline):
        assert job["stage"] in pipeline["stages"], name
        assert job.get("extends", ".engine") in pipeline
        assert all("$CI_PIPELINE_SOURCE ==" in rule["if"] for rule in job["rules"])


def test_what_changes_a_stack_runs_alone_in_the_environment_for_it(pipeline: Pipeline) -> None:
    changing = {name for name, job in jobs(pipeline) if any("make up" in x for x in lines(job))}
    assert changing == {"deploy", "renew"}
    for name, job in jobs(pipeline):
        if name in changing:
            assert job["environment"] == "$STACK-deploy"
            assert job["resource_group"] == "$STACK"
            assert all("merge_request" not in rule["if"] for rule in job["rules"])
    assert pipeline["deploy"]["rules"][0]["when"] == "manual"


def test_the_engines_key_is_in_no_environment_that_merge_requests_use(pipeline: Pipeline) -> None:
    environments = {}
    for name, job in jobs(pipeline):
        found = job.get("environment")
        environments[name] = found["name"] if isinstance(found, dict) else found
    with_key = {name for name, job in jobs(pipeline) if any("SSH_KEY" in x for x in lines(job))}
    assert with_key == {"deploy", "renew", "drift"}
    assert environments["drift"] == "$STACK-drift"
    for name, job in jobs(pipeline):
        if any("merge_request" in rule["if"] for rule in job["rules"]):
            assert environments[name] not in {environments[other] for other in with_key}


def test_its_lines_are_valid_shell_and_call_existing_commands(pipeline: Pipeline) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = set()
    for _, job in jobs(pipeline):
        for line in lines(job):
            subprocess.run(["bash", "-n", "-c", line], check=True)
            called |= set(re.findall(r"\bmake ([a-z]+)", line))
            for path in re.findall(r"tests/\S+", line):
                assert (ROOT / path).exists()
    assert {"lint", "preview", "up", "toolchain"} == called
    assert called <= targets


def test_pulumi_knows_its_options(pipeline: Pipeline) -> None:
    require_toolchain()
    shown = subprocess.run(
        [CLI / "pulumi", "preview", "--help"], capture_output=True, text=True, check=True
    ).stdout
    [line] = [x for _, job in jobs(pipeline) for x in lines(job) if ".toolchain/bin/pulumi" in x]
    options = re.findall(r" (--[a-z-]+)", line)
    assert "--expect-no-changes" in options
    for option in options:
        assert re.search(rf"^\s.*{option}\b", shown, re.MULTILINE), option


def test_actionlint_accepts_the_workflows() -> None:
    if not (actionlint := shutil.which("actionlint")):
        pytest.skip(f"no actionlint here: {go_install('actionlint')}")
    files = sorted((ROOT / ".github/workflows").iterdir())
    result = subprocess.run([actionlint, *files], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
