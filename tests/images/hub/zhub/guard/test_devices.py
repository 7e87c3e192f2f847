"""What the guard says of devices that profiles name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from docker.errors import APIError
from zhub.guard.devices import given, look, report
from zhub.guard.helpers import Helpers, UnusableError

from tests.images.hub.zhub.guard.test_policy import OF_PROFILES

PLAIN = OF_PROFILES.settings.profiles[0]
LOST = "stat: cannot statx '/seen/z90crypt': No such file or directory"


def said(monkeypatch: pytest.MonkeyPatch, **there: str) -> list[tuple[str, str]]:
    """What is said of devices by what `stat` prints of them; two profiles have the first."""

    def run(_: Helpers, command: list[str], **more: Any) -> str:
        [mount] = more["mounts"]
        assert (mount["Source"], mount["ReadOnly"]) == ("/dev", True)
        return "".join(f"{there[path.removeprefix('/seen/')]}\n" for path in command[4:])

    monkeypatch.setattr(Helpers, "run", run)
    engine: Any = None
    devices = tuple(there)
    profiles = (
        replace(PLAIN, name="a", devices=devices[:1]),
        replace(PLAIN, name="b", devices=devices),
    )
    return list(look(Helpers(engine, "notebook", "site"), profiles))


def test_devices_that_servers_can_open_are_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    good = {"z90crypt": "0 0 21b6", "own": "1000 0 2180", "folder": "0 0 41ed", "link": "0 0 a1ff"}
    assert said(monkeypatch, **good) == []


@pytest.mark.parametrize(
    ("line", "what", "fix"),
    [
        (LOST, "the engine's machine has no /dev/z90crypt (No such file or directory)", "driver"),
        ("", "the engine's machine has no /dev/z90crypt", "driver"),
        ("0 0 21b0", "may not open it (owner 0, mode 660)", "chmod 666 /dev/z90crypt"),
        ("0 0 2124", "may not open it (owner 0, mode 444)", "chmod 666 /dev/z90crypt"),
        ("0 6 61b6", "/dev/z90crypt is a disk or the like", "remove it"),
    ],
)
def test_others_are_named_with_their_profiles_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, line: str, what: str, fix: str
) -> None:
    [(text, advice)] = said(monkeypatch, z90crypt=line, random="0 0 21b6")
    assert text.startswith("profiles, a and b: ")
    assert what in text
    assert fix in advice


def test_no_helper_is_started_without_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    engine: Any = None
    monkeypatch.setattr(Helpers, "run", None)
    assert list(look(Helpers(engine, "notebook", "site"), [PLAIN])) == []


def test_the_guard_starts_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def run(*_: Any, **__: Any) -> str:
        raise RuntimeError("no answer")

    monkeypatch.setattr(Helpers, "run", run)
    engine: Any = None
    report(Helpers(engine, "notebook", "site"), [replace(PLAIN, devices=("z90crypt",))])
    assert "devices of profiles cannot be looked at: no answer" in caplog.text


def test_a_user_reads_that_a_device_is_lost() -> None:
    found = {"Config": {"Env": ["A=b", "ZHUB_PROFILE=large"]}}
    words = 'error gathering device information while adding custom device "/dev/z90crypt": no such'
    lost = "A device of the profile large is missing.*z90crypt"
    with pytest.raises(UnusableError, match=lost), given(found):
        raise APIError("x", explanation=words)
    with pytest.raises(APIError), given(found):
        raise APIError("x", explanation="something else")
