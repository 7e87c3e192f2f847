"""What JupyterHub's handle on the proxy does, wherever the proxy runs."""

from __future__ import annotations

from typing import Any

from aiohttp import ClientResponse
from jupyterhub.httpclient import fetch
from jupyterhub.proxy import ConfigurableHTTPProxy
from jupyterhub.user import User

from zhub.front.proxy import API


class ProxyHandle(ConfigurableHTTPProxy):  # type: ignore[misc] # untyped
    """Takes the times of a server's use from the server itself, and finds routes by their names."""

    async def get_all_routes(self) -> dict[str, dict[str, Any]]:
        """Return the routes without the times of their last use.

        To the proxy, a page that is open is in use: it answers a ping every half minute. Servers
        say themselves when they were in use. JupyterHub's `last_activity_interval` must stay set
        all the same: as often, it checks that no route is missing.
        """
        routes: dict[str, dict[str, Any]] = await super().get_all_routes()
        for route in routes.values():
            route["data"].pop("last_activity", None)
        return routes

    async def delete_user(self, user: User, server_name: str = "") -> None:
        """Remove a server's route, also one under another base path than the hub's (links.py)."""
        await self.delete_route(user.spawners[server_name].proxy_spec)

    async def _ask(self, path: str, **options: Any) -> ClientResponse:
        """Ask the proxy, once, for one route; for all without a path."""
        headers = {"Authorization": f"token {self.auth_token}"}
        answer: ClientResponse = await fetch(f"{API}/api/routes{path}", headers=headers, **options)
        return answer

    async def _ask_for_hub(self, **options: Any) -> ClientResponse:
        """Ask the proxy for the hub's route, which it may not have."""
        path = self._routespec_to_chp_path(self.app.hub.routespec)
        return await self._ask(path, raise_for_status=False, **options)
