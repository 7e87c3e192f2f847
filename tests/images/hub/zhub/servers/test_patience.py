"""A start is given up when it comes to no next step, however long all steps take."""

from __future__ import annotations

import asyncio

import pytest
from zhub.servers.patience import Patience
from zhub.servers.unavailable import NoServerError


@pytest.mark.slow
def test_a_start_that_goes_on_is_not_given_up() -> None:
    async def slow() -> str:
        patience = Patience(0.5)
        async with patience.limited(lambda: "step"):
            for _ in range(6):
                await asyncio.sleep(0.2)
                patience.goes_on()
        return "ready"

    assert asyncio.run(slow()) == "ready"


@pytest.mark.slow
def test_one_that_hangs_is_given_up_with_its_step_and_the_setting() -> None:
    async def hangs() -> None:
        patience = Patience(0.2)
        async with patience.limited(lambda: "Connecting it to its network"):
            patience.goes_on()
            await asyncio.sleep(30)

    with pytest.raises(NoServerError, match=r"for 0 seconds.*Connecting it to its.*startTimeout"):
        asyncio.run(hangs())


def test_a_timeout_of_the_start_itself_is_another_error() -> None:
    async def fails() -> None:
        async with Patience(30).limited(lambda: "step"):
            raise TimeoutError("of something else")

    with pytest.raises(TimeoutError, match="of something else"):
        asyncio.run(fails())
    # Between two starts there is nothing to note.
    Patience(1).goes_on()
