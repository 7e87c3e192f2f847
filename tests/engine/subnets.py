"""Subnets for networks that tests make, which nothing else on this machine has.

Not fixed ones: another run may have them, and one that was killed leaves its networks.
"""

from __future__ import annotations

import json
import os
import subprocess
from ipaddress import IPv4Network

#: Where they are looked for.
POOL = IPv4Network("10.222.0.0/16")


def free(prefix: int) -> IPv4Network:
    """A subnet that no interface and no route of this machine has; `prefix` is its length.

    Each process begins to look at another place, so that two at once do not find the same.
    """
    listed = subprocess.run(
        ["ip", "-json", "-4", "route", "show", "table", "all"], capture_output=True, check=True
    )
    routes = (str(route["dst"]) for route in json.loads(listed.stdout))
    taken = [IPv4Network(to) for to in routes if to[0].isdigit()]
    subnets = list(POOL.subnets(new_prefix=prefix))
    first = os.getpid() % len(subnets)
    return next(
        subnet
        for subnet in subnets[first:] + subnets[:first]
        if not any(subnet.overlaps(other) for other in taken if other.prefixlen)
    )
