"""Asks the site's directory whether a password is right, and who and in which groups somebody is.

All of it waits for the network: it belongs into a thread, not on an event loop.
"""

from __future__ import annotations

import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

import ldap3
from ldap3.core import results
from ldap3.core.exceptions import LDAPException
from ldap3.protocol.sasl.sasl import sasl_prep
from ldap3.utils.conv import escape_filter_chars
from ldap3.utils.dn import escape_rdn, parse_dn

from zhub.ldap import DN, Ldap, LdapTls

T = TypeVar("T")

#: What the hub takes for a user's name: also what RACF's users type. Whatever has a meaning in a DN
#: or in a search filter is not in it, except for a "#" at the beginning of a DN's value.
NAME = re.compile(r"[A-Za-z0-9@#$][A-Za-z0-9@#$._-]{0,63}")

PASSWORD_LENGTH = 1024
"""Characters, and bytes in UTF-8, that a password may have: what servers compare is computed with
seconds of processor time for a million of them."""

CONNECT_SECONDS = 5
ANSWER_SECONDS = 10
SESSION_SECONDS = 20
"""How long one server may take in all, however slowly it drips its answers."""

DEAD_SECONDS = 30
"""How long a server that did not answer is passed over while there are others."""

REFUSED_SECONDS = 60
"""How long nothing is asked after the service account was refused: else each login would bring it
nearer to being locked."""

#: What a server says of a bind when name or password is wrong, or the account is locked.
REFUSED = {
    results.RESULT_NO_SUCH_OBJECT,
    results.RESULT_INVALID_DN_SYNTAX,
    results.RESULT_INAPPROPRIATE_AUTHENTICATION,
    results.RESULT_INVALID_CREDENTIALS,
    results.RESULT_INSUFFICIENT_ACCESS_RIGHTS,
    results.RESULT_CONSTRAINT_VIOLATION,
    results.RESULT_UNWILLING_TO_PERFORM,
}

#: What a server says of a search whose object is not there, or is hidden from who asks, or whose
#: filter it does not support (z/OS has few).
NOTHING = {
    results.RESULT_NO_SUCH_OBJECT,
    results.RESULT_INAPPROPRIATE_MATCHING,
    results.RESULT_INSUFFICIENT_ACCESS_RIGHTS,
    results.RESULT_UNWILLING_TO_PERFORM,
}

#: A user's groups, in the user's own entry: most directories, 389 and RACF (SDBM).
GROUPS_OF_USER = ("memberof", "ismemberof", "racfconnectgroupname")

#: Whether the account is disabled, and why: Active Directory, 389, OpenLDAP's ppolicy, RACF.
DISABLED = (
    "useraccountcontrol",
    "accountexpires",
    "nsaccountlock",
    "pwdaccountlockedtime",
    "racfattributes",
)

#: [MS-ADTS] 3.1.1.3.4.4.3: members of a group's groups, and of theirs.
IN_CHAIN = "1.2.840.113556.1.4.1941"

log = logging.getLogger(__name__)


class LoginRefusedError(Exception):
    """The directory answers, and the answer is no; the text, for the log, says why."""


class DirectoryError(Exception):
    """No usable answer; the text, for the log, says of which server, at which step and why."""

    def __init__(self, text: str, *, final: bool = False) -> None:
        super().__init__(text)
        self.final = final
        """Whether asking another server could count as another failed login."""
        self.sent = False
        """Whether a user's password has been sent, so that the directory may know of this login."""


class ServiceAccountError(DirectoryError):
    """The directory refuses the service account."""


@dataclass(frozen=True)
class Entry:
    """An entry as the directory returned it; attributes in lower case."""

    dn: str
    attributes: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def values(self, attribute: str) -> Sequence[str]:
        return self.attributes.get(attribute.lower(), ())


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody the directory knows."""

    name: str
    """Who it is to the hub, however the name was typed."""
    dn: str
    groups: frozenset[str] = frozenset()
    """Those of the configured groups that the person is in, as they are configured."""
    all_groups: tuple[str, ...] = ()
    """Names of the groups below the configured base that the person is in."""
    listed_groups: tuple[str, ...] = ()
    """Groups that the person's own entry names, configured or not."""


