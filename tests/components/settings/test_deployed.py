"""The stack's own state, as the program reads it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pulumi
import pytest

from components.settings import deployed

EOF = Exception(f"invoke of {deployed.READ_RESOURCES} failed: failed to load checkpoint: EOF")
VOLUME = {"type": deployed.VOLUME, "outputs": {"name": "zhub-test-state"}}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the CLI answers, in this order; exceptions are raised."""
    given: list[Any] = []

    def invoke(_: str, arguments: dict[str, str]) -> SimpleNamespace:
        assert arguments["stackName"]
        answer = given.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(value=answer)

    monkeypatch.setattr(pulumi.runtime, "invoke", invoke)
    monkeypatch.setattr(deployed, "PAUSE", 0)
    for name in ("get_organization", "get_project", "get_stack"):
        monkeypatch.setattr(pulumi, name, lambda: "test")
    return given


def test_a_state_that_is_being_written_is_read_again(answers: list[Any]) -> None:
    answers += [EOF, EOF, {"outputs": {"urn:pulumi::test::state": VOLUME}}]
    assert deployed.last().prefix == "zhub-test"
    assert answers == []


def test_a_state_that_cannot_be_read_is_an_error(answers: list[Any]) -> None:
    answers += [EOF] * deployed.TRIES
    with pytest.raises(Exception, match="EOF"):
        deployed.last()
    assert answers == []


def test_another_error_is_not_asked_again(answers: list[Any]) -> None:
    answers += [Exception("no such stack"), {}]
    with pytest.raises(Exception, match="no such stack"):
        deployed.last()
    assert answers == [{}]
