"""A connection to one server of the directory: connect, bind, search, each in bounded time."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Self

import ldap3
from ldap3.core import results

from zhub.login.directory.entries import Entry
from zhub.login.directory.passwords import spellings
from zhub.login.directory.reasons import POLICY, Reason, reason
from zhub.login.directory.tls import VerifyingTls
from zhub.logs import printable
from zhub.settings.ldap import Ldap, LdapTls

CONNECT_SECONDS = 5
ANSWER_SECONDS = 10
SESSION_SECONDS = 20
"""How long one server may take in total, however slowly its answers arrive."""

#: Results of a bind when name or password is wrong, or the account is locked.
REFUSED = {
    results.RESULT_NO_SUCH_OBJECT,
    results.RESULT_INVALID_DN_SYNTAX,
    results.RESULT_INAPPROPRIATE_AUTHENTICATION,
    results.RESULT_INVALID_CREDENTIALS,
    results.RESULT_INSUFFICIENT_ACCESS_RIGHTS,
    results.RESULT_CONSTRAINT_VIOLATION,
    results.RESULT_UNWILLING_TO_PERFORM,
}

#: Results of a search when the object does not exist, the account may not see it, or the server
#: does not support the filter (z/OS supports few).
NOTHING = {
    results.RESULT_NO_SUCH_OBJECT,
    results.RESULT_INAPPROPRIATE_MATCHING,
    results.RESULT_INSUFFICIENT_ACCESS_RIGHTS,
    results.RESULT_UNWILLING_TO_PERFORM,
}

#: The same, where something would be lost if a server that is being repaired counted.
GONE = {results.RESULT_NO_SUCH_OBJECT}

#: Attributes that are no text: [MS-ADA3] 2.44, [MS-ADA3] 2.45.
BYTES = ("objectguid", "objectsid")

log = logging.getLogger(__name__)


class LoginRefusedError(Exception):
    """The directory refuses the login; the text, for the log, says why."""

    advice = ""
    """What the directory's administrator can do about it, where it is known; for `make doctor`."""

    def __init__(self, text: str, reason: Reason | None = None) -> None:
        super().__init__(text)
        self.page = reason.page if reason else ""
        """What the login page says; not empty only after the right password."""
        self.advice = reason.advice if reason else self.advice


class UnclearNameError(LoginRefusedError):
    """The directory does not say unambiguously who the user is."""

    advice = (
        "make the entry's name unique in the directory, or name another attribute in"
        " ldapNameAttributes"
    )


class DirectoryError(Exception):
    """No usable answer; the text, for the log, names the server, the step and the reason."""

    def __init__(self, text: str, *, final: bool = False) -> None:
        super().__init__(text)
        self.final = final
        """Whether asking another server could count as another failed login."""
        self.sent = False
        """Whether a user's password was sent, so that the directory may have counted this login."""


class ServiceAccountError(DirectoryError):
    """The directory refuses the service account."""


class UnknownRuleError(DirectoryError):
    """The server does not know a matching rule of a filter."""