def allowed(ldap: Ldap, person: Person) -> bool:
    """Whether a person may use the hub."""
    return ldap.allow_everyone or not person.groups.isdisjoint(ldap.allowed_groups)


def administers(ldap: Ldap, person: Person) -> bool:
    """Whether a person is in a group of administrators."""
    return not person.groups.isdisjoint(ldap.admin_groups)


def too_long(password: str) -> bool:
    """Whether a password is longer than any, which must be known before anything is computed."""
    return (
        len(password) > PASSWORD_LENGTH
        or len(password.encode(errors="surrogatepass")) > PASSWORD_LENGTH
    )


def same_dn(one: str, other: str) -> bool:
    """Whether two DNs name one entry, whatever their case, blanks and escapes."""
    return _comparable(one) == _comparable(other)


def _comparable(dn: str) -> list[tuple[str, str]]:
    try:
        parts = parse_dn(dn, strip=True)
    except LDAPException:
        return [("", dn)]
    return [(attribute.lower(), _unescaped(value)) for attribute, value, _ in parts]


def _unescaped(value: str) -> str:
    plain = re.sub(
        rb"\\([0-9A-Fa-f]{2}|.)",
        lambda match: bytes.fromhex(match[1].decode()) if len(match[1]) == 2 else match[1],
        value.encode(),
    )
    return " ".join(plain.decode(errors="replace").casefold().split())


def disabled(entry: Entry) -> str | None:
    """Why an account cannot be used, as far as its entry tells; None when it can.

    A lock that ends by itself is none: any stranger can cause it with wrong passwords.
    """
    for value in entry.values("userAccountControl"):
        # [MS-ADTS] 2.2.16, ADS_UF_ACCOUNTDISABLE
        if value.isdigit() and int(value) & 0x2:
            return f"userAccountControl is {value}"
    for value in filter(str.isdigit, entry.values("accountExpires")):
        # [MS-ADTS] 2.3: units of 100 ns since 1601; 0 and the largest number stand for never.
        ends = datetime(1601, 1, 1, tzinfo=UTC).timestamp() + int(value) / 1e7
        if 0 < int(value) < 0x7FFFFFFFFFFFFFFF and ends < time.time():
            return f"accountExpires is {value}"
    for attribute, final in (
        ("nsAccountLock", "TRUE"),
        # draft-behera-ldap-password-policy-10, section 5.3.3: locked for good.
        ("pwdAccountLockedTime", "000001010000Z"),
        ("racfAttributes", "REVOKED"),
    ):
        if final in (value.upper() for value in entry.values(attribute)):
            return f"{attribute} is {final}"
    return None


