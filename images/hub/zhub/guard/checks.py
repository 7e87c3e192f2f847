"""A container's own health check, made by the guard where the engine does not make it any more.

Docker 20.10 checks the health of no container that kept running while the engine restarted, as with
live-restore, until the container is started again. What it says of its health is from before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import docker
from docker.errors import NotFound

STALE = timedelta(seconds=60)
"""How old the engine's last check of a container is that it does not check any more: it makes one
every ten seconds, and gives it up after ten."""

SAID_NO = 1
"""Exit code of a health check that has found something."""


class Checks:
    """Makes the health check of one container, time and again, as long as the engine does not."""

    def __init__(
        self, client: docker.APIClient, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._client = client
        self._clock = clock
        self._begun: str | None = None
        self._said_no = 0

    def said_no(self, found: Mapping[str, Any]) -> int:
        """Return how many checks in a row have found something; begins the next one.

        Nobody waits for a check: the next call gets its answer.

        Args:
            found: the container, as the engine has it.

        Raises:
            docker.errors.APIError: the engine cannot make the check now.
        """
        state = found["State"]
        if not state["Running"] or state["Paused"] or not self._is_stale(state):
            self._begun, self._said_no = None, 0
            return 0
        if self._begun and not self._ended(self._begun):
            return self._said_no
        self._begun = None
        command = found["Config"]["Healthcheck"]["Test"][1:]
        begun = self._client.exec_create(found["Id"], command)["Id"]
        self._client.exec_start(begun, detach=True)
        self._begun = begun
        return self._said_no

    def _ended(self, begun: str) -> bool:
        """Take a check's answer, if it has ended."""
        try:
            check = self._client.exec_inspect(begun)
        except NotFound:
            return True  # the engine was restarted meanwhile
        if check["Running"]:
            return False
        # Another code says nothing, as where the check could not begin.
        self._said_no = self._said_no + 1 if check["ExitCode"] == SAID_NO else 0
        return True

    def _is_stale(self, state: Mapping[str, Any]) -> bool:
        """Return whether the engine has not checked a container for a while, nor started it."""
        if "Health" not in state:
            return False
        looks = state["Health"]["Log"] or ()
        times = [state["StartedAt"], *(look["End"] for look in looks)]
        # In both directions, should somebody set the clock back.
        return all(abs(self._clock() - datetime.fromisoformat(one)) > STALE for one in times)
