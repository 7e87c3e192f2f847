"""Profiles and shared folders change while people are in them, and the directory's groups, too.

One native stack with the demo directory, changed by one `up` after the other. After each, what
must go on does, what must end has ended by the recheck, and the next start has what is allowed.
"""

from __future__ import annotations

import os
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import docker
import pytest
import requests
import yaml

from components.directory import BASE, RECHECK
from tests.built import healthy, wait_until
from tests.engine.conftest import RESEARCH, native, running_stack
from tests.engine.people import Entrance
from tests.engine.stack import Stack
from tests.engine.test_workplace import ready, server_of
from tests.hubclient import Kernel, User
from tests.ports import free_port

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.xdist_group("native")]

ANALYSTS = f"cn=analysts,ou=groups,{BASE}"

#: What the group of the folder is called later.
SCIENCE = RESEARCH.replace("research", "science")

STANDARD = {"name": "standard", "memory": "512M"}
LARGE = {"name": "large", "memory": "768M", "groups": [ANALYSTS], "environment": ["SIZE=large"]}
TEAM = {"name": "team", "groups": [RESEARCH], "mode": "read-write"}

#: Seconds in which the recheck has looked at everybody once, and twice with what stopping takes.
LOOKED = RECHECK + 20
STOPPED = 2 * RECHECK + 60

RENAME = """
docker exec -i PREFIX-directory ldapmodify -Q -Y EXTERNAL -H ldapi:/// <<END
dn: DN
changetype: modrdn
newrdn: cn=NAME
deleteoldrdn: 1
END
"""


@pytest.fixture
def stack(engine: docker.DockerClient, tmp_path: Path) -> Iterator[Stack]:
    own = {"port": free_port(), "profiles": [STANDARD, LARGE], "sharedFolders": [TEAM]}
    folder = tmp_path / "state"
    folder.mkdir()
    yield from running_stack(engine, "e2e-change", folder, native(engine) | own)


def up(stack: Stack, **settings: list[dict[str, Any]]) -> str:
    """Put lists of profiles or folders in place of those before, and bring the stack up."""
    text = yaml.safe_load(stack.config_file.read_text())
    for key, value in settings.items():
        text["config"][f"zhub:{key}"] = value
    stack.config_file.write_text(yaml.safe_dump(text))
    return stack.up()


def started(user: User, **options: str) -> Kernel:
    """Start a user's server, with or without a choice; returns a kernel that holds something."""
    asked = {"json": options} if options else {}
    user.request("POST", f"hub/api/users/{user.name}/server", **asked).raise_for_status()
    ready(user)
    user.open_lab()
    kernel = user.start_kernel()
    kernel.run("answer = 6 * 7")
    return kernel


def goes_on(*kernels: Kernel) -> None:
    """The recheck has looked, and stopped none of these kernels' servers."""
    time.sleep(LOOKED)
    assert [kernel.run("print(answer)") for kernel in kernels] == ["42\n"] * len(kernels)


def renamed(stack: Stack, dn: str, name: str) -> None:
    """Rename a group in the directory."""
    script = RENAME.replace("PREFIX", stack.prefix).replace("DN", dn).replace("NAME", name)
    stack.shell(script)


def profile(user: User) -> str:
    """The profile of a user's server."""
    return user.run("import os; print(os.environ.get('ZHUB_PROFILE'))").strip()


def shell(user: User, command: str) -> str:
    """What a command prints in a user's server."""
    code = f"import subprocess; print(subprocess.getoutput({command!r}))"
    return user.run(code).strip()


def ended(*users: User) -> None:
    """The recheck has stopped these users' servers."""
    wait_until(lambda: not any(user.server() for user in users), seconds=STOPPED)


def test_people_are_in_it_while_groups_profiles_and_folders_change(
    stack: Stack, engine: docker.DockerClient
) -> None:
    entrance = Entrance.of(stack)
    alice, bob, carol = map(entrance.logged_in, ("alice", "bob", "carol"))
    at_work = [started(alice, profile="large"), started(bob), started(carol)]
    carol.run("open('/shared/team/plan', 'w').write('of carol')")

    a_profile_gets_another_name(stack, engine, alice, at_work)
    of_alice = started(alice)
    assert profile(alice) == "huge"
    a_group_gets_another_name(stack, alice, [of_alice, *at_work[1:]])
    started(alice)
    assert profile(alice) == "standard"
    a_folder_becomes_read_only_and_gets_another_name(stack, (alice, carol), at_work[1])
    for user in (alice, bob, carol):
        user.stop_server()


