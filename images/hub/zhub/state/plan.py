"""What is planned for all servers: they are stopped at a time, or those of an old image restarted.

In a file on the volume, which a restarted hub finds again. `zhub users` writes it, the service
`people` carries it out, and pages and starts go by it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from zhub import files
from zhub.settings import STATE

FILE = STATE / "plan.json"

log = logging.getLogger("zhub.plan")


class Action(StrEnum):
    """What happens at the time."""

    STOP = "stop"
    """All servers are stopped. No server starts from the moment the plan is made until the plan is
    removed."""
    RENEW = "renew"
    """Servers of another image than new servers get are restarted."""


@dataclass(frozen=True)
class Plan:
    """A plan."""

    action: Action
    at: float
    """When, in seconds since 1970."""
    notice: str = ""
    """What the site says of it on the hub's pages; empty for no more than the time."""
    done: bool = False
    """Whether all servers have been stopped."""

    def when(self) -> str:
        """Return the time as people read it."""
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(self.at))


def read(file: Path = FILE) -> Plan | None:
    """Return the plan; None if there is none, or it cannot be read, which is logged."""
    try:
        found = json.loads(file.read_text())
        return Plan(**{**found, "action": Action(found["action"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.warning("%s is not carried out: %s", file, error)
        return None


def write(plan: Plan | None, file: Path = FILE) -> None:
    """Replace the plan; None for none."""
    change(lambda _: plan, file)


def change(decide: Callable[[Plan | None], Plan | None], file: Path = FILE) -> Plan | None:
    """Replace the plan by what is decided about it, and return the one before.

    Nobody changes it in between: operators make and remove plans while the service `people` notes
    that one is carried out.

    Args:
        decide: gets the plan, and returns the one that there is from now on; None for none, both.
            Where it raises an error, the plan stays.
        file: with the plan.
    """
    with files.alone(file):
        before = read(file)
        now = decide(before)
        if now is None:
            file.unlink(missing_ok=True)
        elif now != before:
            files.write(file, json.dumps(asdict(now)), 0o644)
    return before


def closed(file: Path = FILE) -> str:
    """Return why no server can be started now; empty if they can."""
    plan = read(file)
    if plan is None or plan.action is not Action.STOP:
        return ""
    return " ".join(filter(None, ("Servers cannot be started at the moment.", plan.notice)))


def due(file: Path = FILE) -> bool:
    """Return whether the time has come at which all servers are stopped."""
    plan = read(file)
    return plan is not None and plan.action is Action.STOP and time.time() >= plan.at


def notice(_: object = None, file: Path = FILE) -> str:
    """Return what the hub's pages say of the plan; empty for nothing.

    Takes the user whom JupyterHub shows a page to, which does not matter.
    """
    plan = read(file)
    if plan is None:
        return ""
    if plan.action is Action.RENEW:
        said = (
            f"Servers with older software are restarted at {plan.when()}: save your work before."
            " To do it yourself, stop your server and start it again."
        )
    elif plan.done:
        said = "Servers cannot be started at the moment."
    else:
        said = (
            f"All servers are stopped at {plan.when()}: save your work before. A server that you"
            " stop cannot be started again until then."
        )
    return "\n".join(filter(None, (plan.notice, said)))
