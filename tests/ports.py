"""Free ports for servers that tests start."""

from __future__ import annotations

import secrets
import socket

#: Below those that Linux gives to connections (ip_local_port_range): such a one could be taken by
#: another test between two starts of what is to listen.
FIRST, COUNT = 20000, 12000


def free_privileged_port() -> int:
    """Return a TCP port below 1024 that is free now; as root only."""
    for port in range(1023, 600, -1):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise OSError("no port below 1024 is free")


def free_port() -> int:
    """Return a TCP port on loopback that is free now."""
    while True:
        port = FIRST + secrets.randbelow(COUNT)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
