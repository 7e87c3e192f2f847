"""A server's container as the spawner makes it; in it, nothing is done."""

from __future__ import annotations

from typing import Any

import docker


def create(
    client: docker.APIClient,
    image: str,
    *,
    name: str,
    volume: str,
    labels: dict[str, str],
    **host_config: Any,
) -> str:
    """Create a container with the engine's calls that DockerSpawner makes; return its id.

    Args:
        client: how to reach the engine.
        image: the notebook image.
        name: of the container.
        volume: of the user's home.
        labels: of the container.
        host_config: what differs from what all servers have.
    """
    options = {
        "auto_remove": True,
        "binds": {volume: {"bind": "/home/jovyan", "mode": "rw"}},
        "cpu_period": 100_000,
        "network_mode": "none",
        "pids_limit": 64,
        **host_config,
    }
    made = client.create_container(
        image,
        ["sleep", "600"],
        name=name,
        environment={"TOKEN": "x"},
        volumes=["/home/jovyan"],
        ports={"8888/tcp": None},  # type: ignore[dict-item] # as the spawner
        labels=labels,
        host_config=client.create_host_config(**options),
    )
    return str(made["Id"])
