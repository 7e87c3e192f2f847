"""Login with a name and password of the site's directory."""

from __future__ import annotations

import asyncio
import math
import shlex
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from jupyterhub.handlers import BaseHandler
from jupyterhub.user import User
from ldapauthenticator import LDAPAuthenticator
from tornado import web
from traitlets import Callable as Callable_
from traitlets import Instance, default
from traitlets.config import Application

from zhub import audit
from zhub.front import origin, site
from zhub.login.attempts import Attempts, BusyError, TooManyFailuresError, Turn
from zhub.login.directory import Directory, too_long
from zhub.login.directory.people import Person, administers, allowed, may_be_typed
from zhub.login.directory.session import DirectoryError, LoginRefusedError
from zhub.login.logout import EverywhereLogoutHandler, end_sessions
from zhub.login.measures import Outcome, asked, count_from_now, ended
from zhub.login.tokens import LimitedTokenHandler
from zhub.settings.ldap import Ldap
from zhub.state import logins, persons
from zhub.state.persons import Match

T = TypeVar("T")

LOGINS = 16
"""Logins that wait for the directory at a time; the others queue."""

QUEUE = 1000
"""Logins in the queue; further ones get an error that says to try again."""

FORM = 16 << 10
"""Bytes of a login form: the longest password with each byte escaped as three, and the rest."""

WRONG_NAME = (
    "This cannot be a user name here: names have up to 64 letters from a to z, digits and"
    " @ # $ . _ - without blanks. Type yours without a domain and backslash in front, or ask your"
    " administrator which name to use."
)
"""What the page says about names that the directory is not asked about."""

PROVEN = {Outcome.SUCCESS, Outcome.NOT_ALLOWED, Outcome.ANOTHER_PERSON}
"""With the right password, so that it is known who it was."""

LOOK_UPS = 4
"""Users looked up again at a time."""

PATIENCE = 2
"""Seconds a page waits for the look-up of its user; a later answer counts for the next page."""


