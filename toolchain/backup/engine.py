"""A stack's engine, as the `docker` command reaches it: its volumes, servers and guard."""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from toolchain.backup import labels
from toolchain.console import Problem, output

#: Seconds that an `up` may take to replace a container, and between two looks.
REPLACED_SECONDS = 60
PAUSE = 1.0

#: States of a task that does not run any more (swarmkit's design/task_model.md).
ENDED = {"complete", "shutdown", "failed", "rejected", "remove", "orphaned"}

#: The engine's own volume driver, and what stands for a home's name in options of a driver.
LOCAL = "local"
HOME = "{home}"


@dataclass(frozen=True)
class Use:
    """What a user's server uses, in bytes."""

    user: str
    memory: int
    limit: int
    """Memory that it may use."""
    written: int | None
    """Outside its volumes; None if that is not known."""


@dataclass(frozen=True)
class Engine:
    """A stack's engine, as the `docker` command reaches it."""

    docker: tuple[str, ...]
    """The command, with the options for this engine."""
    prefix: str
    """Of the stack's names."""

    def ask(self, *arguments: str) -> str:
        """What a `docker` command prints.

        Raises:
            Problem: it fails.
        """
        done = subprocess.run(
            [*self.docker, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Problem(f"`docker {' '.join(arguments)}` failed: {done.stderr.strip()}")
        return done.stdout.strip()

    def find(self, *arguments: str) -> str | None:
        """Like `ask`, for something that may not be there; None then."""
        return output([*self.docker, *arguments])

    def image(self) -> str:
        """The image of the stack's hub.

        Raises:
            Problem: the stack is not up.
        """
        self.ask("version", "--format", "{{.Server.Version}}")
        hub = f"{self.prefix}-hub"
        found = self._of_own(hub, "{{.Image}}")
        if found is None:
            raise Problem(
                f"the engine has no container {hub}. If you mean another stack, name it:"
                " STACK=NAME. If this stack is not up: make up STACK=NAME"
            )
        return found

    def _of_own(self, name: str, shown: str) -> str | None:
        """What `docker` shows of one of the stack's own containers; None if there is none.

        While the stack has others, an `up` may be replacing this one: it is waited for.
        """
        show = ("container", "inspect", "--format", shown, name)
        others = ("container", "ls", "--quiet", "--filter", f"label=zhub.stack={self.prefix}")
        end = time.monotonic() + REPLACED_SECONDS
        while (found := self.find(*show)) is None:
            if time.monotonic() > end or not self.ask(*others):
                return None
            time.sleep(PAUSE)
        return found

    def homes(self) -> dict[str, str]:
        """The users' volumes, and whose each is."""
        return labels.fitting(self._volumes("home", "zhub.user"), self.home_of)

    def _volumes(self, role: str, label: str) -> list[list[str]]:
        listed = self.ask(
            *("volume", "ls", "--format", labels.row(".Name", f'(.Label "{label}")')),
            *("--filter", f"label=zhub.stack={self.prefix}", "--filter", f"label=zhub.role={role}"),
        )
        return labels.rows(listed)

    def written(self) -> dict[str, int]:
        """The bytes that users' servers have written outside their volumes, by users."""
        if self.on_swarm():
            return {one.user: one.written for one in self.used() if one.written is not None}
        servers = self.servers()
        if not servers:
            return {}
        # One that ends meanwhile is left out, and the command then says that it failed.
        shown = labels.row('(index .Config.Labels "zhub.user")', ".SizeRw")
        listed = self.find("container", "inspect", "--size", "--format", shown, *servers) or ""
        return {user: int(size) for user, size in labels.rows(listed)}

    def used(self) -> list[Use]:
        """What users' servers on a swarm use; of none that its guard, or a machine, does not tell.

        Only the engines of the servers' machines know it (images/hub/zhub/guard/reports.py).
        """
        guard = f"{self.prefix}-guard"
        listed = self.find("exec", guard, "zhub", "use") or ""
        return [Use(*found) for found in labels.rows(listed)]

    def home_of(self, user: str) -> str:
        """The name of a user's volume, also when there is none."""
        return labels.home_of(self.prefix, user)

    def shared(self) -> dict[str, str]:
        """The volumes that several users share, by the folder's name."""
        found = labels.fitting(self._volumes("shared", "zhub.folder"), self._shared_of)
        return {folder: volume for volume, folder in found.items()}

    def _shared_of(self, folder: str) -> str:
        return f"{self.prefix}-shared_{folder}"

    def shared_paths(self) -> list[str]:
        """The shared folders at paths of the engine's machine, as the stack's guard has them."""
        listed = json.loads(self._of_guard("ZHUB_SHARED_FOLDERS") or "[]")
        return [folder["path"] for folder in listed if folder.get("path")]

    def homes_path(self) -> str:
        """The site's folder for homes, as the stack's guard has it; empty for the engine's own."""
        return self._of_guard("ZHUB_HOMES_PATH")

    def homes_paths(self) -> list[str]:
        """All folders of the site's choice that may have homes, also left ones."""
        former = json.loads(self._of_guard("ZHUB_FORMER_HOMES_PATHS") or "[]")
        return [*filter(None, [self.homes_path()]), *former]

    def homes_driver(self) -> str:
        """The site's volume driver for homes, as the stack's guard has it; empty for folders."""
        return self._of_guard("ZHUB_HOMES_DRIVER")

    def _homes_options(self, volume: str) -> dict[str, str]:
        """The options of that driver for a home, or for what has all of them if it has no name.

        As in images/hub/zhub/guard/driven.py.
        """
        listed = json.loads(self._of_guard("ZHUB_HOMES_OPTIONS") or "[]")
        pairs = [text.partition("=")[::2] for text in listed]
        options = {name: text.replace(HOME, volume) for name, text in pairs if volume}
        return options or {
            name: text.removesuffix(f"/{HOME}") or "/" if name == "device" else text
            for name, text in pairs
        }

    @contextmanager
    def homes_around(self) -> Iterator[str]:
        """A volume that has the folders of all homes, with the driver `local`; empty otherwise."""
        if self.homes_driver() != LOCAL:
            yield ""
            return
        volume = f"{self.prefix}-homes-{secrets.token_hex(4)}"
        labels_ = {"zhub.stack": self.prefix, "zhub.role": "backup"}
        self._create(volume, LOCAL, self._homes_options(""), labels_)
        try:
            yield volume
        finally:
            self.find("volume", "rm", volume)

    def home_limit(self) -> int:
        """The bytes that a home should not have more than, by the guard; 0 for no limit."""
        return self._bytes_of_guard("ZHUB_HOME_LIMIT")

    def users_memory(self) -> int:
        """The bytes that all servers may take together, by the guard; 0 for no limit."""
        return self._bytes_of_guard("ZHUB_USERS_MEMORY")

    def _bytes_of_guard(self, name: str) -> int:
        """A size that the program has given to the guard, which it writes in MiB; 0 for none."""
        return int(self._of_guard(name).removesuffix("M") or 0) << 20

    def _of_guard(self, name: str) -> str:
        """A variable of the stack's guard; empty where it has none of the name."""
        guard = f"{self.prefix}-guard"
        variables = self._of_own(guard, "{{json .Config.Env}}")
        if variables is None:
            raise Problem(f"the engine has no container {guard}: pulumi up --refresh")
        found = dict(line.partition("=")[::2] for line in json.loads(variables))
        return str(found.get(name, ""))

    def device(self, volume: str, path: str) -> str:
        """Where a home that is made now has its files on the engine's machine.

        Args:
            volume: its name.
            path: the site's folder; empty for the engine's own.
        """
        if path:
            return f"{path}/{volume}"
        root = self.ask("info", "--format", "{{.DockerRootDir}}")
        return f"{root}/volumes/{volume}/_data"

    def make_home(
        self, volume: str, user: str, *, mounted: bool, path: str = "", driver: str = ""
    ) -> None:
        """Make a home as the guard does, which refuses others.

        Args:
            volume: its name.
            user: whose it is.
            mounted: have it mounted, so that pruning leaves it (images/hub/zhub/guard/homes.py).
            path: the site's folder, in which the home's is there; empty for the engine's own.
            driver: the site's, with the guard's options for it; empty for folders.
        """
        own = {"zhub.role": "home", "zhub.user": user}
        if driver:
            self._refuse_other(volume)
            options = self._homes_options(volume)
            self._create(volume, driver, options, {"zhub.stack": self.prefix, **own})
        else:
            self._make(volume, own, mounted=mounted, path=path)

    def make_shared(self, folder: str) -> str:
        """Make the volume of a shared folder as the guard does; returns its name."""
        volume = self._shared_of(folder)
        self._make(volume, {"zhub.role": "shared", "zhub.folder": folder}, mounted=True)
        return volume

    def _make(self, volume: str, own: dict[str, str], *, mounted: bool, path: str = "") -> None:
        self._refuse_other(volume)
        own = {"zhub.stack": self.prefix, **own}
        options: dict[str, str] = {}
        if mounted:
            options = {"type": "none", "o": "bind", "device": self.device(volume, path)}
        self._create(volume, LOCAL, options, own)

    def _refuse_other(self, volume: str) -> None:
        """Refuse to make a volume that is there.

        The engine makes none anew, and says nothing: whoever then fails would remove that one.
        """
        if self.find("volume", "inspect", "--format", "{{.Name}}", volume):
            raise Problem(
                f"there is a volume {volume} already, with other labels: see what is in it, and"
                f" whose it is (docker volume inspect {volume}), copy what is needed, and remove it"
            )

    def _create(
        self, volume: str, driver: str, options: Mapping[str, str], own: Mapping[str, str]
    ) -> None:
        self.ask(
            *("volume", "create", f"--driver={driver}"),
            *(f"--opt={key}={text}" for key, text in options.items()),
            *(f"--label={key}={text}" for key, text in own.items()),
            volume,
        )

    def on_swarm(self) -> bool:
        """Whether users' servers are services of a swarm, by the stack's guard."""
        return self._of_guard("ZHUB_SWARM") == "true"

    def servers(self, user: str = "") -> list[str]:
        """The users' servers that there are, on any machine; of one user, or of all."""
        wanted = {"zhub.stack": self.prefix, "zhub.role": "notebook"}
        if user:
            wanted["zhub.user"] = user
        filters = [f"--filter=label={key}={text}" for key, text in wanted.items()]
        if not self.on_swarm():
            return self.ask("container", "ls", "--all", "--format", "{{.Names}}", *filters).split()
        row = labels.row(".ID", ".Name")
        services = dict(labels.rows(self.ask("service", "ls", "--format", row, *filters)))
        return [*services.values(), *self._ending(filters, services)]

    def _ending(self, filters: Sequence[str], services: Collection[str]) -> list[str]:
        """The servers whose services are gone, and which have not ended yet.

        They have some seconds to do so, in which their processes write into homes. Those on
        machines that do not answer are left out: nobody knows how long they run.

        Args:
            filters: of the servers.
            services: the IDs of those that are there, perhaps abbreviated.
        """
        nodes = labels.rows(self.ask("node", "ls", "--format", labels.row(".ID", ".Status")))
        ready = [node for node, status in nodes if status == "Ready"]
        shown = ("--no-resolve", "--no-trunc", "--format", labels.row(".ID", ".Name"))
        listed = labels.rows(self.ask("node", "ps", *shown, *filters, *ready))
        left = [task for task, of in listed if not of.startswith(tuple(services))]
        user = labels.row('(index .Spec.ContainerSpec.Labels "zhub.user")', ".Status.State")
        # One that is gone meanwhile has ended.
        found = [self.find("inspect", "--type=task", "--format", user, task) for task in left]
        own = [one for text in filter(None, found) for one in labels.rows(text)]
        start = f"{self.prefix}-home-"
        return [
            f"{self.prefix}-user-{self.home_of(name).removeprefix(start)}"
            for name, state in own
            if state not in ENDED
        ]

    def remove_servers(self, names: Sequence[str]) -> None:
        """Remove users' servers that the hub does not stop."""
        command = ("service", "rm") if self.on_swarm() else ("rm", "--force")
        self.ask(*command, *names)
