"""Which machines of a swarm do not start servers that the managers give them."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from zhub.guard import services
from zhub.guard.placement import node_of

SECONDS = 300
"""How long such a machine gets no servers, as long as another one may have them."""

UNSTARTED = "starting container failed"
"""What a machine says of a container that it has made and cannot start, such as without its home
(`Start` in moby's daemon/cluster/executor/container/controller.go). Of one that has ended, it names
the exit code."""

log = logging.getLogger(__name__)


class Refusals:
    """Remembers machines on which a server has not even started.

    As where the file system with the homes is not mounted. The managers go on choosing such a
    machine: it has the fewest servers, as none stays there, and so nearly all starts would fail.
    """

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def note(self, task: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]) -> bool:
        """Note what has become of a server; return whether its machine has not started it.

        Args:
            task: the server's.
            nodes: all there are, by their IDs.
        """
        status, node = task["Status"], nodes.get(node_of(task))
        said = status.get("Err", "")
        rejected = status["State"] == "rejected" and not services.cut_short(task)
        if node is None or not (rejected or UNSTARTED in said):
            return False
        self._since[node["ID"]] = time.monotonic()
        log.warning(
            "%s has not started a server, and gets none for %d minutes if others may have them: %s",
            node["Description"]["Hostname"],
            SECONDS // 60,
            said,
        )
        return True

    def lately(self) -> set[str]:
        """Return the IDs of machines that have refused one lately."""
        now = time.monotonic()
        return {node for node, at in self._since.items() if now - at < SECONDS}
