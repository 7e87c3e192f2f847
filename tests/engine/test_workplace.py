"""What people who work in the hub all day meet, on a stack of its own on which nothing is emulated.

The tests run in file order; one changes the stack.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urljoin

import docker
import pytest

from tests.engine.conftest import native, running_stack
from tests.engine.people import Entrance
from tests.engine.stack import Stack
from tests.hubclient import Kernel
from tests.ports import free_port

pytestmark = pytest.mark.engine

ODD = "%C3%9Cbung%20%231%20100%25%20%F0%9F%9A%80.ipynb"
"""The name of a file, as it is in a link: `Übung #1 100% 🚀.ipynb`."""


@pytest.fixture(scope="module")
def workplace(
    engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    config = native(engine) | {"port": free_port(), "basePath": "/science/jupyter"}
    yield from running_stack(engine, "e2e-work", tmp_path_factory.mktemp("work"), config)


def test_a_link_without_the_base_path_leads_to_a_file_after_login_and_start(
    workplace: Stack,
) -> None:
    entrance = Entrance.of(workplace)
    assert str(entrance.outputs["url"]).endswith(f":{entrance.port}/science/jupyter")
    bob = entrance.logged_in("bob")
    bob.start_server()
    link = f"https://localhost:{entrance.port}/hub/user-redirect/lab/tree/{ODD}"
    page = bob.request("GET", link)
    assert page.url == urljoin(bob.base, f"user/bob/lab/tree/{ODD}")
    assert "jupyter-config-data" in page.text
    bob.stop_server()


def test_a_running_server_keeps_its_address_and_kernels_when_the_base_path_changes(
    workplace: Stack,
) -> None:
    before = Entrance.of(workplace)
    alice = before.logged_in("alice")
    alice.start_server()
    kernel = alice.start_kernel()
    kernel.run("answer = 6 * 7")
    there, path = alice.home, kernel.path

    workplace.configure({"basePath": "/"})
    assert "basePath changes from /science/jupyter to /" in workplace.up()

    after = Entrance.of(workplace)
    assert after.outputs["url"] == f"https://localhost:{after.port}"
    alice = after.logged_in("alice")
    # Its own cookie has to be got anew: through the hub, whose address the server has wrong.
    alice.open_lab()
    assert alice.home == there
    assert Kernel(alice, path).run("print(answer)") == "42\n"
    old_link = urljoin(there, f"../../hub/user-redirect/lab/tree/{ODD}")
    assert alice.request("GET", old_link).url == urljoin(there, f"lab/tree/{ODD}")

    alice.stop_server()
    alice.start_server()
    assert alice.home == f"https://localhost:{after.port}/user/alice/"
    assert alice.request("GET", urljoin(there, "lab")).url == urljoin(alice.home, "lab")
    alice.stop_server()
