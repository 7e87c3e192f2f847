"""Asks the site's directory whether a password is right, who a user is, and in which groups.

All of it blocks on the network: call it in a thread, not on an event loop.
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from ldap3.utils.conv import escape_filter_chars

from zhub.login.directory.entries import Entry
from zhub.login.directory.groups import exists
from zhub.login.directory.passwords import spellings
from zhub.login.directory.people import NAME, People, Person, filled_in, may_be_typed, no_name
from zhub.login.directory.session import (
    GONE,
    DirectoryError,
    LoginRefusedError,
    ServiceAccountError,
    Session,
)
from zhub.login.directory.tls import verifying_context
from zhub.settings.ldap import DN, Ldap, LdapTls

T = TypeVar("T")

PASSWORD_LENGTH = 1024
"""Characters, and bytes in UTF-8, that a password may have: preparing a million of them (SASLprep)
takes seconds of processor time."""

DEAD_SECONDS = 30
"""How long a server that did not answer is skipped while there are others."""

REFUSED_SECONDS = 60
"""How long no server is asked after the service account was refused: otherwise each login would
bring the account closer to being locked."""

Asked = Callable[[str, str, float], None]
"""Takes a server's address, an outcome and seconds: "answered", "failed", or "skipped" because it
did not answer a moment ago."""

log = logging.getLogger(__name__)


def too_long(password: str) -> bool:
    """Return whether a password is too long; check this before anything is computed from it."""
    return (
        len(password) > PASSWORD_LENGTH
        or len(password.encode(errors="surrogatepass")) > PASSWORD_LENGTH
    )


class Directory:
    """The site's directory: asks its servers in order, each in bounded time. Safe for threads."""

    def __init__(
        self,
        ldap: Ldap,
        has_moved: Callable[[], bool] = lambda: False,
        asked: Asked = lambda *_: None,
    ) -> None:
        """Prepare; asks no server yet.

        Args:
            ldap: the directory's settings.
            has_moved: called when no server answers; returns whether to ask again at once.
            asked: called with the outcome of each server.
        """
        self.ldap = ldap
        self._has_moved = has_moved
        self._asked = asked
        self._context: ssl.SSLContext | None = None
        self._dead: dict[str, float] = {}
        self._probing = threading.Lock()
        self._service_refused = 0.0

    def log_in(self, name: str, password: str) -> Person:
        """Return who has this name and password, with one bind for each spelling of the password.

        Raises:
            LoginRefusedError: name or password is wrong, or the account may not log in now.
            DirectoryError: no server gives a usable answer.
        """
        if not may_be_typed(self.ldap, name):
            raise no_name(name)
        if too_long(password):
            raise LoginRefusedError(f"the password is longer than {PASSWORD_LENGTH} bytes")
        try:
            sent = spellings(password)
        except ValueError as error:
            raise LoginRefusedError(str(error)) from None
        sent_to: list[str] = []
        try:
            return self._ask(lambda session: self._log_in(session, name, sent, sent_to))
        except DirectoryError as problem:
            problem.sent = bool(sent_to)
            raise

    def look_up(self, name: str, *, typed: bool = False) -> Person:
        """Return the person with this name in the hub, found by the service account.

        Args:
            name: of the user in the hub.
            typed: whether the name is as typed at login, which may be another of the user's names.

        Raises:
            LoginRefusedError: there is no such person, or the account is disabled.
            DirectoryError: no server gives a usable answer.
        """
        if not (may_be_typed(self.ldap, name) if typed else NAME.fullmatch(name)):
            raise no_name(name)
        attributes = self.ldap.name_attributes if typed else self.ldap.name_attributes[:1]
        return self._ask(lambda session: self._look_up(session, name, attributes))

    def missing_groups(self) -> frozenset[str]:
        """Return which of the configured groups the service account does not find.

        Raises:
            DirectoryError: no server gives a usable answer.
        """

        def question(session: Session) -> frozenset[str]:
            session.bind_service()
            groups = self.ldap.configured_groups
            return frozenset(group for group in groups if not exists(session, group))

        return self._ask(question)

    def session(self, address: str) -> Session:
        """Return a connection to one of the servers, as a context manager."""
        if self._context is None and self.ldap.tls is not LdapTls.NONE:
            self._context = verifying_context(self.ldap.ca_file)
        return Session(self.ldap, address, self._context)

    def _ask(self, question: Callable[[Session], T]) -> T:
        if time.monotonic() < self._service_refused:
            raise DirectoryError("the service account was refused a moment ago")
        alive = [server for server in self.ldap.servers if not self._is_dead(server)]
        for server in self.ldap.servers:
            if server not in alive:
                self._asked(server, "skipped", 0)
        if alive:
            return self._ask_each(alive, question)
        # No server answered a moment ago: one login tries them again, and the others fail at once
        # instead of waiting as well.
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
            began = time.monotonic()
            try:
                with self.session(server) as session:
                    answer = question(session)
            except DirectoryError as problem:
                self._asked(server, "failed", time.monotonic() - began)
                log.warning("Directory server %s", problem)
                self._dead[server] = time.monotonic() + DEAD_SECONDS
                problems.append(str(problem))
                if isinstance(problem, ServiceAccountError):
                    self._service_refused = time.monotonic() + REFUSED_SECONDS
                if problem.final:
                    raise DirectoryError("; ".join(problems), final=True) from problem
            except LoginRefusedError:
                self._asked(server, "answered", time.monotonic() - began)
                self._dead.pop(server, None)
                raise
            else:
                self._asked(server, "answered", time.monotonic() - began)
                self._dead.pop(server, None)
                return answer
        if not again and self._has_moved():
            return self._ask_each(servers, question, again=True)
        raise DirectoryError("; ".join(problems))

    def _log_in(
        self, session: Session, name: str, password: Sequence[bytes], sent_to: list[str]
    ) -> Person:
        """Return who it is; adds each name that the password is sent with to `sent_to` first."""
        people = People(session, self.ldap)
        if self.ldap.searches:
            session.bind_service()
            entry = people.find(name, self.ldap.name_attributes)
            # As the service account: users themselves often may not read groups.
            person = people.person(entry)
            sent_to.append(entry.dn)
            session.bind(entry.dn, password)
            people.enabled(entry)
            return person
        bound_as = self._bind(session, name, password, sent_to)
        if self.ldap.bind_dn:
            # Users themselves often may not read groups.
            session.bind_service()
        if DN.fullmatch(bound_as):
            entry = people.read(bound_as) or Entry(bound_as)
            return people.person(people.enabled(people.alone(entry, name)), name)
        # Active Directory accepts user@domain as well. That name may belong to one person and its
        # first part to another: the search for either must find exactly one entry.
        also = f"(userPrincipalName={escape_filter_chars(bound_as)})"
        return people.person(people.enabled(people.find(name, self.ldap.name_attributes, also)))

    def _bind(
        self, session: Session, name: str, password: Sequence[bytes], sent_to: list[str]
    ) -> str:
        """Bind as the user; return the name that the server accepted."""
        refusals = []
        for template in self.ldap.dn_templates:
            bind_as = filled_in(template, name)
            sent_to.append(bind_as)
            try:
                session.bind(bind_as, password)
            except LoginRefusedError as refused:
                if refused.page:
                    # The password is right: it is this template.
                    raise
                refusals.append(str(refused))
            else:
                return bind_as
        raise LoginRefusedError("; ".join(refusals))

    def _look_up(self, session: Session, name: str, attributes: Sequence[str]) -> Person:
        session.bind_service()
        people = People(session, self.ldap)
        if self.ldap.searches:
            return people.person(people.enabled(people.find(name, attributes)))
        for template in self.ldap.dn_templates:
            # Who is gone loses a running server.
            entry = people.read(filled_in(template, name), GONE)
            if entry:
                return people.person(people.enabled(people.alone(entry, name)), name)
        raise LoginRefusedError(f"{session.address} has no entry for {name!r}")
