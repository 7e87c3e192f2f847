"""Attempts to make the hub start something else, or to tamper with a user's next start."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import docker
import docker.errors
import pytest
import requests
from docker.models.containers import Container

from tests.built import wait_until
from tests.engine.attacks.conftest import Tenant
from tests.engine.people import Entrance
from tests.engine.stack import Stack

pytestmark = pytest.mark.engine

EVIL: list[dict[str, Any]] = [
    {"image": "zhub-base:trixie-build"},
    {"volumes": {"/": "/host"}},
    {"privileged": True},
    {"extra_host_config": {"privileged": True, "binds": ["/:/host"]}},
    {"cmd": ["sh", "-c", "id"], "environment": {"LD_PRELOAD": "/home/jovyan/evil.so"}},
    {"user_options": {"image": "debian"}},
    {"user_options": {"mem_limit": "64G", "network_name": "host"}, "display_name": "x"},
]

#: Works as a module, as a config file and as a line of a .pth file.
PLANTED = "import sys; open('/home/jovyan/planted', 'a').write(' '.join(sys.orig_argv) + chr(10))"

#: Where Python and Jupyter look for code of a user.
PLACES = (
    ".local/lib/python3.13/site-packages/sitecustomize.py",
    ".local/lib/python3.13/site-packages/usercustomize.py",
    ".local/lib/python3.13/site-packages/planted.pth",
    ".jupyter/jupyter_server_config.py",
    ".jupyter/jupyter_notebook_config.py",
    ".jupyter/jupyterhub_singleuser_config.py",
    "jupyter_server_config.py",
    "jupyterhub_config.py",
    "jupyterhub.py",
    "sitecustomize.py",
)


@pytest.fixture(scope="module")
def carol(stack: Stack, engine: docker.DockerClient, entrance: Entrance) -> Iterator[Tenant]:
    """A user whose server is not running yet."""
    user = entrance.logged_in("carol")
    yield Tenant(user, engine, stack)
    if user.server():
        user.stop_server()
    # With the files that were planted there.
    engine.volumes.get(f"{stack.prefix}-home-carol").remove()


def test_options_are_refused_and_forgotten(
    stack: Stack, engine: docker.DockerClient, entrance: Entrance, carol: Tenant
) -> None:
    for options in EVIL:
        answer = carol.user.request("POST", "hub/api/users/carol/server", json=options)
        assert answer.status_code == 400, options
        assert "no options" in answer.text, answer.text
        filters = stack.labelled("notebook", "carol")
        assert not engine.containers.list(all=True, filters=filters)
    # A link that a user was made to follow; it starts an ordinary server.
    carol.user.request("GET", "hub/spawn?image=debian&opt-image=debian", allow_redirects=False)
    if not carol.user.server():
        carol.user.start_server()
    end = time.monotonic() + 300
    while not (found := carol.user.server()).get("ready"):
        assert time.monotonic() < end
        # On a loaded machine, a start may take longer than the hub waits.
        if not found:
            carol.user.start_server()
        time.sleep(0.5)
    carol.user.open_lab()
    server = carol.container
    assert server.attrs["Image"] == entrance.outputs["notebookDigest"]
    # Besides the stack's shared folders, which attacks/test_folders.py is about.
    places = [mount["Destination"] for mount in server.attrs["Mounts"]]
    assert [place for place in places if not place.startswith("/shared/")] == ["/home/jovyan"]
    assert not server.attrs["HostConfig"]["Privileged"]


PLANT = """
import pathlib
for place in places:
    path = pathlib.Path.home() / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
