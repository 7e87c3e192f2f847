"""Visitors of a stack: browsers of strangers and of the demo users."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.engine.stack import Stack
from tests.hubclient import User


def served_certificate(port: int) -> bytes:
    """Return the certificate that the published port serves, as DER."""
    pem = ssl.get_server_certificate(("127.0.0.1", port), timeout=30)
    return ssl.PEM_cert_to_DER_cert(pem)


@dataclass(frozen=True)
class Entrance:
    """Port, certificate and passwords of a stack, read once: asking Pulumi takes a second."""

    outputs: dict[str, Any]
    authority: Path
    """What the hub serves, as the file that verifies it."""

    @classmethod
    def of(cls, stack: Stack) -> Entrance:
        """Read them from Pulumi, and the certificate from the port."""
        outputs = stack.outputs()
        authority = stack.folder / "served.crt"
        port = urlsplit(outputs["url"]).port or 443
        authority.write_text(ssl.DER_cert_to_PEM_cert(served_certificate(port)))
        return cls(outputs, authority)

    @property
    def port(self) -> int:
        """The port on which the stack serves HTTPS."""
        return urlsplit(str(self.outputs["url"])).port or 443

    def password(self, name: str) -> str:
        """A demo user's password, from the stack's outputs."""
        return str(self.outputs["demoUsers"][name])

    def browser(self) -> User:
        """A browser that trusts the stack's certificate; nobody is logged in."""
        return User(self.outputs["url"], self.authority)

    def logged_in(self, name: str) -> User:
        """Return a demo user's browser, logged in."""
        user = self.browser()
        user.log_in(name, self.password(name))
        return user


def port_of(stack: Stack) -> int:
    """Return the port on which the stack serves HTTPS."""
    return Entrance.of(stack).port


def certificate_file(stack: Stack) -> Path:
    """What the hub serves, as the file that verifies it."""
    return Entrance.of(stack).authority


def served_pem(stack: Stack) -> str:
    """Return the certificate that the port serves, as PEM."""
    return certificate_file(stack).read_text()


def browser(stack: Stack) -> User:
    """A browser that trusts the stack's certificate; nobody is logged in."""
    return Entrance.of(stack).browser()


def logged_in(stack: Stack, name: str) -> User:
    """Return a demo user's browser, logged in with the password in the stack's outputs."""
    return Entrance.of(stack).logged_in(name)
