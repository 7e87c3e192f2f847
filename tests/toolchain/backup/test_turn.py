"""Which commands of several operators may work at the same time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from toolchain.backup import jobs, turn
from toolchain.backup.helper import COMMAND, Helpers
from toolchain.console import Problem


@dataclass
class Site:
    """An engine on which commands have containers."""

    prefix: str = "zhub-site"
    there: dict[str, str] = field(default_factory=dict)
    """What is at work, by the names of the containers."""
    said: str = ""
    """Why it makes none."""

    @property
    def engine(self) -> Site:
        return self

    def ask(self, *arguments: str) -> str:
        assert "label=zhub.stack=zhub-site" in arguments
        assert f"label={COMMAND}" in arguments
        return "\n".join(json.dumps([*one, "today"]) for one in self.there.items())

    @contextmanager
    def holding(self, name: str, command: str) -> Iterator[str]:
        if self.said or name in self.there:
            yield self.said or f'The container name "/{name}" is already in use'
            return
        self.there[name] = command
        try:
            yield ""
        finally:
            del self.there[name]


@pytest.fixture
def site() -> Any:
    return Site()


def test_backups_work_beside_each_other(site: Any) -> None:
    with turn.among_others(site, turn.BACKUP), turn.among_others(site, turn.BACKUP):
        assert len(site.there) == 2
    assert not site.there


def test_who_must_be_alone_is(site: Any) -> None:
    with turn.alone(site, "make restore"):
        for other in (turn.alone, turn.among_others):
            with (
                pytest.raises(
                    Problem, match=r"^`make restore` is under way on zhub-site, since today: noth"
                ),
                other(site, "make homes"),
            ):
                pytest.fail("two at once")
        assert list(site.there) == ["zhub-site-operator"]
    with turn.among_others(site, turn.BACKUP):
        with (
            pytest.raises(Problem, match="`make backup` is under way"),
            turn.alone(site, "make homes"),
        ):
            pytest.fail("two at once")
        with turn.alone(site, "make restore", but=turn.BACKUP):
            assert len(site.there) == 2
    with turn.alone(site, "make homes"):
        pass


def test_a_container_that_cannot_be_made_is_told_with_the_way_out(site: Any) -> None:
    site.said = "the engine has no room"
    with (
        pytest.raises(
            Problem, match=r"docker rm --force zhub-site-operator\. The engine says:\nthe"
        ),
        turn.alone(site, "make homes"),
    ):
        pytest.fail("nobody keeps others away")


@pytest.mark.slow
@pytest.mark.parametrize("works", [True, False])
def test_the_container_ends_with_the_command(
    works: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a program in place of `docker run`."""
    helpers = Helpers(SimpleNamespace(prefix="zhub-site", docker=("docker",)), "image")  # type: ignore[arg-type]
    options = helpers.command(jobs.hold(), "name", "--label", f"{COMMAND}=make homes")
    assert options[options.index(f"{COMMAND}=make homes") - 1] == "--label"
    script = "echo held; cat" if works else "echo no room >&2; exit 125"
    monkeypatch.setattr(Helpers, "command", lambda *_: ["sh", "-c", script])
    with helpers.holding("name", "make homes") as said:
        assert said == ("" if works else "no room")
