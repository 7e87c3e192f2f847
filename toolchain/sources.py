"""Where a base image's packages come from: dated archives, or this machine's Debian mirrors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from toolchain import snapshot
from toolchain.pins import BASE_CODENAME

#: The folder of this machine's apt settings.
APT = Path("/etc/apt")


@dataclass(frozen=True)
class Source:
    """A place to get Debian from.

    Attributes:
        title: its name in messages.
        lines: as in sources.list; when empty, mmdebstrap uses Debian's own servers.
        warning: what is wrong with images made from it.
        archives: the addresses of the dated archives that the project names.
    """

    title: str
    lines: tuple[str, ...]
    warning: str = ""
    archives: str = ""


@dataclass(frozen=True)
class Mirrors:
    """The mirrors that this machine's apt uses; None where it names none."""

    main: str | None
    security: str | None


def _entries(file: Path) -> Iterator[tuple[str, str, str]]:
    """Address, suites and components of each entry in a file in either of apt's formats."""
    lines = file.read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    if file.suffix != ".sources":
        pattern = r"^\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)[ \t]*(.*)$"
        for entry in re.finditer(pattern, text, re.MULTILINE):
            yield entry[1], entry[2], entry[3]
        return
    for stanza in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.+)$", stanza, re.MULTILINE))
        if {"URIs", "Suites", "Components"} <= fields.keys():
            for address in fields["URIs"].split():
                yield address, fields["Suites"], fields["Components"]


def mirrors(apt: Path = APT) -> Mirrors:
    """The Debian and the security mirror that this machine's apt uses.

    Args:
        apt: the folder of apt's settings.
    """
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.*"))]
    main = security = None
    for file in files:
        if file.suffix not in (".list", ".sources") or not file.is_file():
            continue
        for address, suites, components in _entries(file):
            if "main" not in components.split():
                continue  # another project's repository
            if re.search(r"-security\b", suites):
                security = security or address.rstrip("/")
            elif address.rstrip("/").endswith("debian"):
                main = main or address.rstrip("/")
    return Mirrors(main, security)


def _with_security(deb: str, main: str, security: str) -> tuple[str, ...]:
    """The sources.list lines of the release, its updates and its security updates.

    Args:
        deb: how each line begins: `deb`, with options if there are any.
        main: address of the mirror.
        security: address of the security mirror.
    """
    release = BASE_CODENAME
    return (
        f"{deb} {main} {release} main",
        f"{deb} {main} {release}-updates main",
        f"{deb} {security} {release}-security main",
    )


def dated(main: str, security: str) -> Source:
    """The release as of one moment. There is no second source: it would give other versions.

    The files at such an address never change, so their Valid-Until expires and is not checked.
    Signatures and hashes are.
    """
    return Source(
        f"{BASE_CODENAME} as of {snapshot.moment(main)}",
        _with_security("deb [check-valid-until=no]", main, security),
        archives=f"{main} {security}",
    )


def sources(known: Mirrors) -> Iterator[Source]:
    """The sources of the current release, best first."""
    release = BASE_CODENAME
    if known.main is None:
        yield Source(f"Debian's own servers, {release} with its security updates", ())
        return
    main = f"deb {known.main} {release} main"
    later = "run `make base` on another day"
    if known.security:
        yield Source(
            f"{release} with its security updates",
            _with_security("deb", known.main, known.security),
        )
    yield Source(
        f"{release} alone",
        (main,),
        f"the images lack security updates, which the mirror does not have now; {later}",
    )
    yield Source(
        "the alias stable",
        (f"deb {known.main} stable main",),
        f"the mirror's {release} does not verify now, its alias `stable` does: the images may be a "
        f"point release behind and lack security updates; {later}",
    )
