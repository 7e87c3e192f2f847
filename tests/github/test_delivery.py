"""The workflows after a merge: they deploy only merged code, after a preview and an approval."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.github.test_workflow import FOLDER, ON, load, run_as_the_runner_would, steps

DELIVERY = ("backup.yml", "deploy.yml", "deliver.yml", "drift.yml")

#: A manual run could choose another branch; scheduled ones use the default branch.
MAIN = "github.ref == 'refs/heads/main'"

REMOTE = "config:\n  docker:host: ssh://ops@z.example.com\n"


def script(file: str, name: str) -> str:
    [found] = [step["run"] for step in steps(load(file)) if step.get("id") == name]
    run: str = found
    return run


def test_it_runs_for_the_main_branch_only() -> None:
    assert load("deploy.yml")[ON]["push"] == {"branches": ["main"]}
    assert set(load("deploy.yml")[ON]) == {"push", "schedule", "workflow_dispatch"}
    assert set(load("drift.yml")[ON]) == {"schedule", "workflow_dispatch"}
    assert set(load("backup.yml")[ON]) == {"schedule", "workflow_dispatch"}
    assert set(load("deliver.yml")[ON]) == {"workflow_call"}
    for file in ("backup.yml", "deploy.yml", "drift.yml"):
        first, *others = load(file)["jobs"].values()
        assert first["if"] == MAIN
        assert all(job["needs"] == "stacks" for job in others)


def test_certificates_are_renewed_in_time() -> None:
    """A generated one is renewed in its last 30 days: once a month would be a day too late."""
    [schedule] = load("deploy.yml")[ON]["schedule"]
    assert schedule["cron"].split()[2:] == ["1,15", "*", "*"]


def test_nothing_is_changed_before_a_preview_and_an_approval() -> None:
    preview, up = load("deliver.yml")["jobs"].values()
    assert preview["environment"] == "${{ inputs.stack }}"
    assert up["environment"] == "${{ inputs.stack }}-deploy"
    assert up["needs"] == "preview"
    assert up["concurrency"] == {"group": "up-${{ inputs.stack }}", "cancel-in-progress": False}
    assert "make up" in script("deliver.yml", "up")
    for file, name in (
        ("deliver.yml", "preview"),
        ("drift.yml", "drift"),
        ("backup.yml", "backup"),
    ):
        assert " up" not in script(file, name).replace("set up", "").replace("back up", "")


def test_a_merge_is_brought_up_also_if_no_resource_changes() -> None:
    """`protect` and `retain` are options of a resource: the preview counts it as the same."""
    conditions = load("deliver.yml")["jobs"]["up"]["if"].split(" || ")
    assert conditions == [
        "github.event_name != 'schedule'",
        "needs.preview.outputs.changes == 'true'",
    ]


def test_secrets_are_those_of_an_environment() -> None:
    for file in DELIVERY:
        for job in load(file)["jobs"].values():
            if "secrets." in json.dumps(job):
                assert "environment" in job
    assert load("deploy.yml")["jobs"]["deliver"]["secrets"] == "inherit"


def test_the_engines_key_is_in_no_environment_that_all_branches_may_use() -> None:
    """It is as good as root on the engine's machine: only main may use it, in one step of a job."""
    found = []
    for file in sorted(path.name for path in FOLDER.iterdir()):
        workflow = load(file)
        assert "SSH_KEY" not in json.dumps(workflow.get("env"))
        for job in workflow["jobs"].values():
            assert "SSH_KEY" not in json.dumps(job.get("env"))
            found += [
                (file, job["environment"], step["id"])
                for step in job.get("steps", [])
                if "SSH_KEY" in json.dumps(step.get("env"))
            ]
    assert found == [
        ("backup.yml", "${{ matrix.stack }}-backup", "backup"),
        ("deliver.yml", "${{ inputs.stack }}-deploy", "up"),
        ("drift.yml", "${{ matrix.stack }}-drift", "drift"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("file", ["backup.yml", "deploy.yml", "drift.yml"])
def test_only_stacks_on_a_remote_engine_are_deployed(file: str, tmp_path: Path) -> None:
    for name, text in {
        "Pulumi.yaml": REMOTE,
        "Pulumi.dev.yaml": "config:\n  zhub:demoDirectory: true\n",
        "Pulumi.local.yaml": "config:\n  # docker:host: ssh://ops@z.example.com\n",
        "Pulumi.site-2.yaml": REMOTE,
        "Pulumi.Site_1.yaml": REMOTE,
        "Pulumi.site.eu.yaml": REMOTE,
        "Pulumi.tls.yaml": REMOTE.replace("ssh://ops@z", "'tcp://z"),
        "Pulumi.production.example.yaml": REMOTE,
        "Pulumi.$(id).yaml": REMOTE,
    }.items():
        (tmp_path / name).write_text(text)
    output = tmp_path / "output"
    run_as_the_runner_would(script(file, "stacks"), tmp_path, GITHUB_OUTPUT=str(output))
    assert output.read_text() == 'names=["Site_1", "site-2", "site.eu", "tls"]\n'


@pytest.fixture
def runner(tmp_path: Path) -> Path:
    """A folder with a `make` and a `pulumi` that record their arguments."""
    for name in ("bin/make", ".toolchain/bin/pulumi"):
        file = tmp_path / name
        file.parent.mkdir(parents=True)
        file.write_text(
            "#!/bin/sh\n"
            f'echo "{file.name} $*" >> asked\n'
            '[ -z "$SSH_KEY" ] || echo leaked >> asked\n'
            'case "$*" in *--json*) echo "$JSON";; *) echo "what is shown";; esac\n'
            'exit "${CODE:-0}"\n'
        )
        file.chmod(0o755)
    (tmp_path / "bin/rsync").write_text('#!/bin/sh\necho "rsync $*" >> asked\n')
    (tmp_path / "bin/rsync").chmod(0o755)
    (tmp_path / "bin/ssh-add").write_text("#!/bin/sh\ncat > added\n")
    (tmp_path / "bin/ssh-agent").write_text("#!/bin/sh\necho 'SSH_AGENT_PID=1; echo started;'\n")
    for name in ("ssh-add", "ssh-agent"):
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def run(runner: Path, file: str, name: str, **more: str) -> subprocess.CompletedProcess[str]:
    assert load(file)["defaults"] == {"run": {"shell": "bash"}}
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script(file, name)],
        cwd=runner,
        env={
            "PATH": f"{runner / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(runner),
            "STACK": "site",
            "GITHUB_OUTPUT": str(runner / "output"),
            "GITHUB_STEP_SUMMARY": str(runner / "summary"),
            **more,
        },
        capture_output=True,
        text=True,
        check=False,
    )


