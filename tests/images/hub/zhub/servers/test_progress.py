"""What the page shows while a server starts."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from zhub.servers import progress
from zhub.servers.progress import ALMOST, SLOWLY, Progress


def test_steps_come_as_they_begin_and_a_late_page_gets_them_all() -> None:
    async def watched() -> list[list[dict[str, Any]]]:
        start = Progress()
        await start.reached(10, "one")
        early = start.events()
        first = [await anext(early)]
        waiting = asyncio.ensure_future(anext(early))
        await asyncio.sleep(0)
        await start.reached(20, "two")
        first.append(await asyncio.wait_for(waiting, 0.9))
        late = start.events()
        return [first, [await anext(late), await anext(late)]]

    steps = [{"progress": 10, "message": "one"}, {"progress": 20, "message": "two"}]
    assert asyncio.run(watched()) == [steps, steps]


@pytest.mark.slow
def test_the_bar_moves_while_jupyterlab_loads_and_never_ends_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "PERCENT_SECONDS", 0.1)

    async def percents(begin: int) -> list[int]:
        start = Progress()
        await start.reached(begin, "loads")
        events = start.events()
        found = [(await anext(events))["progress"]]
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                while True:
                    found.append((await anext(events))["progress"])
        return found

    async def all_of_them() -> tuple[list[int], list[int], list[int]]:
        return await asyncio.gather(percents(SLOWLY), percents(ALMOST), percents(SLOWLY - 20))

    moving, full, before = asyncio.run(all_of_them())
    assert moving[:3] == [SLOWLY, SLOWLY + 1, SLOWLY + 2]
    assert (full, before) == ([ALMOST], [SLOWLY - 20])
