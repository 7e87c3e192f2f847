"""Free ports for servers that tests start."""

from __future__ import annotations

import os
import secrets
import socket

#: Below those that Linux gives to connections (ip_local_port_range): such a one could be taken by
#: another test between two starts of what is to listen.
FIRST, COUNT = 20000, 12000

#: What this process has given: who asks for two gets two, though neither listens yet.
_GIVEN: set[int] = set()


def free_privileged_port() -> int:
    """Return a TCP port below 1024 that is free now; as root only."""
    for port in range(1023, 600, -1):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise OSError("no port below 1024 is free")


def free_port() -> int:
    """Return a TCP port on loopback that is free now, and that no other test is given."""
    # Those of pytest-xdist's two workers are even in the one, and odd in the other.
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 2
    if len(_GIVEN) > COUNT // 4:
        _GIVEN.clear()
    while True:
        port = FIRST + 2 * secrets.randbelow(COUNT // 2) + worker
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _GIVEN:
            _GIVEN.add(port)
            return port
