"""What is kept of a kernel whose page is gone, and what its user is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
from zsingleuser.unseen import REMEMBERED, Kept, Unseen, kind


def message(of: str, size: int = 0) -> list[bytes]:
    """A message as a kernel sends it, with so many bytes of content."""
    return [
        b"a topic",
        b"<IDS|MSG>",
        b"signature",
        json.dumps({"msg_type": of}).encode(),
        b"x" * size,
    ]


def session(kernel: str) -> dict[str, Any]:
    return {"path": f"{kernel}.ipynb", "kernel": {"id": kernel}}


@pytest.mark.parametrize(
    "parts", [[], [b"x"], [b"<IDS|MSG>"], [b"<IDS|MSG>", b"", b"{"], [b"<IDS|MSG>", b"", b"[]"]]
)
def test_what_is_no_message_has_no_type(parts: list[bytes]) -> None:
    assert kind(parts) == ""
    assert kind(message("stream")) == "stream"


def test_no_more_is_kept_than_there_is_room_for() -> None:
    kept = Kept(most=10_000)
    for _ in range(100):
        kept.append(("iopub", message("stream", 1000)))
        kept.append(("iopub", message("comm_msg", 1000)))
    assert len(kept) < 10
    assert kept.dropped
    # A page that comes back learns all the same that the cell has ended.
    kept.append(("iopub", message("status")))
    kept.append(("shell", message("execute_reply")))
    assert [channel for channel, _ in kept][-2:] == ["iopub", "shell"]


@pytest.mark.parametrize(
    ("of", "shown"), [("stream", True), ("error", True), ("status", False), ("comm_msg", False)]
)
def test_it_is_known_whether_a_page_would_have_shown_something(of: str, shown: bool) -> None:  # noqa: FBT001
    kept = Kept()
    kept.append(("iopub", message(of)))
    assert (kept.shown, kept.dropped) == (shown, False)
    answer = Kept()
    answer.append(("shell", message(of)))
    assert not answer.shown


def test_users_are_told_which_notebook_it_was_until_its_kernel_ends() -> None:
    unseen = Unseen()
    assert unseen.messages([session("a")]) == []
    unseen.note("a")
    [first] = unseen.messages([session("a"), {"path": "terminal", "kernel": None}])
    assert first["text"].startswith("a.ipynb: a cell ran while the page was closed")
    assert len(first["text"]) < 140, "all of it is in the notice"
    assert unseen.messages([session("a")]) == [first]
    unseen.note("a")
    [second] = unseen.messages([session("a")])
    assert second["id"] != first["id"], "who has dismissed the first one is told again"
    assert unseen.messages([session("b")]) == []
    assert unseen.messages([session("a")]) == []


def test_of_many_kernels_the_last_ones_are_remembered() -> None:
    unseen = Unseen()
    names = [f"k{number}" for number in range(REMEMBERED + 5)]
    for name in names:
        unseen.note(name)
    told = [one["text"].partition(".")[0] for one in unseen.messages(list(map(session, names)))]
    assert told == names[5:]
