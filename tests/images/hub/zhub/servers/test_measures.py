"""What the hub counts of a start: its outcome, and where it ended."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
import requests.exceptions
from docker.errors import APIError, ImageNotFound
from prometheus_client import REGISTRY
from zhub.contract import FULL
from zhub.servers.last_words import EndedError
from zhub.servers.measures import Measure, Outcome, Stage


def answer(status: int, kind: type[APIError] = APIError) -> APIError:
    response: Any = SimpleNamespace(status_code=status, reason="x", url="/")
    return kind("x", response, "said")


def starts(outcome: str, stage: str) -> float:
    labels = {"outcome": outcome, "stage": stage}
    return REGISTRY.get_sample_value("zhub_server_starts_total", labels) or 0


def timed(stage: str) -> float:
    return REGISTRY.get_sample_value("zhub_server_start_stage_seconds_count", {"stage": stage}) or 0


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (answer(FULL), Outcome.FULL),
        (answer(502), Outcome.SILENT),
        (requests.exceptions.ConnectionError(), Outcome.SILENT),
        (answer(404, ImageNotFound), Outcome.IMAGE),
        (EndedError("alice", "1", []), Outcome.ENDED),
        (asyncio.CancelledError(), Outcome.CANCELLED),
        (answer(500), Outcome.FAILED),
        (ValueError(), Outcome.FAILED),
    ],
    ids=repr,
)
def test_each_error_has_an_outcome(error: BaseException, outcome: Outcome) -> None:
    before = starts(outcome, Stage.CONTAINER)
    start = Measure()
    start.reached(Stage.FILES)
    start.reached(Stage.CONTAINER)
    with pytest.raises(type(error)), start.counted():
        raise error
    assert starts(outcome, Stage.CONTAINER) == before + 1


def test_a_start_is_counted_once_and_each_stage_is_timed() -> None:
    before = {stage: timed(stage) for stage in Stage}
    succeeded = starts(Outcome.SUCCESS, Stage.SERVER)
    start = Measure()
    start.reached(Stage.TURN)
    start.reached(Stage.FILES)
    with start.counted():
        for stage in (Stage.CONTAINER, Stage.NETWORK, Stage.SERVER):
            start.reached(stage)
    assert starts(Outcome.SUCCESS, Stage.SERVER) == succeeded + 1
    assert {stage: timed(stage) for stage in Stage} == {s: n + 1 for s, n in before.items()}


def test_all_outcomes_are_there_from_the_start_on() -> None:
    """Otherwise Prometheus would see no increase at the first of a kind."""
    for outcome in Outcome:
        labels = {"outcome": str(outcome), "stage": "server"}
        assert REGISTRY.get_sample_value("zhub_server_starts_total", labels) is not None
