"""TLS certificates and keys for an engine, from files or from PEM texts."""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from plugins.calls import ResourceError


class Unreachable(ResourceError):
    """No engine answers at the configured address, or the configuration is wrong."""


class Tls(Protocol):
    """Client and CA certificates for the engine."""

    def context(self) -> ssl.SSLContext:
        """Return the TLS settings; the engine's certificate is always verified.

        Raises Unreachable if they cannot be used.
        """


@dataclass(frozen=True)
class TlsFiles:
    """Client certificate, its key and the engine's CA, in the operator's files."""

    ca: Path
    cert: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Return the TLS settings, from the files' current content."""
        names = (str(self.ca), str(self.cert), str(self.key))
        return _context(*names, called=f"TLS files {', '.join(names)}")


@dataclass(frozen=True)
class TlsMaterial:
    """The same as PEM texts, which are never written to a file."""

    ca: str
    cert: str
    key: str = field(repr=False)

    def context(self) -> ssl.SSLContext:
        """Return the TLS settings."""
        with _readable(self.ca) as ca, _readable(self.cert) as cert, _readable(self.key) as key:
            return _context(ca, cert, key, called="caMaterial, certMaterial, keyMaterial")


def _context(ca: str, cert: str, key: str, *, called: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as problem:
        raise Unreachable(f"cannot use the engine's {called}: {problem}") from None
    return context


@contextmanager
def _readable(text: str) -> Iterator[str]:
    """Yield a file name that gives the text once: OpenSSL takes keys only from files.

    It is the name of a pipe. A file on disk would stay if this process is killed.
    """
    reading, writing = os.pipe()

    def write() -> None:
        # The reader may find an error and not read to the end.
        with suppress(BrokenPipeError), os.fdopen(writing, "w") as pipe:
            pipe.write(text)

    # A pipe holds 64 KiB; a bundle of CA certificates may be longer.
    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        yield f"/dev/fd/{reading}"
    finally:
        os.close(reading)
        writer.join()
