"""Login with the password the site's directory holds."""

from __future__ import annotations

import asyncio
from typing import Any

import ldap3
from jupyterhub.handlers import BaseHandler
from ldap3.core.exceptions import LDAPBindError, LDAPException
from ldapauthenticator import LDAPAuthenticator
from ldapauthenticator.ldapauthenticator import TlsStrategy
from tornado import web
from traitlets import Int, List, Unicode


class DirectoryAuthenticator(LDAPAuthenticator):  # type: ignore[misc] # untyped
    """LDAPAuthenticator that asks several servers, with time limits, off the hub's event loop."""

    server_addresses = List(Unicode(), config=True, help="Directory servers, in order of use.")
    connect_timeout = Int(5, config=True, help="Seconds to wait for a connection.")
    receive_timeout = Int(10, config=True, help="Seconds to wait for an answer.")

    async def authenticate(
        self, handler: BaseHandler, data: dict[str, str]
    ) -> dict[str, Any] | None:
        """Check name and password with the directory.

        Raises:
            tornado.web.HTTPError: 503 when no server of the directory answers.
        """
        # The parent's coroutine never waits: it blocks, so it gets a thread and a loop of its own.
        parent = super().authenticate
        try:
            return await asyncio.to_thread(lambda: asyncio.run(parent(handler, data)))
        except LDAPException as error:
            self.log.warning("The directory does not answer: %s", error)
            raise web.HTTPError(
                503, "The directory does not answer. Please try again in a moment."
            ) from error

    def get_connection(self, userdn: str, password: str) -> ldap3.Connection | None:
        """Bind at the first server that answers; None when it refuses the name or the password.

        Raises:
            LDAPException: when no server answers, or none can show that it is the right one.
        """
        failure: LDAPException = LDAPException("no server is configured")
        for address in self.server_addresses:
            server = ldap3.Server(
                address,
                port=self.server_port,
                use_ssl=self.tls_strategy == TlsStrategy.on_connect,
                tls=ldap3.Tls(**self.tls_kwargs),
                connect_timeout=self.connect_timeout,
                # The schema, which ldap3 would otherwise read at each login, is never used.
                get_info=ldap3.NONE,
            )
            try:
                return ldap3.Connection(
                    server,
                    user=userdn,
                    password=password,
                    auto_bind=ldap3.AUTO_BIND_TLS_BEFORE_BIND
                    if self.tls_strategy == TlsStrategy.before_bind
                    else ldap3.AUTO_BIND_NO_TLS,
                    receive_timeout=self.receive_timeout,
                )
            except LDAPBindError:
                return None
            except LDAPException as error:
                self.log.warning("Directory server %s: %s", address, error)
                failure = error
        raise failure
