"""A stack whose image has packages that PyPI has as source only, compiled for s390x."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import docker
import pytest

from tests.engine.conftest import CONFIG, running_stack
from tests.engine.people import Entrance
from tests.engine.stack import Stack, equipped
from tests.images.notebook.test_compiled import DEBIAN, MADE, SITE, USED
from tests.ports import free_port

pytestmark = [pytest.mark.engine, pytest.mark.long]


@pytest.fixture(scope="module")
def compiled(
    engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """As a site makes it: a lock and what compiling needs, in its own checkout."""
    folder = tmp_path_factory.mktemp("compiled")
    project = equipped(folder / "project")
    requirements = project / "images" / "notebook" / "requirements"
    (requirements / "site.txt").write_text(SITE)
    (requirements / "site.debian").write_text(DEBIAN)
    config = {"notebookPackages": ["libldap2"], "notebookRequirements": ["site"]}
    config = CONFIG | {"port": free_port()} | config
    yield from running_stack(engine, "e2e-compiled", folder, config, project)


def test_a_user_logs_in_and_uses_what_was_compiled(
    compiled: Stack, engine: docker.DockerClient
) -> None:
    notebook = engine.images.get(compiled.outputs()["notebookDigest"])
    assert notebook.attrs["Architecture"] == "s390x"
    alice = Entrance.of(compiled).logged_in("alice")
    alice.start_server()
    kernel = alice.start_kernel()
    assert kernel.run(textwrap.dedent(USED)) == MADE

    # A second up finds the same image, and leaves her alone.
    compiled.up("--expect-no-changes")
    assert kernel.run("print(crcmod.__name__, ldap.__version__)") == "crcmod 3.4.8\n"
    kernel.end()
    alice.stop_server()
