"""Starts a separate container for each user, in a separate network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Any

from jupyterhub.utils import maybe_future
from traitlets import Dict, Instance, Int, List, Unicode, default

from zhub import audit
from zhub.contract import NO_NETWORK, PROFILE, ROLE, STACK, USER, Role
from zhub.front import origin
from zhub.servers import home_limit, leftovers
from zhub.servers.calls import answered, undecided
from zhub.servers.container import ContainerSpawner
from zhub.servers.last_words import EndedError
from zhub.servers.listening import ended
from zhub.servers.measures import Measure, Stage
from zhub.servers.networks import UserNetworks
from zhub.servers.patience import Patience
from zhub.servers.progress import SLOWLY, Progress
from zhub.servers.turns import Turn, Turns
from zhub.servers.unavailable import NoServerError, saying_why
from zhub.settings.folders import SharedFolder, granted
from zhub.settings.profiles import named
from zhub.state import plan

TURNS = Turns()


class UserSpawner(ContainerSpawner):
    """DockerSpawner whose containers share no network and leave nothing behind but the home."""

    network_options = Dict(config=True, help="Arguments of UserNetworks, except for the client.")

    stack = Unicode(config=True, help="Value of the label zhub.stack on all objects created.")

    shared_folders = List(Instance(SharedFolder), config=True, help="Those of all users.")

    home_limit = Int(config=True, help="Bytes that a home should not have more than; 0 for none.")

    folders = List(Instance(SharedFolder), help="Those that the next server gets.")

    grants = List(Unicode(), help="The folders that the server has, as the recheck reads them.")

    steps = Instance(Progress, (), help="How far the start is.")

    measure = Instance(Measure, (), help="Counts and times the start.")

    last_words = List(Unicode(), help="Last lines of the log of a server that ended in its start.")

    step_timeout = Int(300, config=True, help="Seconds that each step of a start may take.")

    _turn: Turn | None = None
    """The turn that a start has taken."""

    _patience = Instance(Patience)

    _in_doubt = False
    """Whether the last start had no answer of the engine, which may have made a container."""

    _removed = False
    """Whether the last start has removed its container again, as the engine says."""

    def labels(self, role: str) -> dict[str, str]:
        """Return the labels of a user's container, network or volume."""
        return {STACK: self.stack, ROLE: role, USER: self.user.name}

    @default("extra_create_kwargs")
    def _labelled(self) -> dict[str, dict[str, str]]:
        return {"labels": self.labels(Role.SERVER)}

    @default("_patience")
    def _own_patience(self) -> Patience:
        return Patience(self.step_timeout)

    @property
    def networks(self) -> UserNetworks:
        """The networks of all users of this hub."""
        return UserNetworks(self.client, **self.network_options)

    @property
    def volume_binds(self) -> dict[str, dict[str, str]]:
        """What is mounted in the server: the home, and folders that others have as well."""
        return self._homes | {
            folder.volume(self.stack): {"bind": folder.target, "mode": folder.mode}
            for folder in self.folders
        }

    @property
    def _homes(self) -> dict[str, dict[str, str]]:
        homes: dict[str, dict[str, str]] = super().volume_binds
        return homes

    def _may_have(self) -> list[SharedFolder]:
        """Return the folders that the user's groups, and the chosen profile, allow now."""
        if not self.shared_folders:
            return []
        return list(granted(self.shared_folders, self.groups or (), self.chosen))

    async def may_be_judged(self) -> bool:
        """Return whether the hub knows what the user may have; the directory is asked for it."""
        if not any(each.groups for each in (*self.profiles, *self.shared_folders)):
            return True
        await self.authenticator.refresh_user(self.user)
        return self.groups is not None

    def get_state(self) -> dict[str, Any]:
        """Keep which folders a server has: the recheck compares them with its user's groups."""
        state: dict[str, Any] = super().get_state()
        return state | {"folders": list(self.grants)} if self.grants else state

    def clear_state(self) -> None:
        """Forget the server."""
        super().clear_state()
        self.grants = []

    def load_state(self, state: dict[str, Any]) -> None:
        """Keep a running server at the address it was started with: it answers at no other."""
        super().load_state(state)
        self.grants = state.get("folders", [])
        if self.server:
            # With a host name before the path, where users have names of their own.
            host = self.user.proxy_spec.removesuffix(self.user.base_url)
            self.proxy_spec: str = f"{host}{self.server.base_url}"

    async def run_pre_spawn_hook(self) -> None:
        """Wait for a turn; JupyterHub counts the start's seconds only afterwards."""
        self.measure.reached(Stage.TURN)
        self._turn = await TURNS.take()
        await maybe_future(super().run_pre_spawn_hook())

    @saying_why
    async def start(self) -> tuple[str, int]:
        """Start the server in its network; return its address and port.

        A server of this user that runs already is kept, if nothing but its record is missing.
        """
        if not self.adopting and (reason := plan.closed()):
            raise NoServerError(reason)
        self._asked = None
        self._in_doubt = True
        self._removed = False
        self._reached(Stage.FILES)
        try:
            async with self._patience.limited(lambda: self.steps.now):
                with self.measure.counted():
                    left = await self.get_object()
                    if left and not leftovers.unfit(self, left):
                        address = await self._adopt(left)
                    else:
                        address = await self._start_new(left)
        except BaseException as error:
            self._in_doubt = undecided(error) and not self._removed
            raise
        finally:
            self._end_turn()
            self._audit()
        self._in_doubt = False
        return address

    def _reached(self, stage: Stage) -> None:
        """Note that the start goes on."""
        self.measure.reached(stage)
        self._patience.goes_on()
        if self._turn:
            self._turn.goes_on()

    def _end_turn(self) -> None:
        if self._turn:
            self._turn.end()

    def _audit(self) -> None:
        """Report the start with its outcome, and who asked for it: nobody if the hub itself did."""
        actor = audit.actor(self.handler)
        address = origin.address(self.handler) if self.handler else ""
        audit.report(
            "server.start",
            of=audit.cause(actor, origin.network(address)),
            user=self.user.name,
            actor=actor,
            address=address,
            outcome=self.measure.outcome,
        )

    async def _start_new(self, left: dict[str, Any] | None) -> tuple[str, int]:
        if self.adopting:
            # Nobody has asked for a new one.
            raise EndedError(self.user.name, "it was not taken over in time", [])
        if left:
            await self.remove_object()
        self.folders = self._may_have()
        self.grants = [folder.grant for folder in self.folders]
        await self.steps.reached(10, "Looking for your files")
        full: list[str] = []
        for volume in self._homes:
            # The engine makes missing volumes itself, but without a label to find them by.
            await self.docker("create_volume", volume, labels=self.labels(Role.HOME))
            if self.home_limit:
                ask = home_limit.ask
                full += await self._calls.make(ask, self.client, volume, self.home_limit)
        self.network_name = NO_NETWORK
        self._reached(Stage.CONTAINER)
        self._gone = True
        await self.steps.reached(20, "Making a container for your server")
        address: tuple[str, int] = await super().start()
        self._reached(Stage.SERVER)
        # The last step's words stay longest.
        await self.steps.reached(SLOWLY, ". ".join(["Waiting until JupyterLab has loaded", *full]))
        await self._accepts_connections(*address)
        return address

    async def _adopt(self, left: dict[str, Any]) -> tuple[str, int]:
        """Take over a running server; JupyterHub learns the token that it has."""
        await self._calls.make(self.networks.open, self.object_name, self.labels(Role.NETWORK))
        self.network_name = self.object_name
        variables = leftovers.environment(left)
        self.api_token = variables[leftovers.TOKEN]
        self.grants = leftovers.grants(left)
        if running := named(self.profiles, variables.get(PROFILE)):
            self.use(running)
        self.log.warning("keeping %s, which runs without a record", self.object_name)
        return self.get_network_ip(left["NetworkSettings"]), self.port

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Yield what the page shows while the server starts."""
        async for event in self.steps.events():
            yield event

    async def start_object(self) -> None:
        """Start the container without a network, then give it its own, with the hub in it.

        Attaching takes the engine a third of a second, and longer with the guard. The server loads
        meanwhile, and then waits for the hub.
        """
        own = self.object_name, self.labels(Role.NETWORK), self.object_id
        opening = await self._calls.make(self.networks.start, *own)
        self._reached(Stage.NETWORK)
        await self.steps.reached(50, "Connecting it to its network")
        try:
            await self._calls.make(self.networks.join, *own, opening)
        except BaseException:
            # Removed, not stopped: a server that has hardly begun ignores SIGTERM for ten seconds.
            await self.remove_object()
            self._removed = True
            raise
        self.network_name = self.object_name

    async def _accepts_connections(self, host: str, port: int) -> None:
        """Wait until the server listens, or has ended.

        JupyterHub waits as well, but polls with pauses of up to five seconds, and keeps waiting for
        a server that has ended.

        Raises:
            EndedError: when the server has ended.
        """
        if (status := await ended(host, port, self.poll)) is not None:
            raise EndedError(self.user.name, status, self.last_words)

    async def stop(self, now: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - as called
        """Stop the server; returns when the engine says that it is gone.

        What a start leaves that had no answer is removed later: who asked for it is not kept
        waiting for the engine.
        """
        if self._in_doubt:
            return
        self.log.info("Stopping %s", self.object_name)
        await self.stop_object()
        await self._remove()
        self.object_id = ""
        self.clear_state()

    async def run_post_stop_hook(self) -> None:
        """Remove what is left of the server, also of one that ended by itself or never started.

        The network of a container that the engine still has stays.
        """
        self._end_turn()
        if self._in_doubt:
            return
        await self.leave_nothing()

    async def leave_nothing(self) -> None:
        """Remove container and network, in this order; returns when the engine says so."""
        await self._remove()
        close = partial(self._calls.make, self.networks.close, self.object_name)
        await answered(close, f"removing network {self.object_name}")


def as_written(texts: Mapping[str, str]) -> dict[str, str]:
    """Return texts that DockerSpawner, which takes all in extra_host_config for templates, keeps.

    A log option may be a template itself, of the engine's: {{.Name}}.
    """
    return {name: text.replace("{", "{{").replace("}", "}}") for name, text in texts.items()}