BACKEND = {"PULUMI_BACKEND_URL": "s3://bucket"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps_of", "changes"),
    [({"same": 18}, "false"), ({"same": 17, "replace": 1}, "true"), ({"create": 2}, "true")],
)
def test_a_schedule_without_changes_asks_nobody(
    runner: Path, steps_of: dict[str, int], changes: str
) -> None:
    preview = json.dumps({"changeSummary": steps_of})
    result = run(runner, "deliver.yml", "preview", JSON=preview, **BACKEND)
    assert result.returncode == 0, result.stderr
    assert (runner / "output").read_text() == f"changes={changes}\n"
    assert (runner / "asked").read_text().splitlines()[0] == "make preview STACK=site"
    assert "what is shown" in (runner / "summary").read_text()


@pytest.mark.slow
def test_a_preview_that_fails_fails_the_job(runner: Path) -> None:
    assert run(runner, "deliver.yml", "preview", CODE="1", **BACKEND).returncode
    assert not (runner / "output").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "name"), [("deliver.yml", "preview"), ("deliver.yml", "up"), ("drift.yml", "drift")]
)
def test_a_runner_without_a_backend_does_nothing(runner: Path, file: str, name: str) -> None:
    result = run(runner, file, name, PULUMI_BACKEND_URL="")
    assert result.returncode
    assert "PULUMI_BACKEND_URL: is not set in the environment site" in result.stderr
    assert not (runner / "asked").exists()


