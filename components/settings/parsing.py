"""Parsers of single setting values: each takes the text and returns the value, or refuses it."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

#: Bytes of CA certificates a build argument can carry: it becomes one variable of the build's
#: environment, which Linux limits to 128 KiB (execve(2), MAX_ARG_STRLEN).
MAX_CA_BYTES = 120 * 1024

#: Characters of a value, or of an element, that a message shows.
SHOWN = 100

_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_PATH = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*"
_IMAGE = re.compile(
    rf"([A-Za-z0-9.-]+(:[0-9]+)?/)?{_PATH}(:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(@sha256:[0-9a-f]{{64}})?"
)
_REGISTRY = re.compile(rf"[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{{1,5}})?(/{_PATH})?")
# Attribute, "=", value without unescaped signs that have a meaning; that again after each plus and
# each comma (RFC 4514). Older directories take quotes around a whole value, too (RFC 1779).
_PART = r"""[A-Za-z][A-Za-z0-9.-]*=("[^"]*"|([^,+";\\]|\\.)+)"""
_RDN = rf"{_PART}(\+\s*{_PART})*"
_DN = re.compile(rf"\s*{_RDN}(,\s*{_RDN})*")
_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}|[0-9]+(\.[0-9]+)+")
# What the hub lets through; it lowers the letters.
_USER = re.compile(r"[A-Za-z0-9@#$][A-Za-z0-9@#$._-]{0,63}")
# Debian policy 5.6.7.
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_SIZE = re.compile(r"([1-9][0-9]{0,5})([MGT])")


class RefusedError(ValueError):
    """A value that cannot be used; the text completes "VALUE: …"."""

    def __init__(
        self,
        reason: str,
        *,
        item: int | None = None,
        superfluous: bool = False,
        secret: bool = False,
        fix: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.item = item
        """Which element of a list it is about."""
        self.superfluous = superfluous
        """Whether leaving the value out fixes it."""
        self.secret = secret
        """Whether the value must not be shown."""
        self.fix = fix
        """Command that fixes it, where that is not setting the value anew; or several lines."""


def whole_number(low: int, high: int, *, also: int | None = None) -> Callable[[str], int]:
    """Whole numbers from `low` to `high`, and the number `also`."""

    def parse(text: str) -> int:
        if re.fullmatch(r"[0-9]{1,10}", text) and (low <= int(text) <= high or int(text) == also):
            return int(text)
        besides = "" if also is None else f", or {also}"
        raise RefusedError(f"not a whole number from {low} to {high}{besides}")

    return parse


def boolean(text: str) -> bool:
    if text not in {"true", "false"}:
        raise RefusedError("neither true nor false")
    return text == "true"


def one_of(choices: type[E]) -> Callable[[str], E]:
    def parse(text: str) -> E:
        if text not in list(choices):
            raise RefusedError(f"not one of {', '.join(choices)}")
        return choices(text)

    return parse


def size(
    low: str, *, what: str = "memory", why: str = "too little to start in"
) -> Callable[[str], int]:
    """Amounts of memory, or of something else, from `low` up; returns MiB."""

    def mebibytes(text: str) -> int:
        match = _SIZE.fullmatch(text)
        if not match:
            raise RefusedError(f"not an amount of {what}, such as 512M or 2G")
        return int(match[1]) << 10 * "MGT".index(match[2])

    def parse(text: str) -> int:
        amount = mebibytes(text)
        if amount < mebibytes(low):
            raise RefusedError(f"{why}; {low} is the least")
        return amount

    return parse


def processors(text: str) -> str:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,2})?", text) or float(text) == 0:
        raise RefusedError("not a number of processors, such as 0.5 or 2")
    return text


def address(text: str) -> str:
    """IPv4 and IPv6 addresses, in their usual spelling."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise RefusedError("not an IPv4 or IPv6 address") from None


def is_address(text: str) -> bool:
    """Whether a host is given by its address rather than by a name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def host(text: str) -> str:
    """Host names (RFC 1123) and addresses, in lower case."""
    if is_address(text):
        return address(text)
    labels = text.split(".")
    # A name that ends in a number is a mistyped address.
    if len(text) > 253 or not all(map(_LABEL.fullmatch, labels)) or labels[-1].isdigit():
        raise RefusedError("not a host name or address")
    return text.lower()


def domain(text: str) -> str:
    """Names that a certificate for all names under them is valid for in browsers."""
    name = host(text)
    if is_address(name) or "." not in name:
        raise RefusedError("not a name of two parts or more, such as hub.example.com")
    return name


def pool(text: str) -> str:
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:
        raise RefusedError("not an IPv4 network such as 10.213.0.0/16") from None
    if network.prefixlen > 24 or not network.is_private:
        raise RefusedError("not a private network of /24 or larger")
    return str(network)


def network(text: str) -> str:
    """IPv4 networks, and addresses as networks of one."""
    try:
        return str(ipaddress.IPv4Network(text))
    except ValueError:
        raise RefusedError("not an IPv4 network such as 10.20.30.0/24, or an address") from None


def any_network(text: str) -> str:
    """IPv4 and IPv6 networks, and addresses as networks of one; not the one everybody is in."""
    try:
        found = ipaddress.ip_network(text)
    except ValueError:
        raise RefusedError(
            "not an IPv4 or IPv6 network such as 192.0.2.0/28 or 2001:db8::/64, or an address"
        ) from None
    if not found.prefixlen:
        raise RefusedError("everybody's address")
    if found.version == 6 and found.network_address.ipv4_mapped:
        raise RefusedError("write it as an IPv4 network")
    return str(found)


def is_dn(text: str) -> bool:
    """Whether a text is a distinguished name (RFC 4514)."""
    return _DN.fullmatch(text) is not None


def dn(text: str) -> str:
    if not is_dn(text):
        hint = "; in names, a comma, plus, semicolon or quote has a \\ in front"
        raise RefusedError(
            "not a DN such as cn=jupyter,ou=groups,dc=example,dc=org"
            + (hint if re.search('[+;"]', text) else "")
        )
    return text


def attribute(text: str) -> str:
    """Names of attributes of a directory's entries, and their numbers (RFC 4512, section 2.5)."""
    if not _ATTRIBUTE.fullmatch(text):
        raise RefusedError("not the name of an attribute, such as uid")
    return text


