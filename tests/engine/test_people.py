"""`make users` while things change: names in the directory, the hub, what a command waits for.

One native stack with people at work, in the order of the tests; each leaves nobody behind.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import urljoin

import docker
import pytest

from tests.built import wait_until
from tests.engine.conftest import native, stack_in_checkout
from tests.engine.people import Entrance
from tests.engine.stack import Stack
from tests.hubclient import LoginRefused, User
from tests.ports import free_port

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.xdist_group("native")]

PEOPLE = "ou=people,dc=example,dc=org"
GROUP = "cn=jupyter,ou=groups,dc=example,dc=org"
SECONDS = 120
"""Two looks of the recheck, and what a server takes to stop."""


@pytest.fixture(scope="module")
def stack(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One whose operator says yes to all questions."""
    config = native(engine) | {"port": free_port(), "notebookPackages": []}
    folder = tmp_path_factory.mktemp("people")
    for up in stack_in_checkout(engine, "e2e-people", folder, config):
        yield replace(up, environment={"ZHUB_YES": "1"})


@pytest.fixture(scope="module")
def entrance(stack: Stack) -> Entrance:
    return Entrance.of(stack)


def made(stack: Stack, do: str = "", **variables: str) -> str:
    """What a wish of `make users` prints."""
    done = stack.make("users", DO=do, **variables)
    assert done.returncode == 0, done.stdout
    return done.stdout


def change(stack: Stack, ldif: str) -> None:
    """Change the directory until its next start."""
    command = ["docker", "exec", "-i", f"{stack.prefix}-directory", "ldapmodify"]
    where = ["-Q", "-Y", "EXTERNAL", "-H", "ldapi:///"]
    subprocess.run([*command, *where], input=ldif, text=True, check=True, capture_output=True)


def as_member(name: str, how: str) -> str:
    """Put somebody into the group of those who may log in, or take them out of it."""
    return f"dn: {GROUP}\nchangetype: modify\n{how}: member\nmember: uid={name},{PEOPLE}\n\n"


def server_runs(stack: Stack, user: str) -> bool:
    return bool(re.search(rf"^{re.escape(user)} +runs", made(stack), re.MULTILINE))


def at_work(entrance: Entrance, name: str) -> User:
    user = entrance.logged_in(name)
    if user.server():
        user.stop_server()
    user.start_server()
    user.save("kept.txt", f"of {name}")
    return user


def test_logs_go_elsewhere_and_back_while_people_work(
    stack: Stack, entrance: Entrance, engine: docker.DockerClient
) -> None:
    """A server keeps the driver that it has; commands for people do not answer in JSON."""

    def driver(name: str) -> str:
        container = engine.containers.get(f"{stack.prefix}-user-{name}")
        return str(container.attrs["HostConfig"]["LogConfig"]["Type"])

    kernel = at_work(entrance, "alice").start_kernel()
    kernel.run("kept = 41")
    made(stack, "renew", AT="2099-12-01 18:00")
    elsewhere = {"logDriver": "local", "logFormat": "json", "logLevel": "debug"}
    stack.configure(elsewhere)
    stack.up()
    assert kernel.run("print(kept + 1)") == "42\n"
    kernel = at_work(entrance, "carol").start_kernel()
    kernel.run("kept = 42")
    assert (driver("alice"), driver("carol")) == ("json-file", "local")
    listed = made(stack)
    assert re.search(r"^alice +runs +new ", listed, re.MULTILINE), listed
    assert "Planned: servers of an old image are restarted at 2099-12-01 18:00." in listed
    refused = stack.make("users", DO="stop", USER="nobody").stdout
    assert "error: the hub does not know a user nobody" in refused
    assert "{" not in refused
    made(stack, "stop", USER="alice")

    for key in elsewhere:
        stack.on_stack("config rm", f"zhub:{key}")
    stack.up()
    stack.on_stack("preview", "--expect-no-changes")
    assert kernel.run("print(kept + 1)") == "43\n"
    at_work(entrance, "alice")
    assert (driver("alice"), driver("carol")) == ("json-file", "local")
    for name in ("alice", "carol"):
        made(stack, "stop", USER=name)
        lines = engine.containers.get(f"{stack.prefix}-guard").logs()
        assert f"server of {name}: ".encode() in lines
    assert "taken back: servers of an old image are restarted" in made(stack, "open")


def test_somebody_is_renamed_while_at_work(stack: Stack, entrance: Entrance) -> None:
    at_work(entrance, "alice")
    change(
        stack,
        as_member("alice", "delete")
        + f"dn: uid=alice,{PEOPLE}\nchangetype: modrdn\nnewrdn: uid=a.smith\ndeleteoldrdn: 1\n\n"
        + as_member("a.smith", "add"),
    )
    wait_until(lambda: not server_runs(stack, "alice"), seconds=SECONDS)
    assert re.search(r"^alice +\S+-home-alice +.*no entry", made(stack, "orphans"), re.MULTILINE)
    renamed = entrance.browser()
    renamed.log_in("a.smith", entrance.password("alice"))
    with pytest.raises(LoginRefused):
        entrance.logged_in("alice")
    renamed.start_server()
    renamed.save("kept.txt", "of a.smith")
    renamed.stop_server()


