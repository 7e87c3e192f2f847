"""A network of a site that the engine's machine is in, with a host in it that listens."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network

import pytest

from tests.engine.namespaces import entered


@dataclass(frozen=True)
class Lan:
    """The network, whose host has its sixth address."""

    subnet: IPv4Network
    port: int
    """At which the host listens."""

    @property
    def reached(self) -> bool:
        """Whether this machine reaches the host."""
        try:
            socket.create_connection((str(self.subnet[5]), self.port), timeout=2).close()
        except OSError:
            return False
        return True


def _ip(line: str) -> None:
    subprocess.run(["ip", *line.split()], check=True)


@contextmanager
def lan(subnet: IPv4Network) -> Iterator[Lan]:
    """Put this machine into such a network, by an interface of its own; needs root."""
    if os.geteuid() or not shutil.which("ip"):
        pytest.skip("a network of a site needs root, and ip")
    name = f"zlan-{os.getpid()}"
    _ip(f"netns add {name}")
    try:
        _ip(f"link add {name} type veth peer name eth0 netns {name}")
        _ip(f"addr add {subnet[-2]}/{subnet.prefixlen} dev {name}")
        _ip(f"link set {name} up")
        _ip(f"-n {name} addr add {subnet[5]}/{subnet.prefixlen} dev eth0")
        _ip(f"-n {name} link set eth0 up")
        with entered(name):
            host = socket.create_server((str(subnet[5]), 0))
        with host:
            yield Lan(subnet, host.getsockname()[1])
    finally:
        # At once: the namespace itself stays while something is in it.
        subprocess.run(["ip", "link", "delete", name], check=False)
        _ip(f"netns delete {name}")
