"""What the hub's page says of a home that is nearly full, or full, while its server starts."""

from __future__ import annotations

import docker
import requests.exceptions

NEARLY = 80
"""Percent of the limit from which on the user is warned; images/notebook/zsingleuser/limit.py and
toolchain/backup/sizes.py have the same."""

GIB = 1 << 30

SECONDS = 5
"""How long the guard may take to say what it knows."""


def warnings(taken: int | None, limit: int) -> list[str]:
    """Return what to tell the user, if anything.

    Args:
        taken: bytes; None if they are not known.
        limit: bytes.
    """
    if not taken or 100 * taken < NEARLY * limit:
        return []
    size = f"{taken / GIB:.1f} of {limit / GIB:.1f} GiB"
    if taken < limit:
        return [f"Your home is nearly full: {size}"]
    return [f"Your home is full: {size}", "Please delete what you do not need"]


def ask(client: docker.APIClient, volume: str, limit: int) -> list[str]:
    """Return what to tell the user of a home, as the guard last counted it.

    A start goes on without: a hub by hand has no guard, and JupyterLab says the same.
    """
    url = f"{client.base_url}/v{client.api_version}/zhub/homes/{volume}"
    try:
        answer = client.get(url, timeout=SECONDS)
        answer.raise_for_status()
        return warnings(answer.json()["Bytes"], limit)
    except requests.exceptions.RequestException:
        return []
