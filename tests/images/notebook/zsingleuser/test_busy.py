"""What a kernel's messages say of whether it works."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from zsingleuser import busy

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def message(
    state: str, asked: str | None, name: str = "a", shell: str | None = None, kind: str = "status"
) -> list[bytes]:
    """A message of a kernel: that it is in a state, for a request of this type and name."""
    parent = {"msg_type": asked, "msg_id": name, "subshell_id": shell} if asked else {}
    content = {"execution_state": state} if state else {}
    parts = [{"msg_type": kind, "msg_id": "1"}, parent, {}, content]
    return [b"topic", b"<IDS|MSG>", b"signature", *(json.dumps(part).encode() for part in parts)]


class Kernels:
    """The manager of a server's kernels, of which one has just started."""

    def __init__(self) -> None:
        self.last_kernel_activity = LONG_AGO
        self.one = SimpleNamespace(
            execution_state="starting", last_activity=LONG_AGO, work=busy.Work()
        )

    def track_message_type(self, kind: str | None) -> bool:
        """As installed, with some of Jupyter's list."""
        return kind not in busy.BESIDE | {"status", "stream", "kernel_info_request"}

    def heard(self, *parts: Any, **named: Any) -> str:
        busy.note(self, self.one, message(*parts, **named))
        state: str = self.one.execution_state
        return state

    @property
    def used(self) -> bool:
        """Whether it was in use since this was asked last."""
        before, self.last_kernel_activity = self.last_kernel_activity, LONG_AGO
        return before > LONG_AGO


@pytest.mark.parametrize("asked", sorted(busy.BESIDE))
def test_an_answer_beside_a_cell_ends_no_work(asked: str) -> None:
    kernels = Kernels()
    assert kernels.heard("busy", "execute_request", "cell") == "busy"
    assert kernels.heard("busy", asked, "beside") == "busy"
    assert kernels.heard("idle", asked, "beside") == "busy"
    assert kernels.heard("idle", "execute_request", "cell") == "idle"


def test_what_pages_ask_by_themselves_is_no_use() -> None:
    kernels = Kernels()
    assert kernels.heard("idle", "kernel_info_request") == "idle"
    assert not kernels.used
    assert (
        kernels.heard("busy", "usage_request") == kernels.heard("idle", "usage_request") == "idle"
    )
    assert not kernels.used
    assert kernels.heard("busy", "comm_msg") == "busy"
    assert kernels.used, "somebody moves a widget"


def test_a_widget_that_is_moved_ends_no_cell_and_a_cell_no_widgets_work() -> None:
    kernels = Kernels()
    kernels.heard("busy", "execute_request", "cell")
    assert kernels.heard("busy", "comm_msg", "moved", "s") == "busy"
    assert kernels.heard("idle", "comm_msg", "moved", "s") == "busy"
    kernels.heard("busy", "comm_msg", "again", "s")
    assert kernels.heard("idle", "execute_request", "cell") == "busy"
    assert kernels.heard("idle", "comm_msg", "again", "s") == "idle"


def test_the_end_of_a_cell_that_was_not_heard_does_not_matter_after_the_next_one() -> None:
    kernels = Kernels()
    kernels.heard("busy", "execute_request", "lost")
    kernels.heard("busy", "execute_request", "other", "s")
    kernels.heard("busy", "execute_request", "next")
    assert kernels.heard("idle", "execute_request", "next") == "busy", "the other goes on"
    assert kernels.heard("idle", "execute_request", "other", "s") == "idle"


def test_a_kernel_that_starts_again_does_nothing() -> None:
    kernels = Kernels()
    kernels.heard("busy", "execute_request", "cell")
    assert kernels.heard("starting", None) == "starting"
    assert kernels.heard("idle", "kernel_info_request") == "idle"


def test_what_a_cell_prints_is_use() -> None:
    kernels = Kernels()
    kernels.heard("busy", "execute_request")
    assert kernels.used
    assert kernels.heard("", "execute_request", kind="stream") == "busy"
    assert kernels.used


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"<IDS|MSG>"],
        [b"<IDS|MSG>", b"", b"{}", b"{}", b"{}", b"{}"],
        [b"<IDS|MSG>", b"", b"[]", b"{}", b"{}", b"{}"],
        [b"<IDS|MSG>", b"", b"\xff", b"{}", b"{}", b"{}"],
        [b"<IDS|MSG>", b"", b'{"msg_type": "status"}', b"{}", b"{}", b"[]"],
    ],
)
def test_what_is_no_message_changes_nothing(parts: list[bytes]) -> None:
    kernels = Kernels()
    busy.note(kernels, kernels.one, parts)
    assert (kernels.used, kernels.one.execution_state) == (False, "starting")
