"""Gives JupyterHub the site's services and roles, and the services' tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jupyterhub.app import JupyterHub

from zhub.settings import services as settings
from zhub.settings.services import Services


def declared(found: Services) -> list[dict[str, Any]]:
    """Return the services as JupyterHub takes them.

    Without a url of JupyterHub's: it would pass requests on to the service, from a container that
    reaches nothing outside, and with the cookies of whoever opens it.
    """
    return [{"name": one.name, "info": {"url": one.url}} for one in found.services]


def roles(found: Services) -> list[dict[str, Any]]:
    """Return the roles as JupyterHub takes them; each service's own has its name.

    At each start JupyterHub deletes services and roles that are no longer there, and gives a role
    exactly the members that it is given here.
    """
    of_services = [
        {"name": one.name, "scopes": list(one.scopes), "services": [one.name]}
        for one in found.services
    ]
    of_users = [
        {
            "name": one.name,
            "scopes": list(one.scopes),
            "users": list(one.users),
            "groups": list(one.groups),
        }
        for one in found.roles
    ]
    return [*of_services, *of_users]


def links(found: Services) -> list[dict[str, str]]:
    """Return the services that have a page of their own, for the hub's pages."""
    return [{"name": one.name, "url": one.url} for one in found.services if one.url]


def take_tokens(file: Path | None) -> None:
    """Make JupyterHub take the services' tokens from a file when it starts.

    They are in no configuration, which JupyterHub logs with `debug`. Earlier ones are in no
    database (`zhub.state.database`).
    """
    if not file:
        return
    load = JupyterHub.init_api_tokens

    async def init_api_tokens(self: Any) -> None:
        self.service_tokens.update({token: name for name, token in settings.tokens(file).items()})
        await load(self)

    JupyterHub.init_api_tokens = init_api_tokens