@pytest.mark.slow
def test_the_key_goes_to_the_agent_only(runner: Path) -> None:
    keys = {"SSH_KEY": "key of tests", "SSH_KNOWN_HOSTS": "z.example.com ssh-ed25519 AAAA"}
    for file, name in (("deliver.yml", "up"), ("drift.yml", "drift")):
        result = run(runner, file, name, **BACKEND, **keys)
        assert result.returncode == 0, result.stderr
        assert (runner / "added").read_text() == "key of tests\n"
        assert "z.example.com" in (runner / ".ssh/known_hosts").read_text()
        assert (runner / ".ssh").stat().st_mode & 0o077 == 0
        assert "key of tests" not in result.stdout + result.stderr
    asked = (runner / "asked").read_text().splitlines()
    assert asked[0] == "make up STACK=site"
    assert asked[-1] == "pulumi preview --refresh --expect-no-changes --diff --stack site"
    assert "leaked" not in asked


@pytest.mark.slow
def test_drift_is_shown_and_fails_the_job(runner: Path) -> None:
    (runner / "bin/make").write_text("#!/bin/sh\n")
    result = run(runner, "drift.yml", "drift", CODE="255", **BACKEND)
    assert result.returncode == 255
    assert "what is shown" in result.stdout
    assert "what is shown" in (runner / "summary").read_text()


BACKUP = {"BACKUP_RECIPIENT": "a public key", "BACKUP_TARGET": "backup@store.example.com:zhub"}


@pytest.mark.slow
def test_a_backup_is_encrypted_and_copied_with_its_manifest_last(runner: Path) -> None:
    result = run(runner, "backup.yml", "backup", SSH_KEY="key of tests", **BACKEND, **BACKUP)
    assert result.returncode == 0, result.stderr
    assert (runner / "recipient.asc").read_text() == "a public key\n"
    assert (runner / "added").read_text() == "key of tests\n"
    assert (runner / "asked").read_text().splitlines() == [
        "make backup STACK=site TO=backups RECIPIENT=recipient.asc",
        "rsync --archive --exclude=manifest.json backups/ backup@store.example.com:zhub/",
        "rsync --archive backups/ backup@store.example.com:zhub/",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("missing", [*BACKEND, *BACKUP])
def test_without_a_key_or_a_place_there_is_no_backup(runner: Path, missing: str) -> None:
    result = run(runner, "backup.yml", "backup", **{**BACKEND, **BACKUP, missing: ""})
    assert result.returncode
    assert f"{missing}: is not set in the environment site-backup" in result.stderr
    assert not (runner / "asked").exists()


@pytest.mark.slow
def test_a_backup_without_a_home_is_copied_and_fails_the_job(runner: Path) -> None:
    """One user's home that cannot be read must not keep all others from being copied."""
    with (runner / "bin/make").open("w") as file:
        file.write("#!/bin/sh\nmkdir -p backups/site\ntouch backups/site/manifest.json\nexit 2\n")
    result = run(runner, "backup.yml", "backup", **BACKEND, **BACKUP)
    assert result.returncode == 2
    assert (runner / "asked").read_text().splitlines() == [
        "rsync --archive --exclude=manifest.json backups/ backup@store.example.com:zhub/",
        "rsync --archive backups/ backup@store.example.com:zhub/",
    ]


@pytest.mark.slow
def test_a_failed_backup_is_not_copied(runner: Path) -> None:
    result = run(runner, "backup.yml", "backup", CODE="1", **BACKEND, **BACKUP)
    assert result.returncode
    assert "rsync" not in (runner / "asked").read_text()