class _VerifyingTls(ldap3.Tls):
    """Leaves the verification of chain and host name to OpenSSL.

    ldap3 does the latter itself, with a copy of what Python has removed, and sends no server name.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        self._context = context

    def wrap_socket(self, connection: ldap3.Connection, do_handshake: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - ldap3's own interface
        # Or else the first request waits 40 ms for the server to acknowledge the handshake's end.
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.socket = self._context.wrap_socket(
            connection.socket,
            server_hostname=connection.server.host,
            do_handshake_on_connect=False,
        )
        connection.socket.do_handshake()


class Session:
    """A connection to one server for one question, which ends after SESSION_SECONDS in any case."""

    def __init__(self, ldap: Ldap, address: str, context: ssl.SSLContext | None) -> None:
        self._ldap = ldap
        self.address = address
        host, port = ldap.endpoint(address)
        self._connection = ldap3.Connection(
            ldap3.Server(
                host,
                port=port,
                use_ssl=ldap.tls is LdapTls.LDAPS,
                tls=_VerifyingTls(context) if context else None,
                connect_timeout=CONNECT_SECONDS,
                # The schema, which ldap3 would otherwise read at each login, is never used.
                get_info=ldap3.NONE,
            ),
            receive_timeout=ANSWER_SECONDS,
            # A referral would take the password to a server that nobody has configured.
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
        except Exception as error:  # noqa: BLE001 - all that counts has been said
            log.debug("Directory server %s, end: %r", self.address, error)

    def _abort(self) -> None:
        """Wake the thread that waits for the server."""
        connected = self._connection.socket
        if connected is not None:
            try:
                # Not the method of ssl.SSLSocket, which would take the TLS away under a reader.
                socket.socket.shutdown(connected, socket.SHUT_RDWR)
            except OSError as error:
                log.debug("Directory server %s, abort: %r", self.address, error)

    def _problem(self, step: str, reason: object, *, final: bool = False) -> DirectoryError:
        return DirectoryError(f"{self.address}, {step}: {_one_line(reason)}", final=final)

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
            # Nothing has shown yet that somebody is there, and a password should be sent once.
            self.search("", "(objectClass=*)", ldap3.BASE, ["1.1"], step="first answer")

    @property
    def tls(self) -> ssl.SSLSocket:
        """The socket, once there is TLS on it."""
        connected = self._connection.socket
        if not isinstance(connected, ssl.SSLSocket):
            raise TypeError("no TLS")
        return connected

    def bind(self, dn: str, password: str) -> None:
        """Show who one is.

        Raises:
            LoginRefusedError: name or password is wrong, or the account is locked.
            DirectoryError: otherwise; final once the password has been sent.
        """
        self._check_open("bind")
        connection = self._connection
        connection.user, connection.password = dn, password
        connection.authentication = ldap3.SIMPLE
        self._step("bind", lambda: connection.bind(read_server_info=False), final=True)
        connection.password = None
        result = connection.result
        if result["result"] in REFUSED:
            raise LoginRefusedError(f"{self.address}, bind as {dn!r}: {_said(result)}")
        if result["result"] != results.RESULT_SUCCESS:
            raise self._problem(f"bind as {dn!r}", _said(result))

    def bind_service(self) -> None:
        """Bind as the service account.

        Raises:
            DirectoryError: also when it is refused.
        """
        try:
            password = (self._ldap.bind_password_file or _missing()).read_text().rstrip("\r\n")
            self.bind(self._ldap.bind_dn, _prepared(password))
        except LoginRefusedError as refused:
            raise ServiceAccountError(
                f"the service account is refused: {refused}", final=True
            ) from None
        except (OSError, ValueError, LDAPException) as error:
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
        may_be_missing: bool = True,
    ) -> list[Entry]:
        """Return the entries found, at most `limit`.

        Raises:
            DirectoryError: also when the base is not there, unless it may be missing.
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
        if result["result"] in NOTHING and may_be_missing:
            return []
        if result["result"] not in (results.RESULT_SUCCESS, results.RESULT_SIZE_LIMIT_EXCEEDED):
            raise self._problem(f"{step} below {base!r}", _said(result))
        found: list[Entry] = self._step(step, lambda: _entries(connection.response or ()))
        return found

    def _check_open(self, step: str) -> None:
        # ldap3 would open the connection again, without StartTLS.
        if self._connection.closed:
            raise self._problem(step, "the server has closed the connection")


def _prepared(password: str) -> str:
    """A password as servers compare it (RFC 4513, section 5.1.3).

    Raises:
        LDAPException: it holds what no password may, or nothing: that would be an unauthenticated
            bind, which servers accept.
    """
    prepared: str = sasl_prep(password)  # type: ignore[no-untyped-call]
    return prepared


def _missing() -> Any:
    raise ValueError("none is configured")


