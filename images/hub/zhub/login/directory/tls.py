"""TLS to the directory's servers, verified by OpenSSL."""

from __future__ import annotations

import socket
import ssl

import ldap3


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
