"""Attempts on folders that several users share: from outside, and by one member on another.

Alice and Bob share the folder `everybody`; `team` is Alice's and Carol's; all may read `data`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from tests.engine.attacks.conftest import Tenant, emulated
from tests.engine.stack import Stack

pytestmark = pytest.mark.engine

SHARED = "/shared/everybody"


@pytest.fixture(autouse=True)
def swept(alice: Tenant) -> Iterator[None]:
    """The folders are empty at the beginning and at the end."""
    sweep = f"cd && rm -rf {SHARED}/* {SHARED}/.[!.]* /shared/team/* secret ran repo"
    assert alice.shell(sweep)[0] == 0
    yield
    assert alice.shell(sweep)[0] == 0


def done(tenant: Tenant, command: str) -> str:
    status, output = tenant.shell(command)
    assert status == 0, output
    return output


def test_nobody_else_lists_reads_or_guesses_a_folder_of_a_group(
    stack: Stack, alice: Tenant, mallory: Tenant
) -> None:
    done(alice, "echo for the team >/shared/team/plan; chmod 666 /shared/team/plan")
    assert "team" in done(alice, "ls /shared")
    assert set(done(mallory, "ls /shared").split()) <= {"everybody", "data"}
    assert "shared/team" not in done(mallory, "cat /proc/self/mountinfo; env")
    places = (
        *("/shared/team/plan", "/shared/everybody/../team/plan", "/home/jovyan/shared/team/plan"),
        f"/var/lib/docker/volumes/{stack.prefix}-shared_team/_data/plan",
    )
    for place in places:
        assert mallory.shell(f"cat {place}")[0] != 0, place
    assert mallory.shell("cat /proc/[0-9]*/root/shared/team/plan")[0] != 0
    # Its name is of no use, and neither is a folder of that name of one's own.
    assert mallory.shell("mkdir /shared/team")[0] != 0
    # Nor is a path of the file browser.
    answer = mallory.user.request("GET", "user/bob/api/contents/shared/team/plan")
    assert answer.status_code == 404
    assert alice.user.request("GET", "user/alice/api/contents/shared/team/plan").ok


def test_members_change_each_others_files_whatever_the_modes(
    alice: Tenant, mallory: Tenant
) -> None:
    make = f"umask 077; mkdir {SHARED}/shut; echo one >{SHARED}/shut/file; chmod 400 {SHARED}/*/*"
    done(alice, make)
    done(mallory, f"chmod 600 {SHARED}/shut/file && echo two >>{SHARED}/shut/file")
    assert done(alice, f"cat {SHARED}/shut/file").split() == ["one", "two"]
    done(mallory, f"mv {SHARED}/shut/file {SHARED}/moved && rmdir {SHARED}/shut")
    done(alice, f"rm {SHARED}/moved")


#: Ways out of a shared folder, and into the machine.
LEAVE = textwrap.dedent(
    """
    import os
    secret = os.path.expanduser("~/secret")
    attempts = {
        "hard link in": lambda: os.link(secret, f"{folder}/in"),
        "hard link out": lambda: os.link(f"{folder}/file", os.path.expanduser("~/out")),
        "hard link to another folder": lambda: os.link(f"{folder}/file", "/shared/data/file"),
        "move": lambda: os.rename(f"{folder}/file", os.path.expanduser("~/out")),
        "replace the folder": lambda: os.rename(folder, "/shared/other"),
        "remove the folder": lambda: os.rmdir(folder),
        "another folder beside it": lambda: os.mkdir("/shared/new"),
        "a link beside it": lambda: os.symlink("/", "/shared/new"),
        "device": lambda: os.mknod(f"{folder}/device", 0o60600, os.makedev(8, 0)),
        "owner": lambda: os.chown(f"{folder}/file", 0, 0),
        "above": lambda: os.listdir(f"{folder}/../../var/lib/docker"),
        "machine's secrets": lambda: open(f"{folder}/../../etc/shadow").close(),
    }
    def succeeds(attempt):
        try:
            attempt()
        except OSError:
            return False
        return True
    result = [name for name, attempt in attempts.items() if succeeds(attempt)]
    """
)


def test_links_and_mounts_lead_nowhere_else(alice: Tenant, mallory: Tenant) -> None:
    for tenant in (alice, mallory):
        done(tenant, f"cd && echo of {tenant.user.name} >secret")
    done(mallory, f"touch {SHARED}/file")
    assert mallory.run(LEAVE, folder=SHARED) == []
    # A link is followed by whoever opens it, in a server of their own.
    done(alice, f"ln -s /home/jovyan/secret {SHARED}/link; ln -s / {SHARED}/root")
    assert done(mallory, f"cat {SHARED}/link {SHARED}/root/home/jovyan/secret").split() == [
        *("of", "bob", "of", "bob")
    ]
    assert mallory.shell(f"mount --bind / {SHARED}")[0] != 0
    assert mallory.shell(f"umount {SHARED}")[0] != 0


#: Ways to change what can only be read.
CHANGE = textwrap.dedent(
    """
    import ctypes, os
    libc = ctypes.CDLL(None, use_errno=True)
    def remount():
        # MS_REMOUNT, MS_BIND: to write.
        if libc.mount(None, b"/shared/data", None, 32 | 4096, None):
            raise OSError(ctypes.get_errno(), "mount")
    attempts = {
        "append": lambda: open("/shared/data/figures", "a").close(),
        "make": lambda: open("/shared/data/new", "w").close(),
        "remove": lambda: os.unlink("/shared/data/figures"),
        "mode": lambda: os.chmod("/shared/data/figures", 0o777),
        "time": lambda: os.utime("/shared/data/figures"),
        "attribute": lambda: os.setxattr("/shared/data/figures", "user.x", b"x"),
        "mount": remount,
        "another way in": lambda: open("/proc/1/root/shared/data/figures", "a").close(),
    }
    def succeeds(attempt):
        try:
            attempt()
        except OSError:
            return False
        return True
    result = [name for name, attempt in attempts.items() if succeeds(attempt)]
    """
)


def test_a_read_only_folder_cannot_be_changed(alice: Tenant, mallory: Tenant) -> None:
    if "data" not in done(alice, "ls /shared"):
        pytest.skip("the engine is on another machine")
    # By the modes of the files it could.
    assert done(mallory, "stat -c %a /shared/data /shared/data/figures").split() == ["777", "666"]
    assert mallory.run(CHANGE) == []
    assert done(alice, "cat /shared/data/figures") == "read by everybody"


#: Where Python, Jupyter, shells and git look for code in a folder that they work in.
PLANTED = "import os; open('/home/jovyan/ran', 'a').write('planted')"
PLANT = textwrap.dedent(
    f"""
    import os, subprocess
    names = (
        "sitecustomize.py", "usercustomize.py", "jupyter_server_config.py", "jupyterhub.py",
        "jupyter_config.py", ".jupyter/jupyter_server_config.py", "jupyterlab.py", "tornado.py",
        "share/jupyter/kernels/planted/kernel.json", "lib/python3.13/site-packages/planted.pth",
    )
    for name in names:
        os.makedirs(os.path.dirname(f"{{folder}}/{{name}}"), exist_ok=True)
        with open(f"{{folder}}/{{name}}", "w") as file:
            file.write({PLANTED!r})
    def repository(at):
        git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com"]
        subprocess.run([*git, "init", "-q", "-b", "main", at], check=True)
        open(f"{{at}}/file", "w").close()
        subprocess.run([*git, "-C", at, "add", "file"], check=True)
        subprocess.run([*git, "-C", at, "commit", "-q", "-m", "x"], check=True)
        own = ["git", "-C", at, "config"]
        subprocess.run([*own, "remote.origin.url", at], check=True)
        subprocess.run([*own, "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"])
        subprocess.run([*own, "core.fsmonitor", "touch /home/jovyan/ran; false"], check=True)
    repository(f"{{folder}}/repo")
    result = "planted"
    """
)

#: What a server's own process loads from, and what it would run.
LOADS = textwrap.dedent(
    """
    import os, subprocess, sys
    told = subprocess.run([sys.executable, "-I", "-c", "import sys; print(sys.path)"],
                          capture_output=True, text=True).stdout
    paths = subprocess.run(["jupyter", "--paths"], capture_output=True, text=True).stdout
    result = [name for name, text in
              {"python": told, "jupyter": paths, "PATH": os.environ["PATH"]}.items()
              if "shared" in text]
    """
)


def pulled(tenant: Tenant, folder: str) -> str:
    """Open a link that has the server update a repository; return what the page is told."""
    name = tenant.user.name
    query = {"repo": folder, "targetpath": folder, "branch": "main"}
    answer = tenant.user.request("GET", f"user/{name}/git-pull/api", params=query)
    return answer.text


def test_code_planted_in_a_shared_folder_runs_in_no_server(alice: Tenant, mallory: Tenant) -> None:
    assert mallory.run(PLANT, folder=SHARED) == "planted"
    assert alice.run(LOADS) == []
    # In one's own home, it is one's own code: git runs what the repository says.
    done(mallory, f"cp -r {SHARED}/repo ~/repo && git -C ~/repo config remote.origin.url ~/repo")
    pulled(mallory, "/home/jovyan/repo")
    assert mallory.shell("rm ~/ran")[0] == 0
    for folder in (f"{SHARED}/repo", "shared/everybody/repo"):
        assert "not in your home" in pulled(alice, folder)
    for path in ("", "/repo", "/sitecustomize.py"):
        assert alice.user.request("GET", f"user/alice/api/contents/shared/everybody{path}").ok
    kernels = alice.user.request("GET", "user/alice/api/kernelspecs").json()["kernelspecs"]
    assert "planted" not in kernels
    assert alice.shell("ls ~/ran")[0] != 0


def test_a_program_of_roots_in_a_shared_folder_gives_no_rights(
    stack: Stack, engine: docker.DockerClient, alice: Tenant, mallory: Tenant, outsider: Container
) -> None:
    made: dict[str, Any] = {
        "image": str(outsider.attrs["Image"]),
        "volumes": {f"{stack.prefix}-shared_everybody": {"bind": "/v", "mode": "rw"}},
        "labels": {"zhub.stack": stack.prefix, "zhub.role": "climber"},
        "remove": True,
    }
    script = "cp /usr/bin/id /v/id && chmod 4755 /v/id"
    engine.containers.run(command=["sh", "-c", script], user="root", **made)
    try:
        # Where nothing forbids it, it is root's; but QEMU gives programs no other rights.
        if not emulated(outsider):
            assert engine.containers.run(command=["/v/id", "-u"], user="1000", **made) == b"0\n"
        for tenant in (alice, mallory):
            assert done(tenant, f"{SHARED}/id -u").strip() == "1000"
    finally:
        engine.containers.run(command=["rm", "/v/id"], user="root", **made)
