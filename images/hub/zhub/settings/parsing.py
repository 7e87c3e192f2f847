"""Parsers of single values from the environment: each returns the value or raises ValueError."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

SIZE = r"[1-9][0-9]*[KMGT]?"
"""Bytes, with an optional unit, in powers of 1024."""

_SIZE = re.compile(SIZE)
_PREFIX = re.compile(r"[a-z0-9][a-z0-9.-]*")
_PATH = re.compile(r"(/[A-Za-z0-9][A-Za-z0-9._-]*)+")
_FOLDER = re.compile(r"(/[A-Za-z0-9._@+-]+)+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OWN = re.compile(r"JUPYTERHUB_|JPY_|ZHUB_|LD_")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")


class Value(Protocol):
    """Reads one variable, by its name after ZHUB_."""

    def __call__(self, name: str, default: str, parse: Callable[[str], T], expected: str) -> T: ...


def matching(pattern: re.Pattern[str]) -> Callable[[str], str]:
    """Return a parser of texts that match the whole pattern."""

    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(text)
        return text

    return parse


def size(text: str) -> str:
    """Parse a number of bytes."""
    return matching(_SIZE)(text)


def bytes_or_0(text: str) -> int:
    """Parse such a number; return it, and 0 for an empty text."""
    if not text:
        return 0
    digits = size(text).rstrip("KMGT")
    return int(digits) << 10 * (" KMGT".index(text.removeprefix(digits) or " "))


def prefix(text: str) -> str:
    """Parse the prefix of names.

    `site-user` is refused: its hub's container would have the same name as the server of user `hub`
    of stack `site`.
    """
    if not _PREFIX.fullmatch(text) or {"user", "home"} & set(text.split("-")[1:]):
        raise ValueError(text)
    return text


def number_or_0(low: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from `low` up, and of 0."""
    from_low = number(low, 1 << 31)
    return lambda text: 0 if text == "0" else from_low(text)


def base_path(text: str) -> str:
    """Parse the path before all addresses; return it with a slash at both ends, or only one."""
    path = text.removesuffix("/")
    if path and not _PATH.fullmatch(path):
        raise ValueError(text)
    return f"{path}/"


def folder(text: str) -> str:
    """Parse the path of a folder of the engine's machine; may be empty."""
    if text and (not _FOLDER.fullmatch(text) or {".", ".."} & set(text.split("/"))):
        raise ValueError(text)
    return text


def folders(text: str) -> tuple[str, ...]:
    """Parse a JSON list of such paths."""
    return tuple(map(folder, texts(text)))


def file(text: str) -> Path | None:
    """Parse the path of a file that is there; None for an empty one."""
    if text and not Path(text).is_file():
        raise ValueError(text)
    return Path(text) if text else None


def number(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of whole numbers from `low` to `high`."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise ValueError(text)
        return int(text)

    return parse


def domain(text: str) -> str:
    """Parse a host name of several labels; may be empty."""
    if text and not (_HOST.fullmatch(text) and "." in text and ":" not in text):
        raise ValueError(text)
    return text.lower()


def processors(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,2})?", text) or float(text) == 0:
        raise ValueError(text)
    return float(text)


def boolean(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError(text)
    return text == "true"


def texts(text: str) -> tuple[str, ...]:
    """Parse a JSON list of strings, none of them empty."""
    return strings(json.loads(text))


def strings(items: Any) -> tuple[str, ...]:
    """Parse what JSON has as a list of strings, none of them empty."""
    if not isinstance(items, list) or not all(isinstance(item, str) and item for item in items):
        raise ValueError(items)
    return tuple(items)


def elements(text: str) -> list[Any]:
    """Parse a JSON list."""
    items = json.loads(text)
    if not isinstance(items, list):
        raise ValueError(text)  # noqa: TRY004 - of the text, as all parsers
    return items


def variables(text: str) -> dict[str, str]:
    """Parse a JSON object of variables, without those by which the hub starts a server."""
    found = json.loads(text)
    if not isinstance(found, dict) or not all(
        _VARIABLE.fullmatch(name) and not _OWN.match(name) and isinstance(value, str)
        for name, value in found.items()
    ):
        raise ValueError(text)
    return found


def by_name(text: str) -> dict[str, str]:
    """Parse a JSON object of strings."""
    found = json.loads(text)
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError(text)
    return found


def options(text: str) -> dict[str, str]:
    """Parse a JSON object of a log driver's options, but for those that log variables."""
    found = by_name(text)
    if found.keys() & {"env", "env-regex"}:
        raise ValueError(text)
    return found


def templates(text: str) -> tuple[str, ...]:
    """Parse a JSON list of strings, each with one placeholder, `{username}`."""
    items = texts(text)
    for item in items:
        # Any other placeholder would raise an error when the user's name is filled in.
        if re.findall(r"\{[^}]*\}?|\}", item) != ["{username}"]:
            raise ValueError(text)
    return items


def hosts(text: str) -> tuple[str, ...]:
    """Parse host names and addresses, each with an optional port, separated by commas."""
    items = tuple(host.strip() for host in text.split(",")) if text else ()
    for host in items:
        name, colon, port = host.partition(":")
        if ":" in port:
            IPv6Address(host)
        elif not _HOST.fullmatch(name):
            raise ValueError(text)
        elif colon:
            number(1, 65535)(port)
    return items


def pool(text: str) -> IPv4Network:
    network = IPv4Network(text)
    if network.prefixlen > 24 or not network.is_private:
        raise ValueError(text)
    return network


def networks(text: str) -> tuple[IPv4Network, ...]:
    """Parse a JSON list of IPv4 networks."""
    return tuple(map(IPv4Network, texts(text)))


def any_networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Parse a JSON list of networks, without the one that contains all addresses."""
    found = tuple(map(ip_network, texts(text)))
    if not all(network.prefixlen for network in found):
        raise ValueError(text)
    return found
