"""What operators say, as it is kept."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from zhub.state import messages
from zhub.state.messages import EVERYBODY, LONGEST, checked


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where they are kept."""
    monkeypatch.setattr(messages, "FILE", tmp_path / "messages.json")
    return messages.FILE


def texts() -> dict[str, str]:
    return {name: message.text for name, message in messages.read().items()}


def test_there_are_none() -> None:
    assert messages.read() == {}
    assert not messages.remove(EVERYBODY)


def test_each_user_has_one_and_everybody_has_one(file: Path) -> None:
    messages.set_to("alice", "one", None)
    messages.set_to(EVERYBODY, "Grüße an alle 🚀", None)
    first = messages.read()["alice"].id
    messages.set_to("alice", " two ", None)
    assert texts() == {"alice": "two", EVERYBODY: "Grüße an alle 🚀"}
    assert messages.read()["alice"].id != first, "who has dismissed the first sees the second"
    assert messages.remove("alice")
    assert not messages.remove("alice")
    assert list(texts()) == [EVERYBODY]
    # Backups leave out what begins with a dot.
    left = [path.name for path in file.parent.iterdir() if not path.name.startswith(".")]
    assert left == ["messages.json"]


def test_a_message_ends(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    now = time.time()
    messages.set_to("alice", "soon over", now + 60)
    messages.set_to("bob", "stays", None)
    assert set(texts()) == {"alice", "bob"}
    monkeypatch.setattr(time, "time", lambda: now + 60)
    assert set(texts()) == {"bob"}
    assert not messages.remove("alice")
    messages.set_to("carol", "new", None)
    assert "soon over" not in file.read_text()


@pytest.mark.parametrize(
    "control", ["\n", "\t", "\r", "\x1b", "\x00", "\x9b", "\u2028", "\u202e", "\u2066", "\udc9b"]
)
def test_control_characters_are_refused_by_their_number(control: str) -> None:
    with pytest.raises(ValueError, match=f"its character 3 is .* U\\+{ord(control):04X}") as error:
        messages.set_to("alice", f"ab{control}c", None)
    assert control not in str(error.value)
    assert messages.read() == {}


@pytest.mark.parametrize("text", ["עברית", "👩‍🔬 نعم", "a b"])
def test_letters_of_all_languages_are_taken(text: str) -> None:
    assert checked(text) == text


def test_a_message_has_a_length() -> None:
    assert checked("x" * LONGEST)
    with pytest.raises(ValueError, match="501 characters, and may have 500"):
        checked("x" * (LONGEST + 1))


def test_operators_who_write_at_once_lose_nothing() -> None:
    names = [f"user{number}" for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: messages.set_to(name, "hello", None), names))
    assert sorted(texts()) == sorted(names)


@pytest.mark.parametrize("text", ["", "[]", '{"alice": 1}', '{"alice": {"more": 1}}', "\udcff"])
def test_a_broken_file_has_no_messages_and_is_logged(
    file: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_bytes(text.encode(errors="surrogateescape"))
    assert messages.read() == {}
    assert "is not shown" in caplog.text
    messages.set_to("bob", "hello", None)
    assert texts() == {"bob": "hello"}