result = None
"""


def test_code_planted_at_home_does_not_run_in_the_server(carol: Tenant) -> None:
    if not carol.user.server():
        carol.user.start_server()
    carol.run(PLANT, places=PLACES, text=PLANTED)
    carol.user.stop_server()
    carol.user.start_server()
    assert carol.shell("test -e ~/planted")[0] == 1
    # It does run in the user's own programs.
    carol.user.run("pass")
    planted = carol.shell("cat ~/planted")[1]
    assert "ipykernel_launcher" in planted
    assert "zsingleuser" not in planted


#: Records which program runs it.
TEMPLATE = """{{ cycler.__init__.__globals__.os.system(
    "tr '\\\\0' ' ' < /proc/$PPID/cmdline >> /home/jovyan/exported") }}"""

#: Folders in which nbconvert looks for a user's templates, or used to.
TEMPLATES = ("lab/index.html.j2", ".local/share/jupyter/nbconvert/templates/lab/index.html.j2")

EXPORT = "cd && rm -f exported && jupyter nbconvert --to html plain.ipynb; cat exported"


def test_exports_run_no_code_in_the_server(carol: Tenant) -> None:
    """Exports run in the server's own process, and their templates are programs."""
    if not carol.user.server():
        carol.user.start_server()
    carol.user.open_lab()
    empty = json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    planted = {**dict.fromkeys(TEMPLATES, TEMPLATE), "plain.ipynb": empty}
    # Not in a kernel of the earlier server.
    carol.user.run(
        f"import json, pathlib\nplanted = json.loads({json.dumps(planted)!r})\n"
        "for place, text in planted.items():\n"
        "    path = pathlib.Path.home() / place\n"
        "    path.parent.mkdir(parents=True, exist_ok=True)\n"
        "    path.write_text(text)\n"
    )
    # It does run in a program of the user's own.
    assert "nbconvert" in carol.shell(EXPORT)[1].splitlines()[-1]
    carol.shell("rm ~/exported")
    for kind in ("latex", "script"):
        carol.user.request("GET", f"{carol.user.home}nbconvert/{kind}/plain.ipynb")
    assert carol.shell("test -e ~/exported")[0] == 1
    page = carol.user.request("GET", f"{carol.user.home}nbconvert/html/plain.ipynb")
    page.raise_for_status()
    assert "<title>plain</title>" in page.text


#: Listens on a port as soon as it can, and answers; outlives the server and its kernels.
RIVAL = """
import socket, subprocess, sys
if len(sys.argv) == 1:
    subprocess.Popen([sys.executable, __file__, "on"], start_new_session=True)
    sys.exit()
while True:
    try:
        with socket.socket() as rival:
            rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            rival.settimeout(2)
            rival.bind(("", int(open("/home/jovyan/port").read())))
            rival.listen()
            connection = rival.accept()[0]
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\n\\r\\nrival")
            connection.close()
    except (OSError, ValueError):
        pass
"""

SIGNAL = """for process in /proc/[0-9]*; do
    if grep -q '[z]singleuser' $process/cmdline; then kill -{} ${{process#/proc/}}; fi
done"""

PYTHON = "/opt/jupyter/bin/python3"


def has_ended(container: Container) -> bool:
    """Return whether a container runs no more; the hub removes it within half a minute."""
    try:
        container.reload()
    except docker.errors.NotFound:
        return True
    return bool(container.status == "exited")


@pytest.mark.parametrize(
    "signals",
    [
        ("TERM",),
        pytest.param(("KILL",), marks=pytest.mark.long),
        pytest.param(("TERM", "STOP"), marks=pytest.mark.long),
    ],
    ids="-".join,
)
def test_nobody_gets_the_servers_port_when_it_ends(carol: Tenant, signals: tuple[str, ...]) -> None:
    """Whatever listens there answers every visitor's browser, on the hub's origin."""
    if not carol.user.server():
        carol.user.start_server()
    carol.user.open_lab()
    carol.user.save("rival.py", RIVAL)
    carol.user.save("port", "8889")
    assert carol.shell(f"{PYTHON} ~/rival.py")[0] == 0
    # It does listen on a port that is free.
    see = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8889').read())"
    wait_until(lambda: "rival" in carol.shell(f'{PYTHON} -c "{see}"')[1], seconds=60)
    carol.user.save("port", "8888")

    container = carol.container
    # To both server and first process. It runs in the container, which ends with them or stays.
    carol.shell("\nsleep 0.1\n".join(map(SIGNAL.format, signals)))
    end = time.monotonic() + 15
    while time.monotonic() < end:
        try:
            answer = requests.get(
                f"{carol.user.base}user/carol/x", verify=str(carol.user.authority), timeout=2
            )
        except requests.RequestException:
            continue
        assert "rival" not in answer.text
    if "STOP" not in signals:
        assert has_ended(container)
    if carol.user.server():
        carol.user.stop_server()
