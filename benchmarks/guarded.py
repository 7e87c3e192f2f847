"""A hub with its guard, as in a stack, in containers that are started by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import docker
from docker.models.containers import Container

from benchmarks import images
from benchmarks.running import LABEL, PREFIX, SOCKET, Hub, Site, remove_spawned, until_it_answers
from tests.ports import free_port

#: Used by the benchmarks only; a stack may be using the default pool.
POOL = "10.212.0.0/16"

GUARD = ["/opt/jupyter/bin/python3", "-I", "-m", "zhub"]


@contextmanager
def running_hub(
    site: Site, platform: str, notebook: str, **settings: str
) -> Iterator[tuple[Hub, Container]]:
    """A hub and its guard; removed, with all that they made, in the end."""
    hub, guard = begin_hub(site, platform, notebook, **settings)
    try:
        yield hub, guard
    finally:
        hub.container.remove(force=True, v=True)
        guard.remove(force=True, v=True)
        remove_spawned(site.engine)
        for network in site.engine.networks.list(filters={"label": f"zhub.stack={PREFIX}"}):
            network.remove()
        site.engine.volumes.get(f"{PREFIX}-guardsocket").remove()


def begin_hub(
    site: Site, platform: str, notebook: str, *, subject: str = "project", **settings: str
) -> tuple[Hub, Container]:
    """Start a hub and its guard.

    Args:
        site: directory and certificate, and the engine, which may be one of its own.
        platform: of the images.
        notebook: ID of the image of users' servers.
        subject: whose image the hub's is.
        settings: variables of both, without ZHUB_.
    """
    port = free_port()
    engine = site.engine
    for file in site.certificates.iterdir():
        file.chmod(0o644)  # the hub has a user of its own
    environment = {
        "ZHUB_PREFIX": PREFIX,
        "ZHUB_NOTEBOOK_IMAGE": notebook,
        "ZHUB_FILTER_IMAGE": str(engine.images.get(images.tag("filter", "project", platform)).id),
        "ZHUB_PORT": str(port),
        "ZHUB_LDAP_SERVERS": site.directory,
        "ZHUB_LDAP_ALLOW_EVERYONE": "true",
        "ZHUB_USER_NETWORK_POOL": POOL,
        "ZHUB_USER_MEMORY": "512M",
        "ZHUB_MAX_SERVERS": "1000",
        **{f"ZHUB_{name}": value for name, value in settings.items()},
    }
    image = images.tag("hub", subject, platform)
    volume = engine.volumes.create(f"{PREFIX}-guardsocket", labels=LABEL)

    def labels(role: str) -> dict[str, str]:
        return LABEL | {"zhub.role": role}

    guard = engine.containers.run(
        image,
        ["guard"],
        entrypoint=GUARD,
        detach=True,
        name=f"{PREFIX}-guard",
        labels=labels("guard"),
        network_mode="none",
        environment=environment,
        volumes=[f"{socket_of(engine)}:{SOCKET}", f"{volume.name}:/run/guard"],
    )
    container = engine.containers.run(
        image,
        [f"--port={port}", f"--ldap={site.directory}"],
        detach=True,
        name=f"{PREFIX}-hub",
        labels=labels("hub"),
        user="1000:1000",
        environment=environment
        | {
            "DOCKER_HOST": "unix:///run/guard/engine.sock",
            "ZHUB_CONFINED": "true",
            "ZHUB_ADMIN_USERS": json.dumps(["alice"]),
        },
        ports={f"{port}/tcp": ("127.0.0.1", port)},
        volumes=[f"{site.certificates}:/certs:ro", f"{volume.name}:/run/guard:ro"],
    )
    url = f"https://127.0.0.1:{port}/"
    until_it_answers(url, container, site.authority)
    return Hub(container, url, 0), guard


def socket_of(engine: docker.DockerClient) -> str:
    """Path of an engine's socket on this machine."""
    adapter: Any = engine.api.get_adapter(engine.api.base_url)
    return str(adapter.socket_path)


def of_containers(hub: Hub, guard: Container | None, site: Site) -> dict[str, str]:
    """What the containers are parts of, by their IDs, for `processes`."""
    spawned = site.engine.api.containers(filters={"name": f"{PREFIX}-user"})
    return {
        str(hub.container.id): "hub",
        **({str(guard.id): "guard"} if guard else {}),
        site.container: "directory",
        **{str(found["Id"]): "servers" for found in spawned},
    }