class Session:
    """A connection to one server, which is closed after SESSION_SECONDS in any case."""

    def __init__(self, ldap: Ldap, address: str, context: ssl.SSLContext | None) -> None:
        self._ldap = ldap
        self.address = address
        host, port = ldap.endpoint(address)
        self._connection = ldap3.Connection(
            ldap3.Server(
                host,
                port=port,
                use_ssl=ldap.tls is LdapTls.LDAPS,
                tls=VerifyingTls(context) if context else None,
                connect_timeout=CONNECT_SECONDS,
                # Do not read the schema at each login, as ldap3 would: it is not used.
                get_info=ldap3.NONE,
            ),
            receive_timeout=ANSWER_SECONDS,
            # A referral would send the password to a server that is not configured.
            auto_referrals=False,
            check_names=False,
        )
        self._watch = threading.Timer(SESSION_SECONDS, self._abort)
        self._watch.daemon = True

    def __enter__(self) -> Self:
        self._watch.start()
        try:
            self.open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.cancel()
        try:
            self._connection.unbind()
        except Exception as error:  # noqa: BLE001 - the answer has arrived already
            log.debug("Directory server %s, end: %r", self.address, error)

    def _abort(self) -> None:
        """Wake the thread that waits for the server."""
        connected = self._connection.socket
        if connected is not None:
            try:
                # Not SSLSocket.shutdown, which would remove TLS while a thread still reads.
                socket.socket.shutdown(connected, socket.SHUT_RDWR)
            except OSError as error:
                log.debug("Directory server %s, abort: %r", self.address, error)

    def _problem(self, step: str, reason: object, *, final: bool = False) -> DirectoryError:
        return DirectoryError(f"{self.address}, {step}: {one_line(reason)}", final=final)

    def _step(self, step: str, operation: Callable[[], Any], *, final: bool = False) -> Any:
        self._connection.last_error = ""
        try:
            return operation()
        # Malformed answers make ldap3 and pyasn1 raise whatever their code runs into.
        except Exception as error:
            reason = self._connection.last_error or f"{type(error).__name__} {error}"
            raise self._problem(step, reason, final=final) from error

    def open(self) -> None:
        """Connect and establish TLS."""
        secure = self._ldap.tls is LdapTls.LDAPS
        self._step(
            "connect and TLS" if secure else "connect",
            lambda: self._connection.open(read_server_info=False),
        )
        if self._ldap.tls is LdapTls.STARTTLS and not self._step(
            "StartTLS", lambda: self._connection.start_tls(read_server_info=False)
        ):
            raise self._problem("StartTLS", self._connection.last_error)
        if self._ldap.tls is LdapTls.NONE:
            # Make sure first that the server answers: a password should not be sent twice.
            # Also where nobody may search before a bind: that is an answer, too.
            root = ("", "(objectClass=*)", ldap3.BASE)
            self._step("first answer", lambda: self._connection.search(*root, attributes=["1.1"]))

    @property
    def tls(self) -> ssl.SSLSocket:
        """The socket of the TLS connection."""
        connected = self._connection.socket
        if not isinstance(connected, ssl.SSLSocket):
            raise TypeError("no TLS")
        return connected

    def bind(self, dn: str, passwords: Sequence[bytes]) -> None:
        """Bind with a DN and the spellings of a password, until one is accepted.

        Raises:
            LoginRefusedError: name or password is wrong, or the account may not log in now.
            DirectoryError: any other failure; final once the password has been sent.
        """
        for password in passwords:
            result = self._bind(dn, password)
            refusal = reason(result)
            if refusal or result["result"] != results.RESULT_INVALID_CREDENTIALS:
                break
        said = f"{_said(result)}{f': {refusal.log}' if refusal else ''}"
        if refusal or result["result"] in REFUSED:
            raise LoginRefusedError(f"{self.address}, bind as {dn!r}: {said}", refusal)
        if result["result"] != results.RESULT_SUCCESS:
            raise self._problem(f"bind as {dn!r}", said)

    def _bind(self, dn: str, password: bytes) -> Mapping[str, Any]:
        """Return the result of one bind."""
        self._check_open("bind")
        connection = self._connection
        connection.user, connection.password = dn, password
        connection.authentication = ldap3.SIMPLE
        asked = [(POLICY, False, None)]
        self._step(
            "bind", lambda: connection.bind(read_server_info=False, controls=asked), final=True
        )
        connection.password = None
        result: Mapping[str, Any] = connection.result
        return result

    def bind_service(self) -> None:
        """Bind as the service account.

        Raises:
            DirectoryError: also when it is refused.
        """
        try:
            password = (self._ldap.bind_password_file or _missing()).read_text().rstrip("\r\n")
            self.bind(self._ldap.bind_dn, spellings(password))
        except LoginRefusedError as refused:
            raise ServiceAccountError(
                f"the service account is refused: {refused}", final=True
            ) from None
        except (OSError, ValueError) as error:
            raise self._problem("password of the service account", error, final=True) from error

    def search(  # noqa: PLR0913 - what a search consists of
        self,
        base: str,
        filter_: str,
        scope: Any,
        attributes: Sequence[str],
        *,
        step: str = "search",
        limit: int = 2,
        nothing: Collection[int] = NOTHING,
    ) -> list[Entry]:
        """Return the entries found, at most `limit`; none if the result is one of `nothing`.

        Raises:
            DirectoryError: also when the server does not know a matching rule.
        """
        self._check_open(step)
        connection = self._connection
        self._step(
            step,
            lambda: connection.search(
                base, filter_, scope, attributes=list(attributes), size_limit=limit
            ),
        )
        result = connection.result
        if result["result"] in nothing:
            return []
        if result["result"] == results.RESULT_UNAVAILABLE_CRITICAL_EXTENSION:
            # What 389 says; others find nothing.
            raise UnknownRuleError(f"{self.address}, {step} below {base!r}: {_said(result)}")
        if result["result"] not in (results.RESULT_SUCCESS, results.RESULT_SIZE_LIMIT_EXCEEDED):
            raise self._problem(f"{step} below {base!r}", _said(result))
        found: list[Entry] = self._step(step, lambda: _entries(connection.response or ()))
        return found

    def _check_open(self, step: str) -> None:
        # ldap3 would open the connection again, without StartTLS.
        if self._connection.closed:
            raise self._problem(step, "the server has closed the connection")


def _missing() -> Any:
    raise ValueError("none is configured")


def _entries(response: Sequence[Mapping[str, Any]]) -> list[Entry]:
    return [
        Entry(
            found["dn"],
            {
                name.lower(): [_text(name, value) for value in values]
                for name, values in found["raw_attributes"].items()
            },
        )
        for found in response
        if found["type"] == "searchResEntry"
    ]


def _text(attribute: str, value: bytes) -> str:
    return value.hex() if attribute.lower() in BYTES else value.decode(errors="replace")


def _said(result: Mapping[str, Any]) -> str:
    message = one_line(result.get("message") or "")
    return f"{result['description']}{f' ({message})' if message else ''}"


def one_line(text: object) -> str:
    """Return a server's text as one printable line, so that it cannot forge lines of the log."""
    return printable(" ".join(str(text).split()), "?")[:500]
