"""Servers that run without a record, as after a restored database: which of them are kept."""

from __future__ import annotations

from typing import Any

from jupyterhub.spawner import Spawner
from jupyterhub.utils import url_path_join

from zhub.contract import PROFILE, USER
from zhub.settings.folders import PLACE, revoked
from zhub.settings.profiles import named
from zhub.state import plan

TOKEN = "JUPYTERHUB_API_TOKEN"  # noqa: S105 - the name of a variable

WHO_AND_WHERE = (
    "JUPYTERHUB_USER",
    "JUPYTERHUB_CLIENT_ID",
    "JUPYTERHUB_API_URL",
    "JUPYTERHUB_HOST",
)
"""Variables that must have the values that a new server would get."""


def environment(found: dict[str, Any]) -> dict[str, str]:
    """Return the variables with which a container was created."""
    return dict(line.partition("=")[::2] for line in found["Config"]["Env"])


def grants(found: dict[str, Any]) -> list[str]:
    """Return the shared folders of a container, as the hub keeps them with a server."""
    modes = {True: "rw", False: "ro"}
    return sorted(
        f"{mount['Destination'].removeprefix(f'{PLACE}/')}:{modes[mount['RW']]}"
        for mount in found.get("Mounts", ())
        if mount["Destination"].startswith(f"{PLACE}/")
    )


def unfit(spawner: Spawner, found: dict[str, Any]) -> str:
    """Return why a container cannot be its user's server; empty if only its token is unknown.

    Only the guard makes such containers, and nobody changes their variables: the token is the one
    that this hub, or the one with the lost database, has given to this user's server.
    """
    state, variables = found["State"], environment(found)
    wanted = {name: spawner.get_env().get(name) for name in WHO_AND_WHERE}
    # Not in its environment as long as JupyterHub knows no server.
    wanted["JUPYTERHUB_SERVICE_PREFIX"] = url_path_join(spawner.user.base_url, "/")
    differs = [name for name in wanted if variables.get(name) != wanted[name]]
    groups, profile = spawner.groups or (), variables.get(PROFILE)
    used = named(spawner.profiles, profile)
    gone = revoked(spawner.shared_folders, groups, profile, grants(found))
    reasons = {
        f"its state is {state['Status']}": not state["Running"] or state["Paused"],
        "it is not in its network": (
            set(found["NetworkSettings"]["Networks"]) != {spawner.object_name}
        ),
        "it is another user's": found["Config"]["Labels"].get(USER) != spawner.user.name,
        "it has no token": not variables.get(TOKEN),
        f"it was started with another {', '.join(differs)}": differs,
        "all servers were to be stopped by now, as planned": plan.due(),
        # Both as in login/recheck.py, and by the profile that the server has: one from before the
        # stack had profiles, or others, is left alone.
        "its user may not have its profile": bool(used and not used.open_to(groups)),
        f"its user may not have the shared folder {', '.join(gone)}": gone,
    }
    return next((reason for reason, true in reasons.items() if true), "")
