"""A server's container as the spawner creates it, but idle."""

from __future__ import annotations

from typing import Any

import docker


def idle_image(client: docker.APIClient, image: str) -> str:
    """Make an image whose own command only sleeps, from another image; return its ID.

    Servers run their image's own command: the guard allows no other.
    """
    made = client.create_container(image, ["true"], entrypoint=[])["Id"]
    try:
        changes = ['CMD ["sleep", "600"]', "ENTRYPOINT []"]
        committed = client.commit(made, changes=changes)
        return str(committed["Id"])
    finally:
        client.remove_container(made, v=True)


def create(
    client: docker.APIClient,
    image: str,
    *,
    name: str,
    volume: str,
    labels: dict[str, str],
    **host_config: Any,
) -> str:
    """Create a container with the engine's calls that DockerSpawner makes; return its ID.

    Args:
        client: of the engine.
        image: the notebook image, or one that only sleeps.
        name: of the container.
        volume: of the user's home.
        labels: of the container.
        host_config: options that differ from those of all servers.
    """
    options = {
        "auto_remove": False,
        "binds": {volume: {"bind": "/home/jovyan", "mode": "rw"}},
        "cpu_period": 100_000,
        "network_mode": "none",
        "pids_limit": 64,
        **host_config,
    }
    config = client.inspect_image(image)["Config"]  # type: ignore[no-untyped-call]
    made = client.create_container(
        image,
        config["Cmd"],
        name=name,
        environment={"JUPYTERHUB_API_TOKEN": "0" * 32, "JUPYTERHUB_DISABLE_USER_CONFIG": "1"},
        volumes=["/home/jovyan"],
        ports={"8888/tcp": None},  # type: ignore[dict-item] # as the spawner
        labels=labels,
        host_config=client.create_host_config(**options),
    )
    return str(made["Id"])
