"""Which profile a user's server gets: who may choose which, the page to choose, the last choice.

JupyterHub keeps a server's options in its database, for later starts and over restarts of the hub.
The only option there is here is the name of a profile.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape
from typing import Any

from tornado import web

from zhub.contract import PROFILE
from zhub.front import site
from zhub.settings.profiles import Profile, named

OPTION = "profile"
"""Name of the option, in forms, queries and requests of the API."""


class NoProfileError(web.HTTPError):
    """Shown by JupyterHub's pages and API when a user may not have a server, or not this one."""

    def __init__(self, message: str, status: int = 403) -> None:
        super().__init__(status, message)
        self.jupyterhub_message = message


def may_choose(profiles: Sequence[Profile], groups: Collection[str]) -> list[Profile]:
    """Return the profiles that a member of these groups may choose, in the stack's order."""
    return [profile for profile in profiles if profile.open_to(groups)]


def form(allowed: Sequence[Profile], last: str | None) -> str:
    """Return what the page to choose shows; empty where there is nothing to choose.

    Args:
        allowed: what the user may choose.
        last: the name of what the user has chosen before.
    """
    if len(allowed) < 2:
        return ""
    marked = named(allowed, last) or allowed[0]
    choices = "".join(
        f'<div class="form-check mb-3"><input class="form-check-input" type="radio" name="{OPTION}"'
        f' id="profile-{profile.name}" value="{profile.name}" required'
        f"{' checked' if profile is marked else ''}>"
        f'<label class="form-check-label" for="profile-{profile.name}"><strong>{profile.name}'
        f"</strong><br>{escape(profile.description)}<br><small>{_size(profile)}</small></label></div>"
        for profile in allowed
    )
    return f'<fieldset><legend class="h5">Which server?</legend>{choices}</fieldset>'


def _size(profile: Profile) -> str:
    memory = profile.memory
    if memory.endswith("M") and not int(memory[:-1]) % 1024:
        memory = f"{int(memory[:-1]) // 1024}G"
    return f"{memory}B of memory, {profile.cpus:g} processors"


def from_form(data: dict[str, list[Any]]) -> dict[str, Any]:
    """Return the options in what a form, or the query of a link, has sent."""
    return {
        name: values[0] if len(values) == 1 else values
        for name, values in data.items()
        # JupyterHub's own.
        if name != "_xsrf"
    }


def refuse(options: dict[str, Any]) -> None:
    """Refuse all options, where all servers are alike.

    Raises:
        tornado.web.HTTPError: 400, when there are options.
    """
    if options:
        raise web.HTTPError(400, "Servers of this hub have no options. Please try again without.")


def chosen(
    profiles: Sequence[Profile], groups: Collection[str] | None, options: dict[str, Any]
) -> Profile:
    """Return the profile that a server gets.

    Without a choice, which only a request of the API can be, it is the first that the user may
    have.

    Args:
        profiles: of the stack.
        groups: of the user; None when unknown, and then only what everybody may have is allowed.
        options: of the request.

    Raises:
        NoProfileError: the user may have none, or not the one that the options name.
        tornado.web.HTTPError: 400, for any other option.
    """
    name = options.get(OPTION)
    if set(options) - {OPTION} or not isinstance(name, str | None):
        raise web.HTTPError(400, f"Servers of this hub have no options but {OPTION}.")
    allowed = may_choose(profiles, groups or ())
    found = named(allowed, name) if name is not None else next(iter(allowed), None)
    if found:
        return found
    if groups is None and (name is None or named(profiles, name)):
        raise NoProfileError(
            "The directory does not answer, so the hub does not know which server you may have."
            " Please try again in a minute.",
            503,
        )
    if not allowed:
        raise NoProfileError(
            "You are in no group for which this hub has a server. Please tell your administrator:"
            " the setting profiles names the groups, and the directory has their members."
            + site.whom_to_ask("you should be in one")
        )
    raise NoProfileError(
        f"You may not have a server with the profile {str(name)[:40]!r}, or not any more."
        " Please try again without it, or choose another."
    )


def properties(profile: Profile) -> dict[str, Any]:
    """Return the part of DockerSpawner's extra_host_config that differs between profiles.

    What else a profile may bring, such as more volumes, belongs here and into the guard's policy.
    """
    return {
        "memswap_limit": profile.memory,
        "shm_size": profile.shared_memory,
        "pids_limit": profile.pids,
        "devices": [f"/dev/{device}:/dev/{device}:rw" for device in profile.devices],
    }


def variables(profile: Profile) -> dict[str, str]:
    """Return the variables of a server with the profile, by which the guard knows it."""
    return {**profile.environment, PROFILE: profile.name}
