"""A server that ends while it starts: its user and the hub's log have its last lines."""

from __future__ import annotations

from collections.abc import Iterator

import docker
import pytest

from tests.built import wait_until
from tests.engine.conftest import native, running_stack
from tests.engine.people import Entrance
from tests.engine.stack import Stack, equipped
from tests.ports import free_port

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.xdist_group("native")]

#: Ends a server: when it has not loaded yet, long before it has a network, and when it has.
BREAKS = """
import os
if os.environ.get("BREAKS") == "early":
    raise OSError(28, "No space left on device", "/early")
"""
LATE = """
if os.environ.get("BREAKS") == "late":
    print("PermissionError: [Errno 13] Permission denied: '/late'", flush=True, file=sys.stderr)
    sys.exit("it has ended late")
"""

PROFILES = [
    {"name": "standard"},
    {"name": "early", "environment": ["BREAKS=early"]},
    {"name": "late", "environment": ["BREAKS=late"]},
]


@pytest.fixture(scope="module")
def broken(
    engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """Of an image that somebody has broken."""
    folder = tmp_path_factory.mktemp("broken")
    project = equipped(folder / "project")
    package = project / "images" / "notebook" / "zsingleuser"
    main = (package / "__main__.py").read_text()
    main = main.replace(
        "    home.prepare()\n", "    import zsingleuser.breaks\n    home.prepare()\n"
    )
    main = main.replace("    start()\n", LATE.replace("\n", "\n    ").rstrip() + "\n    start()\n")
    (package / "__main__.py").write_text(main)
    (package / "breaks.py").write_text(BREAKS)
    config = {"port": free_port(), "notebookPackages": ["git"], "profiles": PROFILES}
    yield from running_stack(engine, "e2e-broken", folder, native(engine) | config, project)


@pytest.mark.parametrize(
    ("profile", "means", "line"),
    [
        (
            "early",
            "The disk with your home is full.",
            "OSError: [Errno 28] No space left on device: &#x27;/early&#x27;",
        ),
        ("late", "Something in your home belongs to somebody else", "it has ended late"),
    ],
)
def test_the_page_and_the_log_have_the_last_lines(
    broken: Stack, engine: docker.DockerClient, profile: str, means: str, line: str
) -> None:
    alice = Entrance.of(broken).logged_in("alice")
    alice.request("POST", "hub/spawn", data={"profile": profile})
    page = ""

    def ended() -> bool:
        nonlocal page
        page = alice.request("GET", "hub/spawn-pending/alice").text
        return "Your server ended while it started" in page

    wait_until(ended, seconds=120)
    assert means in page
    assert line in page
    logged = engine.containers.get(f"{broken.prefix}-hub").logs().decode()
    assert f"server of alice: {line.replace('&#x27;', chr(39))}" in logged

    def gone() -> bool:
        networks = engine.networks.list(filters=broken.labelled("user-network", "alice"))
        servers = broken.labelled("notebook", "alice")
        return not networks and not engine.containers.list(all=True, filters=servers)

    wait_until(gone, seconds=60)


def test_another_server_starts_afterwards(broken: Stack) -> None:
    alice = Entrance.of(broken).logged_in("alice")
    alice.request("POST", "hub/spawn", data={"profile": "standard"}).raise_for_status()
    wait_until(lambda: bool(alice.server().get("ready")), seconds=120)
    alice.open_lab()
    assert alice.run("print(6 * 7)") == "42\n"
    alice.stop_server()
