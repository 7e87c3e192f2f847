"""Measure what the guard and a network for each user cost.

It measures the engine's calls of a server's start, made by the hub's own code, in three ways: one
network for all servers, directly at the engine, as is usual; a network for each server; and the
same through the guard, in its container. The time of JupyterHub and the notebook is the same each
time and not included. Then it measures how the cost grows with the number of networks, and how
long a new hub takes to attach itself to all of them.

Needs the images of `make up`, takes some minutes, and removes what it makes:

    PYTHONPATH=images/hub .venv/bin/python -m benchmarks.spawn
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException
from zhub.contract import NO_NETWORK, SUBNET_PREFIX
from zhub.servers.networks import UserNetworks

from tests.images.hub import spawned

#: Used by this program only; a stack may be using the default pool.
POOL = IPv4Network("10.212.0.0/16")

GUARD_SECONDS = 120


@dataclass(frozen=True)
class Bench:
    """The engine, the prefix of everything made there, and the images that are measured."""

    engine: docker.APIClient
    prefix: str
    notebook: str
    hub: str
    filter: str

    def labels(self, role: str, user: str) -> dict[str, str]:
        """Labels of a user's container, network or volume."""
        return {"zhub.stack": self.prefix, "zhub.role": role, "zhub.user": user}

    def networks(self, client: docker.APIClient) -> UserNetworks:
        """The users' networks, created through a client."""
        hub = self.engine.inspect_container(f"{self.prefix}-hub")["Id"]
        return UserNetworks(client, prefix=self.prefix, hub=hub, pool=POOL, internal=False)

    def start(self, client: docker.APIClient, user: str, network: str) -> str:
        """Create and start a server's container as the spawner does; the container then idles."""
        name, volume = f"{self.prefix}-user-{user}", f"{self.prefix}-home-{user}"
        client.create_volume(volume, labels=self.labels("home", user))
        made = spawned.create(
            client,
            self.notebook,
            name=name,
            volume=volume,
            labels=self.labels("notebook", user),
            mem_limit="256M",
            memswap_limit="256M",
            cpu_quota=100_000,
            network_mode=network,
        )
        client.start(made)
        return made

    def clean(self) -> None:
        """Remove everything that was made."""
        label = {"label": f"zhub.stack={self.prefix}"}
        for container in self.engine.containers(all=True, filters=label):
            self.engine.remove_container(container["Id"], force=True, v=True)
        for network in self.engine.networks(filters=label):
            self.engine.remove_network(network["Id"])
        for volume in self.engine.volumes(filters=label)["Volumes"] or ():
            self.engine.remove_volume(volume["Name"])


@contextmanager
def guard(bench: Bench) -> Iterator[docker.APIClient]:
    """Run the guard in its container; yield a client that goes through it, as the hub does."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        made = bench.engine.create_container(
            bench.hub,
            ["guard"],
            entrypoint=["/opt/jupyter/bin/python3", "-I", "-m", "zhub"],
            labels={"zhub.stack": bench.prefix, "zhub.role": "guard"},
            environment={
                "ZHUB_PREFIX": bench.prefix,
                "ZHUB_NOTEBOOK_IMAGE": bench.notebook,
                "ZHUB_FILTER_IMAGE": bench.filter,
                "ZHUB_USER_MEMORY": "256M",
                "ZHUB_USER_CPUS": "1",
                "ZHUB_USER_PIDS": "64",
                "ZHUB_USER_INTERNET": "true",
                "ZHUB_USER_NETWORK_POOL": str(POOL),
            },
            user="0",
            host_config=bench.engine.create_host_config(
                network_mode="none",
                binds=["/var/run/docker.sock:/var/run/docker.sock", f"{folder}:/run/guard"],
            ),
        )
        bench.engine.start(made["Id"])
        yield through(Path(folder, "engine.sock"))


def through(socket: Path) -> docker.APIClient:
    """A client that goes through the guard, once it answers."""
    end = time.monotonic() + GUARD_SECONDS
    while True:
        try:
            return docker.APIClient(f"unix://{socket}", version="auto", timeout=300)
        except DockerException:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def seconds(call: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    begin = time.monotonic()
    call()
    return time.monotonic() - begin


def said(values: list[float]) -> str:
    """Median and range of values."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.2f} s ({low:.2f} to {high:.2f}, n={len(values)})"


