"""What every unit test starts from."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def event_loop() -> Iterator[None]:
    """Give the main thread an event loop: Pulumi's mocks take the one that is there.

    `asyncio.run`, in whatever test came before, leaves none.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()
