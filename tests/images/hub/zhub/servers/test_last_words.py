"""What a user and the log are shown of a server that ended while it started."""

from __future__ import annotations

import json

import pytest
from zhub.servers.last_words import KEPT, LENGTH, EndedError, advice, clean


@pytest.mark.parametrize(
    ("line", "means"),
    [
        ("OSError: [Errno 28] No space left on device: '/x'", "The disk with your home is full."),
        ("OSError: [Errno 122] Disk quota exceeded", "The disk with your home is full."),
        ("PermissionError: [Errno 13] Permission denied: '/x'", "belongs to somebody else"),
        ("OSError: '/x' exists but is not a directory", "a file is where a folder has to be"),
        ("Segmentation fault", "Your files are still there."),
    ],
)
def test_the_user_is_told_what_to_do(line: str, means: str) -> None:
    assert means in advice(["other", line])
    assert advice([line]).endswith("Please show this to your administrator.")


def test_the_lines_are_shown_and_never_as_html() -> None:
    error = EndedError("alice", "ExitCode=1", ["one <script>", "two"])
    assert str(error) == "The server of alice ended while it started: ExitCode=1"
    assert "one &lt;script&gt;\ntwo</pre>" in error.jupyterhub_html_message
    assert "<pre" not in EndedError("alice", 0, []).jupyterhub_html_message


def test_a_server_cannot_say_more_than_is_read_nor_write_into_the_log() -> None:
    lines = [str(number) for number in range(100)] + ["x" * 1000, "a\nb\x1b[31m\u202e"]
    found = clean(json.dumps({"lines": lines}).encode())
    assert len(found) == KEPT
    assert found[-2:] == ["x" * LENGTH, "a b [31m "]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"lines": "text"}', b'{"lines": null}', b"1"]
)
def test_other_messages_are_refused(body: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        clean(body)
