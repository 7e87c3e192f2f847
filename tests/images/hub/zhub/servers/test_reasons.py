"""What users are told when no server can be started, by the error that engine or guard raise."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any

import docker
import docker.errors
import pytest
import requests
from docker.errors import APIError, ImageNotFound
from zhub.contract import FULL, UPDATING
from zhub.servers.spawner import UserSpawner
from zhub.servers.unavailable import NoServerError, log_once, saying_why


def outcome(error: Exception) -> Exception:
    """Return what comes of a start that fails with an error."""

    @saying_why
    async def start(_: UserSpawner) -> tuple[str, int]:
        raise error

    try:
        asyncio.run(start(UserSpawner(mock=True)))  # type: ignore[arg-type]
    except Exception as raised:  # noqa: BLE001 - it is what is looked at
        return raised
    raise AssertionError("the error is gone")


def message(error: Exception) -> str:
    """Return what the user reads instead of the error."""
    shown = outcome(error)
    assert isinstance(shown, NoServerError), shown
    assert shown.status_code == 503
    assert int(shown.headers["Retry-After"]) > 0
    return shown.jupyterhub_message


def answer(kind: type[APIError], status: int, text: str) -> APIError:
    """Return the error of an answer of engine or guard."""
    response: Any = SimpleNamespace(status_code=status, reason="x", url="/")
    return kind("x", response, text)


def test_the_hub_is_full() -> None:
    said = "The hub is full: 3 of 3 servers run."
    assert message(answer(APIError, FULL, said)) == said


def test_the_hub_is_updated() -> None:
    assert message(answer(APIError, 503, UPDATING)) == UPDATING


def test_the_disk_is_full() -> None:
    said = "write /var/lib/docker/overlay2/1/link: no space left on device"
    assert "the engine's disk is full" in message(answer(APIError, 500, said))


def test_an_image_is_missing() -> None:
    said = message(answer(ImageNotFound, 404, "No such image: sha256:ab"))
    assert "No such image: sha256:ab" in said


@pytest.mark.parametrize(
    ("host", "who"), [("unix:///run/guard/engine.sock", "guard"), (None, "engine")]
)
def test_nobody_answers(monkeypatch: pytest.MonkeyPatch, host: str | None, who: str) -> None:
    """With the real client, on a socket that is not there."""
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    if host:
        monkeypatch.setenv("DOCKER_HOST", host)
    client = docker.APIClient("unix:///nowhere/engine.sock", version="1.41")
    with pytest.raises(requests.exceptions.ConnectionError) as caught:
        client.version()
    with pytest.raises(docker.errors.DockerException) as first:
        docker.APIClient("unix:///nowhere/engine.sock", version="auto")
    for error in (caught.value, first.value, requests.exceptions.ReadTimeout()):
        assert f"the hub's {who} does not answer. Please try again" in message(error)


def test_the_engine_does_not_answer_the_guard() -> None:
    said = message(answer(APIError, 502, "the engine does not answer the guard"))
    assert "the hub's engine does not answer" in said


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (503, 'connection error: desc = "transport: Error while dialing"'),
        (500, "dial unix /run/containerd/containerd.sock: connect: connection refused"),
        (500, "failed to create task: error reading from server: EOF: unavailable"),
    ],
)
def test_the_engines_containerd_is_away(status: int, text: str) -> None:
    """The engine starts it again."""
    assert "the hub's engine does not answer" in message(answer(APIError, status, text))


def test_the_engine_refuses_for_another_reason() -> None:
    """One line in the log, where the engine's error would be a traceback."""
    assert "administrator: no such driver" in message(answer(APIError, 500, "no such driver"))


def test_other_errors_are_passed_on() -> None:
    error = RuntimeError("a mistake of the program")
    assert outcome(error) is error


@pytest.mark.parametrize("known", [NoServerError("no guard"), requests.ConnectionError("reset")])
def test_what_is_reported_elsewhere_is_not_logged_again_with_a_traceback(
    caplog: pytest.LogCaptureFixture, known: Exception
) -> None:
    loop = asyncio.new_event_loop()
    with contextlib.closing(loop):
        loop.set_exception_handler(log_once)
        loop.call_exception_handler({"message": "m", "exception": known})
        assert not caplog.records
        loop.call_exception_handler({"message": "m", "exception": ValueError("a fault")})
        assert "a fault" in caplog.text
