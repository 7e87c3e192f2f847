"""Several people with one stack: the second clone's errors, previews and locks."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.commands import runs
from tests.toolchain import state_server
from tests.toolchain.conftest import Site, make_site

pytestmark = pytest.mark.slow

PROGRAM = """
import pulumi, pulumi_command
pulumi_command.local.Command("server", create={create!r}, delete="true")
pulumi.export("url", "https://hub.example.com:11119")
pulumi.export("certificateFingerprint", "AB:CD")
"""

SETTINGS = "config:\n  docker:host: ssh://ops@z.example.com\n"

#: The project's own pack allows no command resources.
PACK = """
from pulumi_policy import PolicyPack, ResourceValidationPolicy
PolicyPack("any", [ResourceValidationPolicy("any", "Takes all.", lambda args, report: None)])
"""


@pytest.fixture(scope="session")
def second_clone(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Another clone, in a folder with another name."""
    site = make_site(tmp_path_factory.mktemp("second") / "somewhere else")
    site.shell("make toolchain STACK=site")
    return site


@pytest.fixture(params=["folder", "s3"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    if request.param == "folder":
        yield state_server.folder(tmp_path)
    else:
        with state_server.s3(tmp_path) as variables:
            yield variables


@pytest.fixture
def people(site: Site, second_clone: Site) -> Iterator[tuple[Site, Site]]:
    """Two clones with a small program, and settings for a stack that does not exist yet."""
    both = (site, second_clone)
    kept = ("__main__.py", "policy/__main__.py")
    before = {(one, name): (one.root / name).read_text() for one in both for name in kept}
    for one in both:
        (one.root / "__main__.py").write_text(PROGRAM.format(create="true"))
        (one.root / "policy/__main__.py").write_text(PACK)
    (site.root / "Pulumi.site.yaml").write_text(SETTINGS)
    yield both
    for (one, name), text in before.items():
        (one.root / name).write_text(text)
    (second_clone.root / "Pulumi.site.yaml").unlink(missing_ok=True)
    shutil.rmtree(second_clone.root / ".state")
    (second_clone.root / ".state").mkdir(mode=0o700)
    shutil.rmtree(second_clone.root / ".toolchain/home/workspaces", ignore_errors=True)


def commit(ours: Site, theirs: Site) -> None:
    """Copy from one clone to the other what git would."""
    shutil.copy2(ours.root / "Pulumi.site.yaml", theirs.root / "Pulumi.site.yaml")


def passphrases(site: Site) -> list[Path]:
    return list((site.root / ".state").glob("passphrase-*"))


def test_the_second_clone_sees_no_changes(
    people: tuple[Site, Site], shared: dict[str, str], tmp_path: Path
) -> None:
    ours, theirs = people
    ours.shell("make up STACK=site", shared)
    ours.shell("echo x | pulumi config set --secret ldapBindPassword --stack site", shared)
    commit(ours, theirs)
    preview = "pulumi preview --stack site --expect-no-changes"

    shown = theirs.shell(preview, shared, fails=True)
    assert "the passphrase of stack site is missing" in shown
    assert "Ask whoever made the stack (git log -- Pulumi.site.yaml)" in shown
    assert "PULUMI_CONFIG_PASSPHRASE_FILE=" in shown
    for line in ("make preview STACK=site", "make up STACK=site", "make down STACK=site"):
        assert "Ask whoever made the stack" in theirs.shell(line, shared, fails=True)
    assert passphrases(theirs) == []

    text = ours.own("site")
    elsewhere = tmp_path / "from the vault"
    elsewhere.write_text(text + "\n")
    theirs.shell(preview, {**shared, "PULUMI_CONFIG_PASSPHRASE": text})
    theirs.shell(preview, {**shared, "PULUMI_CONFIG_PASSPHRASE_FILE": str(elsewhere)})
    shutil.copy2(elsewhere, theirs.root / ".state/passphrase-site")
    theirs.shell(preview, shared)
    assert "unchanged" in theirs.shell("make up STACK=site", shared)
    assert theirs.shell("pulumi config get ldapBindPassword -s site", shared) == "x\n"
    ours.shell(preview, shared)


def in_backend(script: str, shared: dict[str, str]) -> tuple[str, dict[str, str]]:
    """The page's commands with the backend of the test, and the variables that they leave out."""
    variable = "PULUMI_BACKEND_URL"
    script = re.sub(rf"{variable}='[^']+'", f"{variable}='{shared[variable]}'", script)
    return script, {name: value for name, value in shared.items() if name != variable}


def test_a_stack_is_made_in_shared_state(people: tuple[Site, Site], shared: dict[str, str]) -> None:
    ours, theirs = people
    script, _ = runs("docs/more-than-one.md", "The state")
    ours.shell(*in_backend(script, shared))
    commit(ours, theirs)
    assert "site" in theirs.shell("pulumi stack ls", shared)


def test_a_stack_moves_from_a_clone_to_shared_state(
    people: tuple[Site, Site], shared: dict[str, str]
) -> None:
    """Runs the commands in docs/more-than-one.md."""
    ours, theirs = people
    ours.shell("make up STACK=site")
    ours.shell("echo x | pulumi config set --secret ldapBindPassword --stack site")
    salt = ours.salt("site")
    _, script = runs("docs/more-than-one.md", "The state")
    ours.shell(*in_backend(script, shared))
    ours.shell("pulumi stack rm --yes --force --preserve-config site")
    assert ours.salt("site") == salt
    commit(ours, theirs)
    shutil.copy2(ours.root / ".state/passphrase-site", theirs.root / ".state")
    for one in people:
        one.shell("pulumi preview --stack site --expect-no-changes", shared)
        assert one.shell("pulumi config get ldapBindPassword -s site", shared) == "x\n"


def test_a_wrong_passphrase_is_reported(people: tuple[Site, Site], tmp_path: Path) -> None:
    ours, theirs = people
    shared = state_server.folder(tmp_path)
    ours.shell("make up STACK=site", shared)
    commit(ours, theirs)
    (theirs.root / ".state/passphrase-site").write_text("of something else")
    shown = theirs.shell("make preview STACK=site", shared, fails=True)
    assert "/.state/passphrase-site does not decrypt its secrets" in shown


def test_no_passphrase_is_made_for_a_stack_whose_file_is_missing(
    people: tuple[Site, Site], tmp_path: Path
) -> None:
    ours, theirs = people
    shared = state_server.folder(tmp_path)
    ours.shell("make up STACK=site", shared)
    (theirs.root / "Pulumi.site.yaml").write_text(SETTINGS)  # committed before it had a salt
    for line in ("make up STACK=site", "make preview STACK=site", "pulumi stack init site"):
        shown = theirs.shell(line, shared, fails=True)
        assert "stack site already exists in" in shown
        assert "Ask whoever made the stack" in shown
    assert passphrases(theirs) == []
    assert theirs.salt("site") == ""


@pytest.fixture
def running(people: tuple[Site, Site], shared: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A long `up` of the first clone, and the second clone ready to run one."""
    ours, theirs = people
    ours.shell("pulumi stack init site", shared)
    commit(ours, theirs)
    shutil.copy2(ours.root / ".state/passphrase-site", theirs.root / ".state")
    started = ours.root.parent / "started"
    started.unlink(missing_ok=True)
    (ours.root / "__main__.py").write_text(PROGRAM.format(create=f"touch {started}; sleep 300"))
    process = subprocess.Popen(
        ["pulumi", "up", "--yes", "--skip-preview", "--stack", "site"],
        cwd=ours.root,
        env=ours.environment(shared),
        executable=ours.root / ".toolchain/bin/pulumi",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )
    end = time.monotonic() + 60
    while not started.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.1)
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_colleagues_run_is_never_cancelled(
    people: tuple[Site, Site], shared: dict[str, str], running: subprocess.Popen[str]
) -> None:
    """Not by the other clone, which did not start it, nor by ours while it runs."""
    for one in people:
        shown = one.shell("make up STACK=site", shared, fails=True)
        assert "currently locked by 1 lock" in shown
        assert running.poll() is None
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    # Killed, but the other clone cannot know that: two machines may have the same name.
    ours, theirs = people
    assert "currently locked by 1 lock" in theirs.shell("make up STACK=site", shared, fails=True)
    (ours.root / "__main__.py").write_text(PROGRAM.format(create="true"))
    shown = ours.shell("make up STACK=site", shared)
    assert f"removing the lock of an earlier run: its process {running.pid} has ended" in shown
    assert "cleaning up: an earlier run was interrupted while it changed server" in shown
    assert "JupyterHub is up" in shown
