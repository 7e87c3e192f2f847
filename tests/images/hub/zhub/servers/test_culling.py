"""When the culler may look at servers at all; a clock that the test sets, and no hub."""

from __future__ import annotations

import asyncio
import logging

from zhub.servers import culling
from zhub.servers.culling import REPORTED, when_reported

EVERY = 90


class Culler:
    """Looks at servers every 90 seconds, if nothing comes between."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.looks = 0
        self._look = when_reported(self._cull, REPORTED, lambda: EVERY, lambda: self.now)

    async def _cull(self, **_: object) -> None:
        self.looks += 1

    def looked(self, after: float = EVERY) -> bool:
        """Whether servers are stopped in the look after so many seconds."""
        before = self.looks
        self.now += after
        asyncio.run(self._look(logger=logging.getLogger("test")))
        return self.looks > before


def test_the_first_looks_stop_no_server() -> None:
    """The hub may have been away for longer than servers may be idle."""
    culler = Culler()
    assert [culler.looked(0), *(culler.looked() for _ in range(5))] == [
        *(False, False, False, False),
        *(True, True),
    ]


def test_nor_do_those_after_the_machine_slept_or_its_clock_was_set() -> None:
    culler = Culler()
    while not culler.looked():
        pass
    for jump in (7200, -7200):
        assert [culler.looked(jump), *(culler.looked() for _ in range(5))] == [
            *(False, False, False, False),
            *(True, True),
        ]


def test_every_server_has_reported_before_it_could_be_idle() -> None:
    # The settings take no shorter idle time.
    assert REPORTED < 360
    assert str(REPORTED) in culling.service(360, 0)["command"]
