"""Attempts to have the hub start something else, or to trick a user's own next start."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import docker
import pytest

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

#: Runs as a module, as a config file and as a line of a .pth file alike.
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
    """A user whose server does not run yet."""
    user = entrance.logged_in("carol")
    yield Tenant(user, engine, stack)
    if user.server():
        user.stop_server()
    # With what was planted there.
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
    # A link somebody was made to follow; what comes up is a server like any other.
    carol.user.request("GET", "hub/spawn?image=debian&opt-image=debian", allow_redirects=False)
    if not carol.user.server():
        carol.user.start_server()
    end = time.monotonic() + 300
    while not carol.user.server().get("ready"):
        assert time.monotonic() < end
        time.sleep(0.5)
    carol.user.open_lab()
    server = carol.container
    assert server.attrs["Image"] == entrance.outputs["notebookDigest"]
    assert [mount["Destination"] for mount in server.attrs["Mounts"]] == ["/home/jovyan"]
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
    # It works, where it may: in the user's own programs.
    carol.user.run("pass")
    planted = carol.shell("cat ~/planted")[1]
    assert "ipykernel_launcher" in planted
    assert "zsingleuser" not in planted