def a_profile_gets_another_name(
    stack: Stack, engine: docker.DockerClient, alice: User, at_work: list[Kernel]
) -> None:
    """Who is in it works on; a choice of it is forgotten, and the next one outlives the hub."""
    up(stack, profiles=[STANDARD, LARGE | {"name": "huge"}])
    goes_on(*at_work)
    assert profile(alice) == "large"
    alice.stop_server()
    assert 'value="standard" required checked' in alice.request("GET", "hub/spawn").text
    started(alice)
    assert profile(alice) == "standard"
    alice.stop_server()
    started(alice, profile="huge")
    hub = engine.containers.get(f"{stack.prefix}-hub")
    hub.restart()
    wait_until(lambda: healthy(engine.containers.get(f"{stack.prefix}-hub")), seconds=120)
    assert profile(alice) == "huge"
    alice.stop_server()
    assert 'value="huge" required checked' in alice.request("GET", "hub/spawn").text


def a_group_gets_another_name(stack: Stack, alice: User, at_work: list[Kernel]) -> None:
    """In the order that docs/profiles.md has, nobody notices; without it, they have left it."""
    up(stack, sharedFolders=[TEAM | {"groups": [RESEARCH, SCIENCE]}])
    renamed(stack, RESEARCH, "science")
    up(stack, sharedFolders=[TEAM | {"groups": [SCIENCE]}])
    goes_on(*at_work)
    assert shell(alice, "cat /shared/team/plan") == "of carol"
    renamed(stack, ANALYSTS, "modellers")
    ended(alice)
    asked = alice.request("POST", "hub/api/users/alice/server", json={"profile": "huge"})
    assert asked.status_code == requests.codes.forbidden
    said = stack.make("doctor").stdout
    assert f"profiles: the service account finds no group {ANALYSTS}" in said, said


def a_folder_becomes_read_only_and_gets_another_name(
    stack: Stack, members: tuple[User, User], of_bob: Kernel
) -> None:
    """Its members' servers end each time, and nobody else's; its files stay where they are."""
    alice, carol = members
    science = TEAM | {"groups": [SCIENCE]}
    up(stack, sharedFolders=[science | {"mode": "read-only"}])
    ended(alice, carol)
    started(carol)
    assert shell(carol, "cat /shared/team/plan") == "of carol"
    assert "Read-only file system" in shell(carol, "echo more >>/shared/team/plan")
    said = up(stack, sharedFolders=[science | {"name": "crew"}])
    assert "sharedFolders has no team any more: the recheck stops servers with it" in said
    ended(carol)
    started(carol)
    assert shell(carol, "ls /shared; ls /shared/crew; touch /shared/crew/new && echo made") == (
        "crew\nmade"
    )
    up(stack, sharedFolders=[science])
    ended(carol)
    started(carol)
    assert shell(carol, "cat /shared/team/plan; echo more >>/shared/team/plan") == "of carol"
    started(alice)
    assert shell(alice, "cat /shared/team/plan") == "of carolmore"
    assert of_bob.run("print(answer)") == "42\n"


#: A device of this machine that stands for a crypto adapter; whoever opens it gets the null device.
DEVICE = Path("/dev/zhub-test-adapter")


@pytest.fixture
def device() -> Iterator[str]:
    """Make the device."""
    if os.geteuid() or os.environ.get("DOCKER_HOST", "unix://")[:5] != "unix:":
        pytest.skip("a device needs root, on the engine's machine")
    DEVICE.unlink(missing_ok=True)
    _plug_in()
    yield DEVICE.name
    DEVICE.unlink(missing_ok=True)


def _plug_in() -> None:
    os.mknod(DEVICE, stat.S_IFCHR, os.makedev(1, 3))
    DEVICE.chmod(0o666)


def test_a_stack_goes_back_to_none_of_it_and_on_again(
    stack: Stack, engine: docker.DockerClient, device: str, tmp_path: Path
) -> None:
    """Servers with a folder end, all others go on; who had a choice gets the only server."""
    entrance = Entrance.of(stack)
    alice, bob, carol = map(entrance.logged_in, ("alice", "bob", "carol"))
    of_bob, *_ = started(bob), started(carol), started(alice, profile="large")
    carol.run("open('/shared/team/plan', 'w').write('of carol')")
    # As `pulumi config rm` leaves them, of element after element.
    stack.configure({"profiles": [], "sharedFolders": []})
    stack.up()
    ended(alice, carol)
    goes_on(of_bob)
    alice.request("GET", "hub/spawn").raise_for_status()
    ready(alice)
    alice.open_lab()
    assert profile(alice) == "None"
    assert "No such file" in shell(alice, "ls /shared")
    assert "shared" not in shell(alice, "ls").split()
    started(carol)

    # What runs is left alone, and keeps the sizes that it was started with.
    small = STANDARD | {"memory": "640M"}
    stack.configure({"profiles": [small, LARGE | {"devices": [device]}], "sharedFolders": [TEAM]})
    stack.up()
    goes_on(of_bob)
    assert server_of(stack, engine, "bob")["HostConfig"]["Memory"] == 512 << 20
    for user in (alice, carol):
        assert user.server()["ready"]
        user.stop_server()
    bob.stop_server()
    started(bob)
    assert server_of(stack, engine, "bob")["HostConfig"]["Memory"] == 640 << 20
    a_device_is_lost(stack, alice, bob)
    what_one_member_deletes_is_gone(alice, carol)
    a_notebook_is_opened_beside_planted_code(alice, carol)
    a_folder_moves(stack, engine, tmp_path / "srv", alice, carol)
    for user in (alice, bob, carol):
        user.stop_server()