def idle_container(bench: Bench, name: str, network: str = "bridge") -> None:
    """Start a container that only sleeps."""
    made = bench.engine.create_container(
        bench.hub,
        ["600"],
        entrypoint=["sleep"],
        name=f"{bench.prefix}-{name}",
        labels={"zhub.stack": bench.prefix, "zhub.role": "hub" if name == "hub" else "notebook"},
        host_config=bench.engine.create_host_config(network_mode=network),
    )
    bench.engine.start(made["Id"])


def measure_starts(bench: Bench, repeat: int) -> None:
    """Print how long the start of a server's container takes, in each of the three ways."""
    shared = f"{bench.prefix}-shared"
    bench.engine.create_network(shared, driver="bridge", labels={"zhub.stack": bench.prefix})
    straight = bench.networks(bench.engine)
    with guard(bench) as guarded:

        def usual(user: str) -> None:
            bench.start(bench.engine, user, shared)

        def own_network(client: docker.APIClient, networks: UserNetworks, user: str) -> None:
            name = f"{bench.prefix}-user-{user}"
            container = bench.start(client, user, NO_NETWORK)
            networks.join(name, bench.labels("user-network", user), container)

        ways: dict[str, Callable[[str], None]] = {
            "one network for all, no guard": usual,
            "a network for each, no guard": partial(own_network, bench.engine, straight),
            "a network for each, guard and filter": partial(
                own_network, guarded, bench.networks(guarded)
            ),
        }
        values: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(repeat):
            # In turn, so that other work on the machine affects all of them.
            for way, start in ways.items():
                user = f"way{len(way)}n{number}"
                values[way].append(seconds(partial(start, user)))
                bench.engine.remove_container(f"{bench.prefix}-user-{user}", force=True)
                if start is not usual:
                    straight.close(f"{bench.prefix}-user-{user}")
    for way, times in values.items():
        print(f"{way}: {said(times)}", flush=True)


def measure_number(bench: Bench, number: int) -> None:
    """Print how long another network takes when there are many, each with a container."""
    networks = bench.networks(bench.engine)
    opened, started = [], []
    for user in range(1, number + 1):
        name = f"{bench.prefix}-user-{user}"
        labels = bench.labels("user-network", str(user))
        opened.append(seconds(partial(networks.open, name, labels)))
        started.append(seconds(partial(idle_container, bench, f"user-{user}", name)))
        if user in {10, 50} or user % 100 == 0:
            network, container = said(opened[-10:]), said(started[-10:])
            print(f"up to network {user}: {network}; its container: {container}", flush=True)
    print(f"all of them: {sum(opened):.0f} s")
    bench.engine.remove_container(f"{bench.prefix}-hub", force=True)
    idle_container(bench, "hub")
    attach = seconds(bench.networks(bench.engine).restore)
    print(f"a new hub attached to {number} networks: {attach:.1f} s")
    attached = bench.engine.inspect_container(f"{bench.prefix}-hub")["NetworkSettings"]["Networks"]
    print(f"networks of that hub: {len(attached)}, its own among them")


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    add = parser.add_argument
    add("--repeat", type=int, default=10, help="starts in each way; 0 for none")
    add("--number", type=int, default=300, help="networks at the same time; 0 for none")
    add("--notebook-image", default="jupyter_notebook_s390x:latest")
    add("--hub-image", default="jupyter_hub_s390x:latest")
    add("--filter-image", default="zhub_filter_s390x:zhub-dev")
    options = parser.parse_args()
    engine = docker.APIClient(version="auto", timeout=300)
    notebook, hub, packet_filter = (
        str(engine.inspect_image(name)["Id"])  # type: ignore[no-untyped-call]
        for name in (options.notebook_image, options.hub_image, options.filter_image)
    )
    idle = spawned.idle_image(engine, notebook)
    bench = Bench(engine, f"zhub-bench-{uuid.uuid4().hex[:8]}", idle, hub, packet_filter)
    print(f"subnets in a pool of /16: {2 ** (SUBNET_PREFIX - 16)}")
    try:
        idle_container(bench, "hub")
        if options.repeat:
            measure_starts(bench, options.repeat)
        if options.number:
            measure_number(bench, options.number)
    finally:
        bench.clean()
        engine.remove_image(idle)


if __name__ == "__main__":
    main()
