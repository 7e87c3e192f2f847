"""Debian's archives as of one moment, named in images/build/debian-archives.txt.

The file is part of the commit, so that the same commit gives the same versions. It has addresses
and not only a date, since no dated archive can be reached by everybody. Without addresses, builds
use the current versions.
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

#: A moment in UTC, as in the addresses of Debian's own dated archive. That archive takes any past
#: moment, and serves the last state before it.
MOMENT = re.compile(r"(?<=/)\d{8}T\d{6}Z(?=/|$)")

#: http: the files are signed, and a minimal Debian has no certificates to check https with.
ADDRESS = re.compile(rf"http://\S+{MOMENT.pattern}\S*")

#: Seconds to wait for an archive.
TIMEOUT = 60


def moment(address: str) -> str:
    """The moment in an archive's address; empty if there is none."""
    found = MOMENT.search(address)
    return found[0] if found else ""


def last_midnight() -> str:
    """The newest moment to ask for; later states may not be in every archive yet."""
    return f"{datetime.now(UTC):%Y%m%d}T000000Z"


def archives(root: Path = ROOT) -> list[str]:
    """The addresses of the main and the security archive; empty if the file names none.

    Args:
        root: of the clone.

    Raises:
        Problem: the file has something else in it.
    """
    lines = [line.strip() for line in (root / FILE).read_text().splitlines()]
    addresses = [line for line in lines if line and not line.startswith("#")]
    now = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    wrong = [
        f"{address} is no such address" for address in addresses if not ADDRESS.fullmatch(address)
    ]
    wrong += [f"{address} is in the future" for address in addresses if moment(address) > now]
    if len(addresses) not in (0, 2):
        wrong.append(f"the number of addresses is {len(addresses)}")
    elif len({moment(address) for address in addresses}) > 1:
        wrong.append("their moments differ")
    if wrong:
        raise Problem(
            f"{FILE} is wrong: {', '.join(wrong)}. It takes no address, or two: the main "
            "and the security archive as of the same past moment, such as "
            "http://archive.example/debian/20261125T000000Z. Fix the lines, or restore the "
            f"commit's: git checkout {FILE}"
        )
    return addresses


def move(root: Path = ROOT) -> str:
    """Move the archives to the last midnight if both have it; returns a line for the operator.

    Args:
        root: of the clone.

    Raises:
        Problem: the file with the addresses is wrong.
    """
    new = last_midnight()
    file = root / FILE
    named = archives(root)
    if not named:
        return f"Debian is not pinned: {FILE} names no archives"
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
            return f"Debian as of {old}, as before: no {release} ({error})"
        text = text.replace(address, moved)
    file.write_text(text)
    return f"Debian as of {old} -> {new}"
