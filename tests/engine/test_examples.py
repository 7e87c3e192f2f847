"""The worked examples of docs/profiles.md: a course at a university, then a team at a bank.

One stack, natively, which becomes the other while people are in it. The demo directory has their
groups; a device that this machine has stands for the crypto adapter.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import requests
import yaml

from components.directory import BASE
from tests.built import wait_until
from tests.engine.conftest import native, running_stack
from tests.engine.people import Entrance
from tests.engine.stack import Stack, equipped
from tests.engine.test_workplace import ready, server_of
from tests.hubclient import User
from tests.ports import free_port
from toolchain.places import ROOT

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.xdist_group("native")]

TEAMS = {
    "stat101-2026": ("alice", "bob"),
    "stat-staff": ("carol",),
    "risk-analysts": ("alice", "bob"),
    "quants": ("alice",),
}

#: Of a site with a directory of its own.
OF_A_DIRECTORY = ("zhub:ldapAllowedGroups", "zhub:ldapRecheck")

#: As docs/profiles.md has it for the demo's group.
LEAVE = """
docker exec -i PREFIX-directory ldapmodify -Q -Y EXTERNAL -H ldapi:/// <<END
dn: cn=quants,ou=groups,BASE
changetype: delete
END
"""


def example(title: str, root: Path) -> dict[str, Any]:
    """The settings of a section of the page, for the demo directory and folders below root."""
    page = (ROOT / "docs/profiles.md").read_text().partition(f"\n## {title}\n")[2]
    text = page.partition("```yaml\n")[2].partition("\n```")[0]
    text = re.sub("dc=(uni|bank),dc=example", BASE, text)
    text = text.replace("/srv/shared", str(root)).replace("z90crypt", "random")
    found: dict[str, Any] = yaml.safe_load(text)["config"]
    return {key: value for key, value in found.items() if key not in OF_A_DIRECTORY}


def given(stack: Stack, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Put settings into the stack's file, in place of others."""
    text = yaml.safe_load(stack.config_file.read_text())
    kept = {key: value for key, value in text["config"].items() if key not in before}
    stack.config_file.write_text(yaml.safe_dump(text | {"config": kept | now}))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of the engine's machine with what is shared."""
    if os.environ.get("DOCKER_HOST", "unix://")[:5] != "unix:":
        pytest.skip("the engine is on another machine")
    for name in ("stat101", "prices"):
        (tmp_path / "srv" / name).mkdir(parents=True)
        os.chown(tmp_path / "srv" / name, 1000, 1000)
    (tmp_path / "srv" / "prices" / "today").write_text("42")
    return tmp_path / "srv"


@pytest.fixture
def stack(engine: docker.DockerClient, tmp_path: Path) -> Iterator[Stack]:
    project = equipped(tmp_path / "project")
    with (project / "components" / "directory.py").open("a") as code:
        code.write(f"\nTEAMS |= {TEAMS!r}\n")
    small: dict[str, Any] = {"notebookPackages": [], "notebookRequirements": []}
    config = native(engine) | small | {"port": free_port()}
    folder = tmp_path / "state"
    folder.mkdir()
    yield from running_stack(engine, "e2e-examples", folder, config, project)


def chooses(user: User, profile: str) -> None:
    """Choose on the hub's page, and wait until the server is up."""
    user.request("POST", "hub/spawn", data={"profile": profile}).raise_for_status()
    ready(user)
    user.open_lab()


def gets(user: User) -> None:
    """Start the server where there is nothing to choose, and wait until it is up."""
    user.request("GET", "hub/spawn").raise_for_status()
    ready(user)
    user.open_lab()


def shell(user: User, command: str) -> str:
    """What a command prints in the user's server."""
    code = f"import subprocess; print(subprocess.getoutput({command!r}))"
    return user.run(code).strip()


def sizes(stack: Stack, engine: docker.DockerClient, user: User) -> tuple[int, int, int, int]:
    """GiB of memory and of shared memory, hundredths of a processor, processes."""
    host = server_of(stack, engine, user.name)["HostConfig"]
    gib = (host["Memory"] >> 30, host["ShmSize"] >> 30)
    return *gib, host["CpuQuota"] // 1000, host["PidsLimit"]


def test_the_course_and_then_the_bank(
    stack: Stack, engine: docker.DockerClient, root: Path
) -> None:
    course = example("A course at a university", root)
    given(stack, {}, course)
    stack.up()
    entrance = Entrance.of(stack)
    alice, bob, carol, grace = map(entrance.logged_in, ("alice", "bob", "carol", "grace"))
    # Students get their server without a question.
    gets(bob)
    assert sizes(stack, engine, bob) == (1, 0, 50, 200)
    assert shell(bob, "Rscript -e 'cat(6 * 7)'; command -v pandoc") == "42"
    assert shell(bob, "ls /shared; echo x >/shared/stat101/x").startswith("stat101\n")
    # Who teaches chooses, and what they write is what students read.
    page = carol.request("GET", "hub/spawn").text
    assert 'value="course" required checked' in page
    assert 'value="staff" required>' in page
    chooses(carol, "staff")
    assert sizes(stack, engine, carol) == (8, 2, 200, 512)
    folders = "stat101\nstat101-staff"
    assert shell(carol, "command -v pandoc; ls /shared") == f"/usr/bin/pandoc\n{folders}"
    shell(carol, "echo lesson >/shared/stat101-staff/one")
    assert shell(bob, "cat /shared/stat101/*") == "lesson"
    refused = grace.request("POST", "hub/api/users/grace/server")
    assert refused.status_code == requests.codes.forbidden
    assert "You are in no group for which this hub has a server" in refused.text

    # The bank, with the course's people in it: their servers end with the folders.
    given(stack, course, example("A team at a bank", root))
    said = stack.up()
    assert "sharedFolders has no stat101 any more: the recheck stops servers with it" in said
    wait_until(lambda: not bob.server() and not carol.server(), seconds=200)
    chooses(alice, "quant")
    assert sizes(stack, engine, alice) == (64, 16, 800, 4096)
    there = shell(alice, "ls /shared; ls /dev/random; cat /shared/prices/today")
    assert there == "desk\nprices\n/dev/random\n42"
    assert "Read-only" in shell(alice, "echo x >/shared/prices/x")
    shell(alice, "echo plan >/shared/desk/plan")
    code = "import os, torch, xgboost; print(os.environ['OMP_NUM_THREADS'], os.environ['TZ'])"
    assert alice.run(code) == "8 Europe/Zurich\n"
    gets(bob)
    assert sizes(stack, engine, bob)[0] == 4
    assert shell(bob, "ls /shared; echo $HTTPS_PROXY").endswith("http://10.20.30.50:3128")

    # Whoever leaves the desk: within a minute, the large server is stopped.
    stack.shell(LEAVE.replace("PREFIX", stack.prefix).replace("BASE", BASE))
    wait_until(lambda: not alice.server(), seconds=150)
    gets(alice)
    assert sizes(stack, engine, alice)[0] == 4
    assert bob.server()["ready"]
    for user in (alice, bob):
        user.stop_server()