def _entries(response: Sequence[Mapping[str, Any]]) -> list[Entry]:
    return [
        Entry(
            found["dn"],
            {
                name.lower(): [value.decode(errors="replace") for value in values]
                for name, values in found["raw_attributes"].items()
            },
        )
        for found in response
        if found["type"] == "searchResEntry"
    ]


def _said(result: Mapping[str, Any]) -> str:
    message = _one_line(result.get("message") or "")
    return f"{result['description']}{f' ({message})' if message else ''}"


def _one_line(text: object) -> str:
    """What a server sends must not forge lines of the log."""
    shown = " ".join(str(text).split())
    return "".join(c if c.isprintable() else "?" for c in shown)[:500]


class Directory:
    """The site's directory: its servers, asked in their order. May be used by several threads."""

    def __init__(self, ldap: Ldap, has_moved: Callable[[], bool] = lambda: False) -> None:
        """Ask no server yet.

        Args:
            ldap: how to ask.
            has_moved: called when no server answers; whether it may be worth asking again at once.
        """
        self.ldap = ldap
        self._has_moved = has_moved
        self._context: ssl.SSLContext | None = None
        self._dead: dict[str, float] = {}
        self._probing = threading.Lock()
        self._service_refused = 0.0

    def log_in(self, name: str, password: str) -> Person:
        """Return who has this name and password, with one bind as that user.

        Raises:
            LoginRefusedError: nobody has; or the account is disabled.
            DirectoryError: no server gives a usable answer.
        """
        _check_name(name)
        if too_long(password):
            raise LoginRefusedError("the password is longer than any")
        try:
            prepared = _prepared(password)
        except LDAPException as error:
            raise LoginRefusedError(f"the password is empty or unusable: {error}") from None
        sent_to: list[str] = []
        try:
            return self._ask(lambda session: self._log_in(session, name, prepared, sent_to))
        except DirectoryError as problem:
            problem.sent = bool(sent_to)
            raise

    def look_up(self, name: str, *, typed: bool = False) -> Person:
        """Return who the hub knows by this name, found by the service account.

        Args:
            name: of the user in the hub.
            typed: whether it is what somebody types at login instead, which may be another one.

        Raises:
            LoginRefusedError: nobody, any more; or the account is disabled.
            DirectoryError: no server gives a usable answer.
        """
        _check_name(name)
        attributes = self.ldap.name_attributes if typed else self.ldap.name_attributes[:1]
        return self._ask(lambda session: self._look_up(session, name, attributes))

    def session(self, address: str) -> Session:
        """A connection to one of the servers, to be entered."""
        if self._context is None and self.ldap.tls is not LdapTls.NONE:
            self._context = ssl.create_default_context(cafile=self.ldap.ca_file)
        return Session(self.ldap, address, self._context)

    def _ask(self, question: Callable[[Session], T]) -> T:
        if time.monotonic() < self._service_refused:
            raise DirectoryError("the service account was refused a moment ago")
        alive = [server for server in self.ldap.servers if not self._is_dead(server)]
        if alive:
            return self._ask_each(alive, question)
        # None of them answered a moment ago: one login finds out whether that is still so, and
        # the others need not wait for it.
        if not self._probing.acquire(blocking=False):
            raise DirectoryError("no server has answered for a while, and one login is trying")
        try:
            return self._ask_each(self.ldap.servers, question)
        finally:
            self._probing.release()

    def _is_dead(self, server: str) -> bool:
        return time.monotonic() < self._dead.get(server, 0)

    def _ask_each(
        self, servers: Sequence[str], question: Callable[[Session], T], *, again: bool = False
    ) -> T:
        problems = []
        for server in servers:
            try:
                with self.session(server) as session:
                    answer = question(session)
            except DirectoryError as problem:
                log.warning("Directory server %s", problem)
                self._dead[server] = time.monotonic() + DEAD_SECONDS
                problems.append(str(problem))
                if isinstance(problem, ServiceAccountError):
                    self._service_refused = time.monotonic() + REFUSED_SECONDS
                if problem.final:
                    raise DirectoryError("; ".join(problems), final=True) from problem
            except LoginRefusedError:
                self._dead.pop(server, None)
                raise
            else:
                self._dead.pop(server, None)
                return answer
        if not again and self._has_moved():
            return self._ask_each(servers, question, again=True)
        raise DirectoryError("; ".join(problems))

    def _log_in(self, session: Session, name: str, password: str, sent_to: list[str]) -> Person:
        """Return who it is; what the password was sent as is added to `sent_to` before that."""
        if self.ldap.searches:
            session.bind_service()
            person = self._person(session, self._find(session, name, self.ldap.name_attributes))
            sent_to.append(person.dn)
            session.bind(person.dn, password)
            return person
        bound_as = self._bind(session, name, password, sent_to)
        if self.ldap.bind_dn:
            # Users themselves often must not read groups.
            session.bind_service()
        if DN.fullmatch(bound_as):
            entry = self._read(session, bound_as) or Entry(bound_as)
            return self._person(session, self._alone(session, entry, name), name)
        # Active Directory takes user@domain for a name, too. It may be somebody else's than the
        # one who has the first part as another name: found must be one entry by either.
        also = f"(userPrincipalName={escape_filter_chars(bound_as)})"
        return self._person(session, self._find(session, name, self.ldap.name_attributes, also))

    def _bind(self, session: Session, name: str, password: str, sent_to: list[str]) -> str:
        """Bind as the user; return what as."""
        refusals = []
        for template in self.ldap.dn_templates:
            bind_as = _filled_in(template, name)
            sent_to.append(bind_as)
            try:
                session.bind(bind_as, password)
            except LoginRefusedError as refused:
                refusals.append(str(refused))
            else:
                return bind_as
        raise LoginRefusedError("; ".join(refusals))

    def _look_up(self, session: Session, name: str, attributes: Sequence[str]) -> Person:
        session.bind_service()
        if self.ldap.searches:
            return self._person(session, self._find(session, name, attributes))
        for template in self.ldap.dn_templates:
            entry = self._read(session, _filled_in(template, name))
            if entry:
                return self._person(session, self._alone(session, entry, name), name)
        raise LoginRefusedError(f"{session.address} has no entry of {name!r}")

    def _alone(self, session: Session, entry: Entry, name: str) -> Entry:
        """Return the entry, if no other template leads to somebody else of that name.

        Raises:
            LoginRefusedError: one does, and the hub would take the two for one user.
        """
        for template in self.ldap.dn_templates:
            dn = _filled_in(template, name)
            if not DN.fullmatch(dn) or same_dn(dn, entry.dn):
                continue
            other = self._read(session, dn)
            if other and not same_dn(other.dn, entry.dn):
                raise LoginRefusedError(
                    f"{session.address} has several entries of {name!r}:"
                    f" {entry.dn!r} and {other.dn!r}"
                )
        return entry

    def _wanted(self) -> list[str]:
        return [*self.ldap.name_attributes, *GROUPS_OF_USER, *DISABLED]

    def _read(self, session: Session, dn: str) -> Entry | None:
        """Return one entry, as far as who is bound may read it."""
        found = session.search(dn, "(objectClass=*)", ldap3.BASE, self._wanted())
        return found[0] if found else None

    def _find(
        self, session: Session, name: str, attributes: Sequence[str], also: str = ""
    ) -> Entry:
        """Return the one entry with this name.

        Raises:
            LoginRefusedError: there is none, or more than one.
        """
        escaped = escape_filter_chars(name)
        any_of = "".join(f"({attribute}={escaped})" for attribute in attributes)
        filter_ = f"(&(|{any_of}{also}){self.ldap.user_filter})"
        found = session.search(
            self.ldap.search_base,
            filter_,
            ldap3.SUBTREE,
            self._wanted(),
            # A base that cannot be read would look as if nobody were there any more.
            may_be_missing=False,
        )
        if len(found) != 1:
            raise LoginRefusedError(
                f"{session.address} has {'no entry' if not found else 'several entries'}"
                f" below {self.ldap.search_base!r} for {filter_}"
            )
        (entry,) = found
        identity = self._identity(entry)
        if identity.lower() != name.lower():
            # Found by another of the names: nobody else may have this one as identity.
            return self._find(session, identity, self.ldap.name_attributes[:1])
        return entry

    def _identity(self, entry: Entry) -> str:
        attribute = self.ldap.name_attributes[0]
        values = entry.values(attribute)
        if len(values) != 1:
            raise LoginRefusedError(
                f"{entry.dn!r} has {len(values)} values of {attribute}, which must be one:"
                " it says who somebody is"
            )
        _check_name(values[0])
        return values[0]

    def _person(self, session: Session, entry: Entry, name: str | None = None) -> Person:
        """What there is to know of somebody.

        Args:
            session: bound as who may read groups.
            entry: of the person.
            name: where it says who the person is, as in a DN template; else the entry does.
        """
        if reason := disabled(entry):
            raise LoginRefusedError(f"{session.address}: the account {entry.dn!r}: {reason}")
        name = name or self._identity(entry)
        # posixGroup has names of users, in which case counts.
        spelt = next(
            (
                value
                for value in entry.values(self.ldap.name_attributes[0])
                if value.lower() == name.lower()
            ),
            name,
        )
        groups = dict.fromkeys((*self.ldap.allowed_groups, *self.ldap.admin_groups))
        return Person(
            name=name.lower(),
            dn=entry.dn,
            groups=frozenset(
                group for group in groups if self._is_member(session, entry, spelt, group)
            ),
            all_groups=self._all_groups(session, entry, spelt),
            listed_groups=_listed_groups(entry),
        )

    def _is_member(self, session: Session, entry: Entry, name: str, group: str) -> bool:
        if any(same_dn(group, listed) for listed in _listed_groups(entry)):
            return True
        found = session.search(
            group, self._members(entry, name), ldap3.BASE, ["1.1"], step="search for groups"
        )
        if not found and self.ldap.nested_groups:
            found = session.search(
                entry.dn,
                f"(memberOf:{IN_CHAIN}:={escape_filter_chars(group)})",
                ldap3.BASE,
                ["1.1"],
                step="search for nested groups",
            )
        return bool(found)

    def _members(self, entry: Entry, name: str) -> str:
        """Filter of the groups somebody is in: groupOf(Unique)Names, posixGroup."""
        dn = escape_filter_chars(entry.dn)
        parts = [
            f"(member={dn})",
            f"(uniqueMember={dn})",
            f"(memberUid={escape_filter_chars(name)})",
        ]
        if self.ldap.nested_groups:
            parts.append(f"(member:{IN_CHAIN}:={dn})")
        return f"(|{''.join(parts)})"

    def _all_groups(self, session: Session, entry: Entry, name: str) -> tuple[str, ...]:
        if not self.ldap.group_base:
            return ()
        found = session.search(
            self.ldap.group_base,
            self._members(entry, name),
            ldap3.SUBTREE,
            ["cn"],
            step="search for all groups",
            limit=0,
        )
        return tuple(sorted({cn for group in found for cn in group.values("cn")[:1]}))


def _listed_groups(entry: Entry) -> tuple[str, ...]:
    return tuple(value for attribute in GROUPS_OF_USER for value in entry.values(attribute))


def _filled_in(template: str, name: str) -> str:
    return template.format(username=escape_rdn(name) if DN.fullmatch(template) else name)


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise LoginRefusedError(f"{_one_line(name)[:64]!r} is not made like a name")
