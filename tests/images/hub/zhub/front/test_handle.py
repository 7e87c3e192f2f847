"""What JupyterHub learns from the proxy about its routes."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from jupyterhub.proxy import ConfigurableHTTPProxy
from zhub.front.handle import ProxyHandle


def test_the_proxy_does_not_say_when_a_server_was_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would count the answers of open pages to pings; but every route is still looked at."""

    async def routes(_: ConfigurableHTTPProxy) -> dict[str, dict[str, Any]]:
        used = {"last_activity": "2030-01-01T00:00:00Z"}
        alice = {"user": "alice", "server_name": ""}
        return {
            "/site/": {"target": "http://hub", "data": {"hub": True} | used},
            "/site/user/alice/": {"target": "http://alice", "data": alice | used},
        }

    monkeypatch.setattr(ConfigurableHTTPProxy, "get_all_routes", routes)
    proxy = ProxyHandle(parent=None)
    assert asyncio.run(proxy.get_all_routes()) == {
        "/site/": {"target": "http://hub", "data": {"hub": True}},
        "/site/user/alice/": {
            "target": "http://alice",
            "data": {"user": "alice", "server_name": ""},
        },
    }


def test_a_route_is_removed_from_where_its_server_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    removed = []

    async def delete(_: ConfigurableHTTPProxy, routespec: str) -> None:
        removed.append(routespec)

    monkeypatch.setattr(ProxyHandle, "delete_route", delete)
    spawner = SimpleNamespace(proxy_spec="/before/user/alice/")
    user = SimpleNamespace(proxy_spec="/now/user/alice/", spawners={"": spawner})
    asyncio.run(ProxyHandle(parent=None).delete_user(user))
    assert removed == ["/before/user/alice/"]