def a_device_is_lost(stack: Stack, alice: User, bob: User) -> None:
    """Only the profile has it; without it, or where servers may not open it, that is said."""
    write = f"echo x >{DEVICE} && echo written"
    started(alice, profile="large")
    assert shell(alice, write) == "written"
    assert "Permission denied" in shell(bob, write)
    assert not shell(bob, f"find /dev -name {DEVICE.name}")
    assert DEVICE.name not in stack.make("doctor").stdout
    DEVICE.chmod(0o600)
    alice.stop_server()
    started(alice)
    assert "Permission denied" in shell(alice, write)
    said = stack.make("doctor").stdout
    assert f"servers have {DEVICE}, and may not open it (owner 0, mode 600)" in said, said
    alice.stop_server()
    DEVICE.unlink()
    said = stack.make("doctor").stdout
    assert f"profiles, large: the engine's machine has no {DEVICE} (No such file or" in said, said
    asked = alice.request("POST", "hub/api/users/alice/server", json={"profile": "large"})
    assert asked.status_code == requests.codes.unavailable
    assert "A device of the profile large is missing" in asked.json()["message"], asked.text
    assert str(DEVICE) in asked.json()["message"]
    started(alice, profile="standard")
    alice.stop_server()
    _plug_in()
    started(alice, profile="large")
    assert shell(alice, write) == "written"


def what_one_member_deletes_is_gone(alice: User, carol: User) -> None:
    """In JupyterLab: at once, and into no trash, neither the folder's nor a home's."""
    started(carol)
    carol.save("shared/team/old", "of carol")
    old = urljoin(alice.home, "api/contents/shared/team/old")
    alice.request("DELETE", old).raise_for_status()
    left = "find /shared/team ~/.local -name 'old*' 2>/dev/null; ls /shared/team"
    assert shell(alice, left) == "plan"


def a_notebook_is_opened_beside_planted_code(alice: User, carol: User) -> None:
    """Nothing of it runs before a cell imports it; modules beside a notebook can be imported."""
    planted = "import os; os.system('touch /home/jovyan/ran')"
    code = f"""
import os
for name in ("ipykernel_launcher.py", "ipykernel.py", "sitecustomize.py", "ipython_config.py",
             "profile_default/startup/00.py", "beside.py"):
    os.makedirs(os.path.dirname(f"/shared/team/{{name}}"), exist_ok=True)
    with open(f"/shared/team/{{name}}", "w") as file:
        file.write({planted!r})
"""
    carol.run(code)
    kernel = alice.start_kernel(path="shared/team")
    ran = "import os; print(os.getcwd(), os.path.exists('/home/jovyan/ran'))"
    assert kernel.run(ran) == "/shared/team False\n"
    kernel.run("import beside")
    assert kernel.run(ran) == "/shared/team True\n"
    kernel.end()
    shell(alice, "cd /shared/team; rm -r *.py __pycache__ profile_default")


def a_folder_moves(
    stack: Stack, engine: docker.DockerClient, root: Path, alice: User, carol: User
) -> None:
    """From a volume to a path, and back, as docs/shared-folders.md says."""
    (root / "team").mkdir(parents=True)
    os.chown(root / "team", 1000, 1000)
    stack.configure({"sharedRoot": str(root), "sharedFolders": [TEAM | {"path": "team"}]})
    said = stack.up()
    volume = f"{stack.prefix}-shared_team"
    assert f"changes from the volume {volume} to {root}/team: no files are moved" in said, said
    # Who works has the old place until the next start.
    shell(carol, "echo late >/shared/team/late")
    assert shell(alice, "cat /shared/team/late") == "late"
    for user in (alice, carol):
        user.stop_server()
    files = engine.volumes.get(volume).attrs["Mountpoint"]
    subprocess.run(["cp", "-a", f"{files}/.", root / "team"], check=True)
    started(alice)
    started(carol)
    assert shell(carol, "cat /shared/team/plan /shared/team/late") == "of carollate"
    shell(carol, "echo new >/shared/team/new")
    assert shell(alice, "cat /shared/team/new") == (root / "team" / "new").read_text().strip()
    stack.on_stack("config rm", "sharedRoot")
    up(stack, sharedFolders=[TEAM])
    for user in (alice, carol):
        user.stop_server()
        started(user)
    assert shell(alice, "ls /shared/team") == "late\nplan"