def test_a_name_is_given_away_while_its_owner_works(stack: Stack, entrance: Entrance) -> None:
    at_work(entrance, "bob")
    change(
        stack,
        f"dn: uid=bob,{PEOPLE}\nchangetype: delete\n\n"
        f"dn: uid=bob,{PEOPLE}\nchangetype: add\nobjectClass: inetOrgPerson\nuid: bob\ncn: bob\n"
        "sn: bob\nuserPassword: of-the-new-one\n\n",
    )
    wait_until(lambda: not server_runs(stack, "bob"), seconds=SECONDS)
    assert "is not the entry that bob was before" in made(stack, "orphans")
    new = entrance.browser()
    with pytest.raises(LoginRefused, match="belonged to another person before"):
        new.log_in("bob", "of-the-new-one")
    made(stack, "forget", USER="bob")
    new = entrance.browser()
    new.log_in("bob", "of-the-new-one")
    new.start_server()
    with pytest.raises(Exception, match="404"):
        new.read("kept.txt")
    new.stop_server()
    assert "bob" not in made(stack, "orphans")


def test_an_export_while_files_change(stack: Stack, entrance: Entrance, tmp_path: Path) -> None:
    carol = at_work(entrance, "carol")
    kernel = carol.start_kernel()
    grows = urljoin(carol.home, "api/contents/grows?content=0")
    with ThreadPoolExecutor() as threads:
        writing = threads.submit(
            kernel.run,
            "import os, time\n"
            "end = time.monotonic() + 20\n"
            "n = 0\n"
            "while time.monotonic() < end:\n"
            "    n += 1\n"
            "    open('grows', 'ab').write(b'x' * 100000)\n"
            "    open(f'comes-{n}', 'w').close()\n"
            "    n > 5 and os.remove(f'comes-{n - 5}')\n",
        )
        wait_until(lambda: bool(carol.request("GET", grows).ok), seconds=30)
        made(stack, "export", USER="carol", TO=str(tmp_path / "left"))
        writing.result()
    with tarfile.open(tmp_path / "left" / "home.tar.gz") as archive:
        assert {"./kept.txt", "./grows"} <= set(archive.getnames())
    assert json.loads((tmp_path / "left" / "hub.json").read_text())["user"]["name"] == "carol"
    carol.stop_server()


def test_a_drain_that_is_interrupted(stack: Stack, entrance: Entrance) -> None:
    carol = at_work(entrance, "carol")
    command = stack.operator("users", DO="drain", AT="2099-12-01 18:00")
    for _ in range(20):
        with subprocess.Popen(
            command,
            cwd=stack.project,
            env=stack.variables(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as drain:
            asked = ["docker", "top", f"{stack.prefix}-hub", "-eo", "pid,args"]
            end = time.monotonic() + 30
            while "zhub users drain" not in subprocess.check_output(asked, text=True):
                assert time.monotonic() < end
                if drain.poll() is not None:
                    break
            else:
                os.killpg(drain.pid, signal.SIGINT)
            said = drain.communicate(timeout=60)[0]
        if drain.returncode == 130:
            break
    assert "does all the same: make users STACK=e2e-people shows it" in said
    assert "make users STACK=e2e-people DO=open" in said
    wait_until(lambda: "none can be started until DO=open" in made(stack), seconds=30)
    assert server_runs(stack, "carol")
    made(stack, "open")
    assert "Planned" not in made(stack)
    carol.stop_server()


def test_somebody_is_forgotten_while_the_hub_is_restarted(
    stack: Stack, entrance: Entrance, engine: docker.DockerClient
) -> None:
    at_work(entrance, "carol")
    hub = engine.containers.get(f"{stack.prefix}-hub")
    said: list[str] = []
    with ThreadPoolExecutor() as threads:
        restart = threads.submit(hub.restart, timeout=20)
        end = time.monotonic() + 180
        while True:
            done = stack.make("users", DO="forget", USER="carol")
            said.append(done.stdout)
            if done.returncode == 0:
                break
            print(done.stdout)
            assert re.search(r"error: \S", done.stdout)
            assert time.monotonic() < end
            time.sleep(1)
        restart.result()
    assert "carol is forgotten" in said[-1]
    assert not engine.volumes.list(filters=stack.labelled("home", "carol"))
    assert not engine.containers.list(all=True, filters=stack.labelled("notebook", "carol"))
    wait_until(lambda: "carol" not in made(stack), seconds=60)
    again = entrance.logged_in("carol")
    again.start_server()
    with pytest.raises(Exception, match="404"):
        again.read("kept.txt")
    again.stop_server()
