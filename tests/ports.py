"""Free ports for servers that tests start."""

from __future__ import annotations

import socket


def free_privileged_port() -> int:
    """Return a TCP port below 1024 that is free now; as root only."""
    for port in range(1023, 600, -1):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise OSError("no port below 1024 is free")


def free_port() -> int:
    """Return a TCP port on loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
