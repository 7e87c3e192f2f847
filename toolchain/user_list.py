"""The list of `make users`: who has what on a stack, what is taken, planned and said."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from toolchain.backup.sizes import GIB
from toolchain.console import printable
from toolchain.people import People, Wish, when


def table(rows: list[list[str]]) -> str:
    """Return rows as lines of columns; the first row is the head."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)


def show(people: People, _: Wish) -> None:
    """Print all users, also those of whom there is only a home."""
    found = people.hub("list")
    users = found["users"]
    memory = people.memory({user["name"]: user["container"] for user in users if user["container"]})
    rows = [["USER", "SERVER", "IMAGE", "MEMORY", "LAST ACTIVE", "HOME", "GROUPS"]]
    owners = people.owners()
    limit, sizes = found["home_limit"], found["homes"]

    def home(name: str) -> str:
        if name not in owners:
            return "-"
        return _share(sizes[name], limit) if name in sizes else "yes"

    for user in users:
        server = "runs" if user["server"] else "not in the hub" if user["container"] else "-"
        rows.append(
            [
                f"{user['name']}{' (admin)' if user['admin'] else ''}",
                server,
                {None: "-", True: "old", False: "new"}[user["old"]],
                memory.get(user["name"], "-"),
                when(user["active"]),
                home(user["name"]),
                ", ".join(user["groups"]) or "-",
            ]
        )
    known = {user["name"] for user in users}
    rows += [[name, "-", "-", "-", "-", home(name), "-"] for name in owners if name not in known]
    print(table(rows))
    print(f"\n{_totals(found, people.engine.users_memory())}")
    if plan := found["plan"]:
        print(f"\nPlanned: {described(plan)}.")
    # A hub that the release before has brought up knows no messages.
    for message in found.get("messages", []):
        end = f" until {_shown(message['until'])}" if message["until"] else ""
        whom = message["user"] or "everybody"
        print("\n" + printable(f"Message to {whom}{end}: {message['text']}"))


def _totals(found: dict[str, Any], limit: int) -> str:
    """How many servers there are, and what they may take together, of how much.

    Args:
        found: the hub's list; one of the release before does not say how many there may be.
        limit: bytes of memory that they may take; 0 for any number.
    """
    taken = [int(user["memory"] or 0) for user in found["users"] if user["container"]]
    most = f" of {int(found['most_servers'])}" if "most_servers" in found else ""
    memory = f"{sum(taken) / GIB:.1f}" + (f" of {limit / GIB:.1f}" if limit else "")
    return f"{len(taken)}{most} servers, which may take {memory} GiB of memory together."


def _share(size: int, limit: int) -> str:
    """What a home takes of its limit, as counted last; marked where that is all of it."""
    return f"{size / GIB:.1f} of {limit / GIB:.1f} GiB" + (" FULL" if size >= limit else "")


def _shown(at: float) -> str:
    """Seconds since 1970, as the operator's clock shows them."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M")


def described(plan: dict[str, Any]) -> str:
    """Return what is planned, as the hub tells it."""
    at = _shown(plan["at"])
    if plan["action"] == "renew":
        return f"servers of an old image are restarted at {at}"
    done = "all servers were stopped" if plan["done"] else f"all servers are stopped at {at}"
    return f"{done}; none can be started until DO=open"