class DirectoryAuthenticator(LDAPAuthenticator):  # type: ignore[misc] # untyped
    """LDAPAuthenticator that asks the directory through `zhub.login.directory`, in threads.

    The parent class still decides who may log in, by `allow_all` and `allowed_groups`. Its own
    client has one server, no time limits and no certificate verification by default, and blocks
    the hub.
    """

    ldap = Instance(Ldap, config=True, help="The directory, and who may log in.")

    directory_has_moved = Callable_(
        config=True, help="Called when no server answers: whether to ask again at once."
    )

    @default("directory_has_moved")
    def _never(self) -> Callable[[], bool]:
        return lambda: False

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.directory = Directory(self.ldap, self.directory_has_moved, asked)
        count_from_now(self.ldap.servers)
        self.attempts = Attempts()
        self._logins = Pool(LOGINS, QUEUE)
        self._look_ups = Pool(LOOK_UPS, QUEUE)
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._let_in: dict[str, Person | None] = {}

    async def authenticate(
        self, handler: BaseHandler | None, data: dict[str, str]
    ) -> dict[str, Any] | None:
        """Check name and password with the directory.

        Raises:
            tornado.web.HTTPError: 403 when the password is right, but the user may not log in, or
                the name cannot be one; 429 after too many failed logins; 503 when no server of the
                directory answers, or too many log in at once.
        """
        form = typed(data)
        if not form:
            return None
        name, password = form
        address = origin.address(handler) if handler else ""
        # A form with more fields than these two would stay in memory while the login waits.
        large = handler is not None and len(handler.request.body) > FORM
        valid = may_be_typed(self.ldap, name)
        if large or not valid or too_long(password):
            # The directory is never asked about these, so they are no attempts.
            # What is no name may be a password, typed into the wrong field.
            shown = name if valid else ""
            _ended(Outcome.INVALID, shown, address)
            self.log.warning(
                "Login of %r from %s: not a valid user name, or the password is too long",
                shown,
                address,
            )
            if name and not valid:
                raise web.HTTPError(403, WRONG_NAME)
            return None
        try:
            async with self.attempts.turn(
                name, origin.origin(handler, name) if handler else ""
            ) as turn:
                person = await self._person(name, password, address, turn)
        except TooManyFailuresError as many:
            _ended(Outcome.TOO_MANY_FAILURES, name, address)
            self.log.warning("Login of %.64r from %s: too many failed logins", name, address)
            raise web.HTTPError(
                429,
                f"Too many failed logins. Please try again in {math.ceil(many.seconds)} seconds.",
            ) from None
        except BusyError:
            _ended(Outcome.BUSY, name, address)
            self.log.warning("Login of %.64r from %s: too many logins at once", name, address)
            raise web.HTTPError(
                503, "Too many logins at the same time. Please try again in a minute."
            ) from None
        if not person:
            return None
        if handler:
            origin.remember(handler, name)
        if not self._keep(person.name, person):
            _ended(Outcome.NOT_ALLOWED, name, address)
            self.log.warning(
                "Login of %s from %s: %s is in no allowed group", name, address, person.dn
            )
            raise web.HTTPError(403, site.not_allowed())
        if handler:
            self._check_owner(handler, person, address)
            logins.record(handler.db, person.name)
        _ended(Outcome.SUCCESS, person.name, address)
        return self.model(person)

    def _check_owner(self, handler: BaseHandler, person: Person, address: str) -> None:
        """Refuse a new person of an old name, whose home is another person's.

        Raises:
            tornado.web.HTTPError: 403; also where nobody can tell whether it is one.
        """
        match = persons.claim(handler.db, person.name, person.identities)
        if match is Match.SAME:
            return
        _ended(Outcome.ANOTHER_PERSON, person.name, address)
        if match is Match.NOT_SHOWN:
            self.log.warning(
                "Login of %s from %s: %s shows no identifier any more, such as entryUUID, so this"
                " may be another person than before: let the account that reads the directory read"
                " it; or, for a directory that has none: make users DO=accept USER=%s",
                person.name,
                address,
                person.dn,
                shlex.quote(person.name),
            )
            raise web.HTTPError(403, site.not_recognized(person.name))
        self.log.warning(
            "Login of %s from %s: %s is not the entry that %s was before (%s)",
            person.name,
            address,
            person.dn,
            person.name,
            ", ".join(sorted(person.identities)),
        )
        raise web.HTTPError(403, site.another_person(person.name))

    async def _person(self, name: str, password: str, address: str, turn: Turn) -> Person | None:
        """Ask the directory, and record the outcome in `turn`; return None for a refused login."""
        try:
            person = await self._logins.run(lambda: self.directory.log_in(name, password))
        except LoginRefusedError as refused:
            _ended(Outcome.REFUSED, name, address)
            self.log.warning("Login of %.64r from %s is refused: %s", name, address, refused)
            if refused.page:
                turn.succeeded()
                raise web.HTTPError(403, refused.page) from None
            return None
        except DirectoryError as problem:
            _ended(Outcome.NO_ANSWER, name, address)
            if not problem.sent:
                turn.was_not_sent()
            self.log.warning("Login of %.64r from %s: no answer: %s", name, address, problem)
            raise web.HTTPError(
                503, "The directory does not answer. Please try again in a moment."
            ) from problem
        turn.succeeded()
        return person

    def get_handlers(self, app: Application) -> list[tuple[str, type[BaseHandler]]]:
        """Add the pages that replace JupyterHub's own."""
        return [
            *super().get_handlers(app),
            ("/logout", EverywhereLogoutHandler),
            ("/api/users/([^/]+)/tokens", LimitedTokenHandler),
        ]

    def delete_user(self, user: User) -> None:
        """Forget a user whom an administrator deletes."""
        super().delete_user(user)
        logins.forget(user.db, user.name)

    def model(self, person: Person) -> dict[str, Any]:
        """Return JupyterHub's model of a person.

        It always has `admin`, so that a user who left the administrators' group loses the role.
        """
        model: dict[str, Any] = {
            "name": person.name,
            "admin": person.name in self.admin_users or administers(self.ldap, person),
            "auth_state": {"ldap_groups": sorted(person.groups)},
        }
        if self.manage_groups:
            model["groups"] = list(person.all_groups)
        return model

    async def refresh_user(
        self, user: User, handler: BaseHandler | None = None
    ) -> bool | dict[str, Any]:
        """Look a user up again.

        Returns:
            The user's present model; False when the user may not log in any more. When the
            directory does not answer, what it said last; True (unchanged) if it has said nothing.
            Without a service account nobody can be looked up: then False when the last login with
            a password is too long ago (`zhub.state.logins`), for pages, tokens and servers alike.
        """
        if handler is not None and not hasattr(handler, "_token_authenticated"):
            # JupyterHub 6.1.1 reads this attribute when it refuses a page's user, but sets it only
            # for tokens: the user would see an internal error instead of the login page.
            handler._token_authenticated = False  # noqa: SLF001 - see above
        if not self.ldap.bind_dn:
            return logins.counts(user.db, user.name)
        # A late answer counts at the next request, and the last one until then: a removed user
        # does not get back in because the directory is slow or down.
        try:
            await asyncio.wait_for(asyncio.shield(self._look_up(user.name)), PATIENCE)
        except TimeoutError:
            self.log.warning("the look-up of %s takes longer than %d s", user.name, PATIENCE)
        if user.name not in self._let_in:
            return True
        person = self._let_in[user.name]
        # Without an identifier it may well be the same: then only the next login is refused.
        if person and persons.claim(user.db, user.name, person.identities) is Match.ANOTHER:
            self.log.warning("%s is another person's name now: %s", user.name, person.dn)
            person = None
        if not person and handler is not None and not handler._token_authenticated:  # noqa: SLF001
            # So that even a restarted hub, with the directory down, does not accept them again.
            end_sessions(user)
        return self.model(person) if person else False

    def groups_of(self, name: str) -> frozenset[str] | None:
        """Return the configured groups of a user, by the directory's last answer.

        A start asks the directory first (`refresh_pre_spawn`). None without an answer since the
        hub's own start.
        """
        if name not in self._let_in:
            return None
        person = self._let_in[name]
        return person.groups if person else frozenset()

    def _look_up(self, name: str) -> asyncio.Task[None]:
        """Return the look-up of a user that is under way, or start one."""
        if name not in self._under_way:
            task = asyncio.create_task(self._look_up_now(name), name=f"look up {name}")
            self._under_way[name] = task
            task.add_done_callback(lambda _: self._under_way.pop(name))
        return self._under_way[name]

    async def _look_up_now(self, name: str) -> None:
        """Look a user up and keep the answer; change nothing when the directory does not answer."""
        try:
            person = await self._look_ups.run(lambda: self.directory.look_up(name))
        except LoginRefusedError as refused:
            self.log.warning("%s may not log in any more: %s", name, refused)
            self._let_in[name] = None
        except DirectoryError as problem:
            self.log.warning("%s could not be looked up again: %s", name, problem)
        else:
            if not self._keep(name, person):
                self.log.warning("%s may not log in any more: in no allowed group", name)

    def _keep(self, name: str, person: Person) -> bool:
        """Keep the directory's answer about a user; return whether the user may log in."""
        let_in = allowed(self.ldap, person)
        self._let_in[name] = person if let_in else None
        return let_in


def typed(data: object) -> tuple[str, str] | None:
    """Return name and password of a login form; None for anything else that the API was sent."""
    if not isinstance(data, dict):
        return None
    name, password = data.get("username", ""), data.get("password", "")
    if not isinstance(name, str) or not isinstance(password, str):
        return None
    # Phones add a space after a word that they complete.
    return name.strip(), password


def _ended(outcome: Outcome, name: str, address: str) -> None:
    """Count a login, and have it in the audit log."""
    ended(outcome)
    of = audit.cause(name.lower() if outcome in PROVEN else "", origin.network(address))
    audit.report("login", of=of, user=name[:64], address=address, outcome=outcome)


class Pool:
    """Runs blocking calls in a limited number of threads; refuses calls when its queue is full."""

    def __init__(self, threads: int, queue: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="directory")
        self._free = threads + queue

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work`; raises what it raises, and DirectoryError when too much is waiting."""
        if not self._free:
            raise DirectoryError("too many logins are waiting for the directory")
        self._free -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._free += 1
