"""Debian's archives as of one moment, where images/build/debian-archives.txt names them.

They are part of the commit, so that the same commit gives the same versions. They are addresses and
not a date alone, since no such archive is within everybody's reach; where none is named, what is
built has the versions of the day.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import urlopen

from toolchain.console import Problem
from toolchain.pins import BASE_CODENAME
from toolchain.places import ROOT

FILE = Path("images/build/debian-archives.txt")

#: A moment in UTC, as Debian's own dated archive has it in its addresses. There, any moment of the
#: past will do: it stands for the last state before it.
MOMENT = re.compile(r"(?<=/)\d{8}T\d{6}Z(?=/|$)")

#: By http: what comes is signed, and a bare Debian has no certificates to check https with.
ADDRESS = re.compile(rf"http://\S+{MOMENT.pattern}\S*")

#: Seconds an archive has to answer in.
TIMEOUT = 60


def moment(address: str) -> str:
    """The moment that an archive's address names; empty where it names none."""
    found = MOMENT.search(address)
    return found[0] if found else ""


def last_midnight() -> str:
    """The newest moment to ask for: what came later may not be in every archive yet."""
    return f"{datetime.now(UTC):%Y%m%d}T000000Z"


def archives(root: Path = ROOT) -> list[str]:
    """The main and the security archive of one moment; empty where none are named.

    Args:
        root: of the clone that names them.

    Raises:
        Problem: it names something else.
    """
    lines = [line.strip() for line in (root / FILE).read_text().splitlines()]
    addresses = [line for line in lines if line and not line.startswith("#")]
    now = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    wrong = [f"{address} is none" for address in addresses if not ADDRESS.fullmatch(address)]
    wrong += [f"{address} is yet to come" for address in addresses if moment(address) > now]
    if len(addresses) not in (0, 2):
        wrong.append(f"it has {len(addresses)}")
    elif len({moment(address) for address in addresses}) > 1:
        wrong.append("their moments differ")
    if wrong:
        raise Problem(
            f"{FILE} takes two addresses, of the main and of the security archive as of the same "
            "past moment, such as http://archive.example/debian/20261125T000000Z, or none; but "
            f"{', '.join(wrong)}. Mend the lines, or go back to those of the commit: git checkout "
            f"{FILE}"
        )
    return addresses


def move(root: Path = ROOT) -> str:
    """Move the archives on to the last midnight if they go that far, and return what became of it.

    Args:
        root: of the clone that names them.

    Raises:
        Problem: what it names are no archives of one moment.
    """
    new = last_midnight()
    file = root / FILE
    named = archives(root)
    if not named:
        return f"no pins for Debian: {FILE} names no archives"
    old = moment(named[0])
    if new <= old:
        return f"Debian as of {old}, as before"
    text = file.read_text()
    for address, suite in zip(named, (BASE_CODENAME, f"{BASE_CODENAME}-security"), strict=True):
        moved = MOMENT.sub(new, address)
        release = f"{moved.rstrip('/')}/dists/{suite}/InRelease"
        try:
            urlopen(release, timeout=TIMEOUT).close()
        except OSError as error:
            return f"Debian as of {old}, as before: {release} cannot be had ({error})"
        text = text.replace(address, moved)
    file.write_text(text)
    return f"Debian as of {old} -> {new}"
