"""Measure logins to a stack whose groups decide, beside a stack of defaults and a bare container.

All three are measured in turn: what else the machine does meanwhile is the same for each.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker

from benchmarks import running
from components.directory import BASE
from tests.engine.conftest import CONFIG, RESEARCH, running_stack
from tests.engine.people import Entrance
from tests.engine.stack import Stack
from tests.ports import free_port
from toolchain import base

#: Who logs in: of the demo's people, she is in most groups.
USER = "alice"

#: What she has chosen.
PROFILE = "large"

BARE = ["jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser"]


def deciding(root: Path) -> dict[str, Any]:
    """Settings of a stack that uses what groups decide, with a folder of the machine to share."""
    (root / "data").mkdir(parents=True)
    return {
        "profiles": [
            {"name": "standard"},
            {
                "name": PROFILE,
                "groups": [f"cn=analysts,ou=groups,{BASE}"],
                "memory": "1G",
                "environment": ["OMP_NUM_THREADS=2"],
            },
            {"name": "course", "groups": [f"cn=course,ou=groups,{BASE}"], "memory": "512M"},
        ],
        "sharedRoot": str(root),
        "sharedFolders": [
            {"name": "everybody", "mode": "read-write"},
            {"name": "research", "groups": [RESEARCH], "mode": "read-write"},
            {"name": "models", "profiles": [PROFILE]},
            {"name": "data", "path": "data"},
        ],
        "homeLimit": "10G",
        "userEnvironment": ["TZ=Europe/Berlin"],
    }


@dataclass
class Seconds:
    """Of each of several times, in turn."""

    bare: list[float] = field(default_factory=list)
    """From `docker run` of the stacks' notebook image to JupyterLab's API."""
    defaults: list[float] = field(default_factory=list)
    """From login form to the API of the user's server, in a stack of defaults."""
    deciding: list[float] = field(default_factory=list)
    """The same in a stack whose groups decide."""


def measure(engine: docker.DockerClient, platform: str, repeats: int) -> Seconds:
    """Log in to both stacks several times, and start a bare container each time."""
    found = Seconds()
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        stacks = [
            held.enter_context(_stack(engine, name, folder, platform, more))
            for name, more in (("bench-plain", {}), ("bench-groups", deciding(folder / "shared")))
        ]
        image = stacks[0].outputs()["notebookDigest"]
        entrances = [Entrance.of(stack) for stack in stacks]
        for entrance, options in zip(entrances, (None, {"profile": PROFILE}), strict=True):
            # Not measured: who comes for the first time gets a home, and makes a choice.
            log_in(entrance, options)
        for _ in range(repeats):
            found.bare.append(
                running.seconds_to_answer(engine, image, platform, BARE, port=8888, path="/api")
            )
            found.defaults.append(log_in(entrances[0]))
            found.deciding.append(log_in(entrances[1]))
    return found


def log_in(entrance: Entrance, options: dict[str, str] | None = None) -> float:
    """Seconds from login form to the server's API; the server is stopped afterwards."""
    user = entrance.browser()
    user.open_login_form()
    begin = time.monotonic()
    user.send_password(USER, entrance.password(USER))
    if options:
        path = f"hub/api/users/{USER}/server"
        user.request("POST", path, json=options).raise_for_status()
        while not user.server().get("ready"):
            time.sleep(0.2)
    else:
        user.ask_for_server(timeout=running.PATIENCE)
    seconds = time.monotonic() - begin
    user.stop_server()
    return seconds


@contextmanager
def _stack(
    engine: docker.DockerClient, name: str, folder: Path, platform: str, more: dict[str, Any]
) -> Iterator[Stack]:
    config = CONFIG | {"port": free_port(), "platform": platform} | more
    if platform != f"linux/{base.TARGET_ARCHITECTURE}":
        config["baseImage"] = base.BUILD
    (folder / name).mkdir()
    yield from running_stack(engine, name, folder / name, config)
