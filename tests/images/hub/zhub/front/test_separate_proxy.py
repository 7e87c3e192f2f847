"""What the hub keeps for a proxy that starts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Self

import pytest
from zhub.front import separate_proxy
from zhub.front.handle import ProxyHandle
from zhub.front.separate_proxy import SeparateProxy


class Answer:
    """The proxy's answer to a request for all routes."""

    def __init__(self, routes: dict[str, str]) -> None:
        self._routes = routes

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def text(self) -> str:
        return json.dumps(self._routes)


class Proxy(SeparateProxy):
    """A handle on a proxy whose routes are here."""

    def __init__(self) -> None:
        super().__init__(parent=None)
        self.there: dict[str, str] = {}
        self.asked = 0

    async def _ask(self, path: str, **_: Any) -> Any:
        assert path == ""
        self.asked += 1
        await asyncio.sleep(0.01)
        return Answer(self.there)


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Proxy:
    async def add(self: Proxy, routespec: str, target: str, data: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        self.there[routespec] = target

    async def delete(self: Proxy, routespec: str) -> None:
        await asyncio.sleep(0)
        del self.there[routespec]

    monkeypatch.setattr(ProxyHandle, "add_route", add)
    monkeypatch.setattr(ProxyHandle, "delete_route", delete)
    monkeypatch.setattr(separate_proxy, "ROUTES", tmp_path / "routes.json")
    return Proxy()


def test_many_changes_at_once_are_written_together(proxy: Proxy, tmp_path: Path) -> None:
    async def change() -> None:
        await asyncio.gather(*(proxy.add_route(f"/{n}/", "http://x", {}) for n in range(100)))
        await proxy.delete_route("/7/")

    asyncio.run(change())
    kept = json.loads((tmp_path / "routes.json").read_text())
    assert set(kept) == {f"/{n}/" for n in range(100)} - {"/7/"}
    assert proxy.asked < 5


def test_a_full_disk_does_not_keep_a_server_from_starting(
    proxy: Proxy, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / ".routes.json.part").mkdir()
    asyncio.run(proxy.add_route("/a/", "http://x", {}))
    assert proxy.there == {"/a/": "http://x"}
    assert "is not up to date" in caplog.text
    (tmp_path / ".routes.json.part").rmdir()
    asyncio.run(proxy.add_route("/b/", "http://x", {}))
    assert set(json.loads((tmp_path / "routes.json").read_text())) == {"/a/", "/b/"}


def test_a_request_waits_for_a_proxy_that_restarts(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """JupyterHub gives up after half a minute: it ends, or stops a server that has just started."""
    answers = [TimeoutError(), TimeoutError(), "done"]
    asked = []

    async def request(_: Proxy, *arguments: Any, **options: Any) -> Any:
        asked.append((arguments, options))
        answer = answers.pop(0)
        if isinstance(answer, TimeoutError):
            raise answer
        return answer

    monkeypatch.setattr(ProxyHandle, "api_request", request)
    answer: Any = asyncio.run(proxy.api_request("/user/a", method="POST", body={}))
    assert answer == "done"
    assert asked == [(("/user/a",), {"method": "POST", "body": {}})] * 3
    assert caplog.messages == ["waiting for the proxy, which does not answer"]
