"""TLS to the directory's servers, verified by OpenSSL."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import ldap3


def verifying_context(ca_file: Path | None) -> ssl.SSLContext:
    """What verifies the directory's servers, with the certificates in a file or the system's.

    The flags are the same with every Python, whose defaults differ. Not strict: CA certificates as
    `openssl req -x509` and many sites made them lack extensions that RFC 5280 wants. Who is trusted
    does not depend on those, and the site's other clients take them. With a partial chain: every
    certificate in the file is trusted, also that of a CA below another one.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


class VerifyingTls(ldap3.Tls):
    """Lets OpenSSL verify both the certificate chain and the host name.

    ldap3 checks the host name itself, with a copy of code that Python has removed, and sends no
    server name (SNI).
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        self._context = context

    def wrap_socket(self, connection: ldap3.Connection, do_handshake: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - ldap3's own interface
        # Otherwise the first request waits 40 ms for the server's ACK of the handshake's end.
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.socket = self._context.wrap_socket(
            connection.socket,
            server_hostname=connection.server.host,
            do_handshake_on_connect=False,
        )
        connection.socket.do_handshake()
