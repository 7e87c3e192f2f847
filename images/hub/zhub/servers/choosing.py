"""The part of the spawner by which a user's server gets its profile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from http import HTTPStatus
from typing import Any

from dockerspawner import DockerSpawner
from tornado import web
from traitlets import Instance, List, default

from zhub.contract import HOME_LIMIT
from zhub.servers import profiles
from zhub.settings.profiles import Profile, named

OF_ALL = ("ZHUB_KERNEL_IDLE_TIMEOUT", "JUPYTERHUB_ACTIVITY_INTERVAL", HOME_LIMIT)
"""Variables of a server that are the same in all profiles."""


def apply_options(spawner: ChoosingSpawner, options: dict[str, Any]) -> None:
    """Apply the options of a request for a server, which can only be a profile.

    JupyterHub stores options for later starts before it checks them. So this deletes what is wrong:
    otherwise one bad request, or one bad link, would make all later starts fail. A request without
    options gets those of the last start; where the stack or the user has lost that profile since,
    the server starts without.

    Raises:
        tornado.web.HTTPError: 400, when there are other options; 403, when the user may not have
            that profile; 503, when nobody knows, as the directory does not answer.
    """
    if spawner.adopting:
        return
    try:
        spawner.take(options)
    except web.HTTPError as error:
        again = spawner.as_last_time
        if again and error.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            raise
        spawner.remember(None)
        if not again:
            raise
        spawner.log.warning(
            "starting %s without what was chosen last: %s", spawner.user.name, error
        )
        spawner.user_options = {}
        spawner.take({})


class ChoosingSpawner(DockerSpawner):  # type: ignore[misc] # untyped
    """DockerSpawner whose servers differ by profiles, or not at all where there are none."""

    profiles = List(Instance(Profile), config=True, help="Kinds of servers; none if all are alike.")

    adopting = False
    """Whether the start is one of the hub itself, which takes over a server that runs and has all
    that was chosen for it."""

    @default("apply_user_options")
    def _profile_only(self) -> Callable[[ChoosingSpawner, dict[str, Any]], None]:
        return apply_options

    @default("options_form")
    def _choice(self) -> Callable[[ChoosingSpawner], Awaitable[str]] | str:
        return ChoosingSpawner.choose if self.profiles else ""

    @default("options_from_form")
    def _of_form(self) -> Callable[[dict[str, list[Any]]], dict[str, Any]]:
        return self.asked

    @property
    def groups(self) -> Collection[str] | None:
        """DNs of the user's groups, as the directory had them when it last answered, if ever."""
        groups: Collection[str] | None = self.authenticator.groups_of(self.user.name)
        return groups

    @property
    def chosen(self) -> str | None:
        """The name of the profile that the next server gets; None in a stack without profiles."""
        options: dict[str, Any] = self.user_options or {}
        return options.get(profiles.OPTION) if self.profiles else None

    async def choose(self) -> str:
        """Return the page's part to choose a profile; empty where there is nothing to choose.

        A choice of which nothing came, as its group has been left, is forgotten: the user would
        otherwise have to start the server twice.
        """
        if self.groups is None:
            # An administrator's page: users' own pages look them up first.
            await self.authenticator.refresh_user(self.user)
        groups = self.groups
        allowed = profiles.may_choose(self.profiles, groups or ())
        last = (self.orm_spawner.user_options or {}).get(profiles.OPTION)
        # Of a directory that is slow, the start itself may have the answer.
        if last is not None and groups is not None and not named(allowed, last):
            self.remember(None)
        return profiles.form(allowed, last)

    def asked(self, data: dict[str, list[Any]]) -> dict[str, Any]:
        """Return the options of a form or a link; raises as `apply_options` does.

        What the user may not have is said on the page itself, before anything is started; where
        nobody knows yet, by the start.
        """
        options = profiles.from_form(data)
        if self.profiles and self.groups is not None:
            profiles.chosen(self.profiles, self.groups, options)
        return options

    @property
    def as_last_time(self) -> bool:
        """Whether the request for the server names no options, so that the last ones count."""
        if self.handler is None:
            return True
        if ask := getattr(self.handler, "get_server_json_body", None):
            # As JupyterHub's API itself finds them.
            return ask()["user_options"] is None
        # A page: what is chosen there is sent with POST. What a link chooses is checked before.
        return str(self.handler.request.method) == "GET"

    def take(self, options: dict[str, Any]) -> None:
        """Give the next server what the options say; raises as `apply_options` does."""
        if self.profiles:
            self.use(profiles.chosen(self.profiles, self.groups, options))
        else:
            profiles.refuse(options)

    def remember(self, options: dict[str, Any] | None) -> None:
        """Keep the options for later starts."""
        self.orm_spawner.user_options = options
        self.user.db.commit()

    def use(self, profile: Profile) -> None:
        """Give the next server what its profile says, and remember the profile."""
        self.image = profile.image
        self.mem_limit = profile.memory
        self.cpu_limit = profile.cpus
        # Of another profile, this spawner may have started a server before.
        host: dict[str, Any] = self.extra_host_config
        self.extra_host_config: dict[str, Any] = {**host, **profiles.properties(profile)}
        before: dict[str, str] = self.environment
        of_all = {name: before[name] for name in OF_ALL if name in before}
        self.environment: dict[str, str] = {**of_all, **profiles.variables(profile)}
        self.user_options = {profiles.OPTION: profile.name}
        self.remember(self.user_options)
