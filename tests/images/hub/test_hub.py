"""How the hub's image reports a setup that cannot work."""

from __future__ import annotations

from typing import Any

import docker
import pytest

from tests.built import Images, Site
from tests.pki import Identity

pytestmark = pytest.mark.engine

SOCKET = "/var/run/docker.sock:/var/run/docker.sock"


def refusal(engine: docker.DockerClient, image: str, *arguments: str, **options: Any) -> list[str]:
    """Run the hub's image with a setup it must refuse; return the problems it names."""
    container = engine.containers.create(image, list(arguments), platform="linux/s390x", **options)
    try:
        container.start()
        status = container.wait(timeout=120)["StatusCode"]
        output = container.logs().decode()
    finally:
        container.remove(force=True)
    assert status == 2, output
    assert "Traceback" not in output
    lines = output.splitlines()
    assert all(line.startswith("[zhub] CRITICAL: ") for line in lines), output
    return [line.removeprefix("[zhub] CRITICAL: ") for line in lines]


def test_all_problems_are_reported_at_once(engine: docker.DockerClient, images: Images) -> None:
    assert refusal(engine, images.hub, "--port=99999", "--prot=1") == [
        "'--prot=1' is not an option; use --port=NUMBER and --ldap=HOST[,HOST...]",
        "--port is '99999', but must be a port number from 1 to 65535",
        "no directory to check passwords with: set it with --ldap=HOST[,HOST...]",
        "/certs is not there: mount the folder with key and certificate",
        f"no engine: mount its socket with -v {SOCKET}, or set DOCKER_HOST",
    ]


def test_missing_objects_on_the_engine_are_reported(
    engine: docker.DockerClient, images: Images, site: Site
) -> None:
    files = site.certificate("hub", "localhost")
    Identity.create("localhost").write(files, "hub2")
    found = refusal(
        engine,
        images.hub,
        "--ldap=directory",
        hostname="elsewhere",
        environment={"ZHUB_NOTEBOOK_IMAGE": "not/there:1"},
        volumes=[f"{files}:/certs:ro", SOCKET],
    )
    assert found[:2] == [
        "/certs must hold exactly one *.key file, but holds: hub.key, hub2.key",
        "/certs must hold exactly one *.crt file, but holds: hub.crt, hub2.crt",
    ]
    assert found[2].startswith("the notebook image not/there:1 is not on the engine: build it")
    assert found[3].startswith("the engine has no container elsewhere, which is this container's")


def test_an_engine_that_cannot_be_reached_is_named(
    engine: docker.DockerClient, images: Images, site: Site
) -> None:
    (problem,) = refusal(
        engine,
        images.hub,
        "--ldap=directory",
        environment={"DOCKER_HOST": "tcp://127.0.0.1:9"},
        volumes=[f"{site.certificate('hub', 'localhost')}:/certs:ro"],
    )
    assert problem.startswith("the engine at tcp://127.0.0.1:9 cannot be reached: ")
