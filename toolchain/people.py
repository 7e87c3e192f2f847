"""The users of a stack, as its hub and its engine know them; for `make users`."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from toolchain import stack
from toolchain.backup.engine import Engine
from toolchain.console import Problem

_ID = re.compile(r"[0-9a-f]{12,64}")


@dataclass(frozen=True)
class Wish:
    """What the command line asks for; texts are empty where it does not say."""

    user: str
    at: str
    notice: str
    to: str
    text: str = ""
    until: str = ""

    def given(self) -> dict[str, str]:
        """What the command line says, by the names of its variables."""
        return {name.upper(): text for name, text in asdict(self).items() if text}


#: What each wish looks at, besides the stack.
TAKES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("list", "open", "orphans"), ()),
    **dict.fromkeys(("stop", "forget", "accept"), ("USER",)),
    **dict.fromkeys(("drain", "renew"), ("AT", "NOTICE")),
    "message": ("USER", "TEXT", "UNTIL"),
    "export": ("USER", "TO"),
}


def refuse_others(do: str, wish: Wish) -> None:
    """Refuse what would not be looked at: who drains one USER would drain all, and at once.

    Raises:
        Problem: there is some.
    """
    takes = TAKES[do]
    for name, text in wish.given().items():
        if name not in takes:
            what = f"only {', '.join(takes)}" if takes else "nothing more"
            raise Problem(f"{name}={text}: DO={do} takes {what}. Nothing was done")


@dataclass(frozen=True)
class People:
    """The users of a stack."""

    name: str
    """Of the stack."""
    engine: Engine

    def hub(self, *arguments: str, given: Any = None) -> Any:
        """Ask `zhub users` in the hub's container.

        Args:
            arguments: its own.
            given: what it reads, in JSON; None for nothing.

        Raises:
            Problem: it says what is wrong.
        """
        hub = self._hub()
        open_input = ("--interactive",) if given is not None else ()
        done = subprocess.run(
            [*self.engine.docker, "exec", *open_input, hub, "zhub", "users", *arguments],
            input=json.dumps(given) if given is not None else "",
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = done.stderr.strip().removeprefix("[zhub] CRITICAL: ")
            # A command whose container ends says nothing.
            ended = (
                f"the hub has ended meanwhile (code {done.returncode}), as where it is restarted:"
                f" make users{stack.named(self.name)} shows what was done, once it is back"
            )
            raise Problem("\n".join(filter(None, [said or ended, self._without_guard()])))
        try:
            return json.loads(done.stdout)
        except ValueError:
            # As where the connection to the engine was cut.
            command = shlex.join([*self.engine.docker, "exec", hub, "zhub", "users", *arguments])
            raise Problem(f"the hub's answer is not complete; this shows it: {command}") from None

    def _hub(self) -> str:
        own = self._labelled("hub")
        if running := self.engine.ask("container", "ls", "--quiet", *own).split():
            return running[0]
        if there := self._not_running("hub"):
            raise Problem(there)
        raise Problem(
            f"no hub of stack {self.name} is on its engine: make up{stack.named(self.name)}"
        )

    def _without_guard(self) -> str:
        """What to do about a guard that is away, without which the hub does little."""
        if there := self._not_running("guard"):
            return there
        listed = self.engine.find("container", "ls", "--all", "--quiet", *self._labelled("guard"))
        name = f"{self.engine.prefix}-guard"
        return "" if listed != "" else f"the engine has no container {name}: pulumi up --refresh"

    def _labelled(self, role: str) -> tuple[str, ...]:
        return tuple(
            f"--filter=label={label}"
            for label in (f"zhub.stack={self.engine.prefix}", f"zhub.role={role}")
        )

    def _not_running(self, role: str) -> str:
        """What to do about one of the stack's own containers; empty if it runs, or is not there."""
        shown = ("--format", "{{.Names}} is {{.State}}")
        there = self.engine.find("container", "ls", "--all", *shown, *self._labelled(role)) or ""
        name, _, state = there.partition(" is ")
        if state in {"", "running"}:
            return ""
        # An `up` would not notice.
        back = "unpause" if state == "paused" else "start"
        start = shlex.join([*self.engine.docker, back, name])
        return f"{there}. If it is not being restarted just now: {start}"

    def homes(self, user: str) -> list[str]:
        """Return the names of a user's homes: one, or none."""
        return [volume for volume, owner in self.engine.homes().items() if owner == user]

    def owners(self) -> list[str]:
        """Return whose homes there are."""
        return sorted(set(self.engine.homes().values()))

    def memory(self, servers: Mapping[str, str]) -> dict[str, str]:
        """Return how much memory servers use of how much, by their users.

        Args:
            servers: the ids of containers, by users. They are the hub's words: others than ids
                would be options of the command.
        """
        users = {one: user for user, one in servers.items() if _ID.fullmatch(one)}
        if not users:
            return {}
        if self.engine.on_swarm():
            used = {
                one.user: f"{_size(one.memory)} / {_size(one.limit)}" for one in self.engine.used()
            }
            return {user: used[user] for user in users.values() if user in used}
        shown = self.engine.find(
            *("stats", "--no-stream", "--no-trunc", "--format", "{{.ID}}\t{{.MemUsage}}"),
            *users,
        )
        found = dict(line.split("\t") for line in (shown or "").splitlines())
        return {users[one]: text for one, text in found.items() if one in users}


def _size(size: float) -> str:
    """Bytes, as `docker stats` writes them."""
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    for unit in units:
        if size < 1024 or unit == units[-1]:
            break
        size /= 1024
    return f"{size:.4g}{unit}"


def when(text: str | None) -> str:
    """A time of the hub's, as the operator's clock shows it."""
    if not text:
        return "never"
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M")


def seconds(text: str, name: str) -> float:
    """A time on the command line, in seconds since 1970; now, if it is empty.

    Args:
        text: the time.
        name: what it is called there.

    Raises:
        Problem: it is no time.
    """
    if not text:
        return time.time()
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except ValueError:
        raise Problem(
            f"{name}={text}: not a time of this machine's clock, such as {name}='2026-12-01 18:00'"
        ) from None