def user(text: str) -> str:
    """Names of users, in lower case, as the hub has them."""
    if not _USER.fullmatch(text):
        raise RefusedError("not a user's name: letters, digits and @#$._- only")
    return text.lower()


def package(text: str) -> str:
    if not _PACKAGE.fullmatch(text):
        raise RefusedError("not the name of a Debian package, such as python3-numpy")
    return text


def image(text: str) -> str:
    if not _IMAGE.fullmatch(text):
        raise RefusedError("not the name of an image, such as debian:trixie-slim")
    return text


def registry(text: str) -> str:
    if not _REGISTRY.fullmatch(text):
        raise RefusedError("not a registry as host[:port][/path], without https://")
    return text


def absolute_path(text: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9._@+-]+)+", text):
        raise RefusedError("not an absolute path")
    return text


def url(text: str) -> str:
    """HTTP addresses, without a name and password: those would stay in the images' history."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or re.search(r"\s", text):
        raise RefusedError("not an http:// or https:// address", secret="@" in text)
    if "@" in parts.netloc:
        raise RefusedError("holds a name or password, which images would keep", secret=True)
    return text


def or_none(parse: Callable[[str], T]) -> Callable[[str], T | None]:
    """What `parse` takes, and the empty text for None."""
    return lambda text: parse(text) if text else None


def _elements(text: str) -> list[str]:
    # Lists come from Pulumi as JSON. Nesting that Python cannot follow is no list of texts either.
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        items = None
    if not isinstance(items, list):
        raise RefusedError("not a list of texts")
    # `pulumi config set --path` makes numbers of digits, also where they are a name.
    texts = [str(item) if type(item) is int else item for item in items]
    if not all(isinstance(text, str) for text in texts):
        raise RefusedError("not a list of texts")
    return texts


def _each(items: list[str], parse: Callable[[str], str]) -> tuple[str, ...]:
    values: list[str] = []
    for number, item in enumerate(items):
        try:
            value = parse(item)
        except RefusedError as error:
            shown = f"element {number + 1}" if error.secret else json.dumps(item)[:SHOWN]
            raise RefusedError(
                f"{shown}: {error}",
                item=number,
                superfluous=error.superfluous,
                secret=error.secret,
            ) from None
        if value in values:
            raise RefusedError(f"{json.dumps(item)}: given twice", item=number, superfluous=True)
        values.append(value)
    return tuple(values)


def list_of(parse: Callable[[str], str]) -> Callable[[str], tuple[str, ...]]:
    """Lists of what `parse` takes, nothing twice."""
    return lambda text: _each(_elements(text), parse)


def assignments_of(parse: Callable[[str], str]) -> Callable[[str], tuple[str, ...]]:
    """Lists of what `parse` takes, each NAME=VALUE, no name twice."""

    def parse_all(text: str) -> tuple[str, ...]:
        found = list_of(parse)(text)
        names = [one.partition("=")[0] for one in found]
        for number, name in enumerate(names):
            if name in names[:number]:
                raise RefusedError(f"{name}: given twice", item=number, superfluous=True)
        return found

    return parse_all


def dns(text: str) -> tuple[str, ...]:
    """Lists of DNs, by which all settings name groups."""
    return list_of(dn)(text)


def commas_of(parse: Callable[[str], str]) -> Callable[[str], tuple[str, ...]]:
    """One or several of what `parse` takes, joined by commas, or as a list; nothing twice."""

    def parse_all(text: str) -> tuple[str, ...]:
        if text.startswith("["):
            return _each(_elements(text), parse)
        try:
            return _each([item.strip() for item in text.split(",")] if text else [], parse)
        except RefusedError as error:
            raise RefusedError(str(error)) from None

    return parse_all


def content(text: str) -> bytes:
    """Content of the file at a path, which is relative to the project's folder."""
    path = Path(text)
    try:
        if not path.is_file():
            raise RefusedError("no such file (paths start at the project's folder)")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, RefusedError):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise RefusedError(f"cannot be read: {reason}") from None


def certificates(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise RefusedError("the file does not hold certificates in PEM form") from None


def as_pem(chain: Iterable[x509.Certificate]) -> str:
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in chain)


def ca_certificates(pem: bytes) -> str:
    """CA certificates of a file in a form that depends on nothing but the certificates."""
    text = as_pem(sorted(set(certificates(pem)), key=lambda c: c.public_bytes(Encoding.DER)))
    if len(text) > MAX_CA_BYTES:
        raise RefusedError(
            f"{len(text) // 1024} KiB are more than a build takes ({MAX_CA_BYTES // 1024} KiB);"
            " the public CAs are trusted anyway, so leave only the site's own"
        )
    return text
