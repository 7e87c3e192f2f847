"""Login as JupyterHub does it: the model, messages to users and log, and how long it takes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import StaticPool, create_engine
from sqlalchemy.orm import Session
from tornado import httputil, web
from zhub import audit
from zhub.front import origin
from zhub.login import authenticator as module
from zhub.login import directory
from zhub.login.attempts import PER_ADDRESS, PER_NAME
from zhub.login.authenticator import DirectoryAuthenticator
from zhub.login.directory import session
from zhub.login.measures import Outcome
from zhub.settings.ldap import Ldap, LdapTls
from zhub.state import logins, persons

from tests.images.hub import slapd
from tests.images.hub.scripted_ldap import Client, mute, scripted
from tests.images.hub.slapd import (
    HIDDEN_IDENTIFIERS,
    PASSWORDS,
    SERVICE,
    SUFFIX,
    Slapd,
    group_dn,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with slapd.running(tmp_path_factory.mktemp("slapd") / "server") as server:
        yield server


@pytest.fixture
def options(server: Slapd, tmp_path: Path) -> dict[str, Any]:
    """Settings with a service account."""
    (tmp_path / "password").write_text(slapd.SERVICE_PASSWORD)
    return {
        "servers": ("127.0.0.1",),
        "port": server.port,
        "ca_file": server.ca_file,
        "bind_dn": SERVICE,
        "bind_password_file": tmp_path / "password",
        "search_base": SUFFIX,
        "allowed_groups": (group_dn("jupyter"),),
        "admin_groups": (group_dn("admins"),),
    }


Make = Callable[..., DirectoryAuthenticator]


@pytest.fixture
def make(options: dict[str, Any]) -> Make:
    def make(traits: dict[str, Any] | None = None, **more: Any) -> DirectoryAuthenticator:
        ldap = Ldap(**options | more)
        return DirectoryAuthenticator(
            ldap=ldap,
            allowed_groups=list(ldap.allowed_groups),
            allow_all=ldap.allow_everyone,
            allow_existing_users=False,
            **traits or {},
        )

    return make


def database() -> Session:
    """A hub's database in memory, as far as logins are recorded."""
    db = Session(create_engine("sqlite://", poolclass=StaticPool))
    db.connection().exec_driver_sql(logins.SCHEMA)
    db.connection().exec_driver_sql(persons.SCHEMA)
    db.commit()
    return db


class Page(web.RequestHandler):
    """The part of JupyterHub's request handler that the authenticator uses."""

    hub = SimpleNamespace(base_url="/hub/")
    db = database()


@pytest.fixture(autouse=True)
def nobody_has_logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database without records: entries that a test makes again are of other people."""
    monkeypatch.setattr(Page, "db", database())


HUB = web.Application(cookie_secret="x" * 32)


def browser(address: str = "192.0.2.1", peer: str = "127.0.0.1", cookie: str = "") -> Any:
    """Return a request through the proxy, which adds an address; or straight from a peer."""
    connection: Any = SimpleNamespace(
        context=SimpleNamespace(address=(peer, 40000), remote_ip=peer, protocol="https"),
        set_close_callback=lambda _: None,
    )
    sent = {"Host": "hub.example.org", "X-Forwarded-For": address, "Cookie": cookie}
    headers = httputil.HTTPHeaders(sent)
    line = httputil.RequestStartLine("POST", "/hub/login", "HTTP/1.1")
    request = httputil.HTTPServerRequest(headers=headers, connection=connection, start_line=line)
    return Page(HUB, request)


async def authenticated(
    authenticator: DirectoryAuthenticator, name: str, password: str, address: str = "192.0.2.1"
) -> Any:
    return await authenticator.get_authenticated_user(
        browser(address), {"username": name, "password": password}
    )


def log_in(authenticator: DirectoryAuthenticator, name: str, password: str | None = None) -> Any:
    """Log in; return JupyterHub's model of the user, None when the user is refused."""
    password = PASSWORDS[name] if password is None else password
    return asyncio.run(authenticated(authenticator, name, password))


def test_a_new_person_of_an_old_name_does_not_inherit(
    make: Make, server: Slapd, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither at a login, nor by a session of the person before."""
    server.change(slapd.person("heir"))
    options = {"allowed_groups": (), "allow_everyone": True}

    def log_in() -> Any:
        return asyncio.run(authenticated(make(**options), "heir", "heir"))

    assert log_in()["name"] == "heir"
    assert log_in()["name"] == "heir"
    server.change(f"dn: uid=heir,ou=people,{SUFFIX}\nchangetype: delete\n\n")
    server.change(slapd.person("heir"))
    with pytest.raises(web.HTTPError) as refused:
        log_in()
    assert refused.value.status_code == 403
    assert "belonged to another person before" in str(refused.value.log_message)
    assert "is not the entry that heir was before (entryuuid:" in caplog.text
    user: Any = SimpleNamespace(name="heir", db=Page.db)
    assert asyncio.run(make(**options).refresh_user(user)) is False
    server.change(f"dn: uid=heir,ou=people,{SUFFIX}\nchangetype: delete\n\n")


def test_who_shows_no_identifier_any_more_may_not_log_in_but_stays_logged_in(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be a new person of an old name; a lost right must not end everybody's work, though."""
    with slapd.running(tmp_path / "hidden", access=HIDDEN_IDENTIFIERS) as hidden:
        changed = make(port=hidden.port, ca_file=hidden.ca_file)
        assert log_in(changed, "carol")["name"] == "carol"
        assert log_in(make(), "alice")["name"] == "alice"
        with pytest.raises(web.HTTPError, match="does not say any more whether the name alice"):
            log_in(changed, "alice")
        assert "shows no identifier any more, such as entryUUID" in caplog.text
        assert "make users DO=accept USER=alice" in caplog.text
        user: Any = SimpleNamespace(name="alice", db=Page.db)
        refreshed: Any = asyncio.run(changed.refresh_user(user))
        assert refreshed["name"] == "alice"
        # What `make users DO=accept` does.
        Page.db.connection().exec_driver_sql("DELETE FROM zhub_persons WHERE name = 'alice'")
        assert log_in(changed, "alice")["name"] == "alice"


def test_every_outcome_of_a_login_is_counted_and_reported_for_the_audit_log(
    make: Make, server: Slapd, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a guard, reports are lines of the log."""
    caplog.set_level(logging.INFO, "zhub.audit")

    def counted() -> dict[str, float]:
        name = "zhub_logins_total"
        return {o: REGISTRY.get_sample_value(name, {"outcome": o}) or 0 for o in Outcome}

    def outcome(authenticator: DirectoryAuthenticator, name: str, password: str) -> str:
        caplog.clear()
        before = counted()
        with contextlib.suppress(web.HTTPError):
            asyncio.run(authenticated(authenticator, name, password))
        [said] = [json.loads(r.getMessage()) for r in caplog.records if r.name == "zhub.audit"]
        assert said.pop("at") <= time.time()
        found = str(said.pop("outcome"))
        assert counted() == before | {found: before[found] + 1}
        user = name if found != "invalid" else ""
        assert said == {"event": "login", "user": user, "address": "192.0.2.1"}
        return found

    authenticator = make()
    assert outcome(authenticator, "alice", PASSWORDS["alice"]) == "success"
    assert outcome(authenticator, "dave", PASSWORDS["dave"]) == "not_allowed"
    assert outcome(authenticator, "x\ny" * 50, "x") == "invalid"
    for _ in range(PER_NAME):
        assert outcome(authenticator, "carol", "wrong") == "refused"
    assert outcome(authenticator, "carol", "wrong") == "too_many_failures"
    with scripted(mute) as silent:
        assert outcome(make(port=silent.port), "alice", "x") == "no_answer"
    server.change(slapd.person("heiress"))
    everyone = make(allowed_groups=(), allow_everyone=True)
    assert outcome(everyone, "heiress", "heiress") == "success"
    server.change(f"dn: uid=heiress,ou=people,{SUFFIX}\nchangetype: delete\n\n")
    server.change(slapd.person("heiress"))
    assert outcome(everyone, "heiress", "heiress") == "another_person"
    server.change(f"dn: uid=heiress,ou=people,{SUFFIX}\nchangetype: delete\n\n")


def test_a_member_an_administrator_and_one_who_is_not_allowed(make: Make) -> None:
    authenticator = make()
    alice, carol = log_in(authenticator, "alice"), log_in(authenticator, "carol")
    assert (alice["name"], alice["admin"]) == ("alice", False)
    assert (carol["name"], carol["admin"]) == ("carol", True)
    with pytest.raises(web.HTTPError, match="Your account is not allowed") as caught:
        log_in(authenticator, "dave")
    assert caught.value.status_code == 403


def test_admin_is_set_for_named_administrators_and_unset_for_all_others(make: Make) -> None:
    authenticator = make({"admin_users": {"alice"}}, admin_groups=())
    assert log_in(authenticator, "alice")["admin"] is True
    assert log_in(authenticator, "carol")["admin"] is False


def test_groups_are_set_only_when_configured(make: Make) -> None:
    assert "groups" not in log_in(make(), "carol")
    asked = make({"manage_groups": True}, group_base=f"ou=groups,{SUFFIX}")
    assert log_in(asked, "carol")["groups"] == ["admins", "jupyter"]


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"username": "alice"},
        {"password": "x"},
        {"username": ["alice"], "password": "x"},
        {"username": "alice", "password": {"x": 1}},
        {"username": None, "password": None},
        None,
        ["alice"],
        "alice",
    ],
)
def test_an_incomplete_form_is_refused(make: Make, data: Any) -> None:
    assert asyncio.run(make().get_authenticated_user(browser(), data)) is None


def test_the_log_names_server_step_and_reason_but_no_password(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    authenticator = make()
    authenticator.log = logging.getLogger("test")
    secret = "a wrong secret 1"
    for name in ("alice", "nobody"):
        assert log_in(authenticator, name, secret) is None
    with pytest.raises(web.HTTPError):
        log_in(authenticator, "forged\nline", secret)
    refused, unknown, forged = [
        record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING
    ]
    alice = f"uid=alice,ou=people,{SUFFIX}"
    assert refused == (
        "Login of 'alice' from 192.0.2.1 is refused:"
        f" 127.0.0.1, bind as '{alice}': invalidCredentials"
    )
    assert unknown.startswith("Login of 'nobody' from 192.0.2.1 is refused: 127.0.0.1 has no entry")
    assert "\n" not in forged
    log_in(authenticator, "alice")
    for password in (secret, PASSWORDS["alice"], slapd.SERVICE_PASSWORD):
        assert password not in caplog.text


def test_the_page_says_why_a_right_password_does_not_let_in_and_nothing_to_strangers(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with slapd.with_policies(tmp_path / "policies") as server:
        server.change(slapd.person("gone", "nsAccountLock: TRUE"))
        authenticator = make(port=server.port, ca_file=server.ca_file)
        told = {
            "old": "Your password has expired. Change it where",
            "reset": "You have to change your password first. Change it where",
            "gone": "Your account is disabled.",
        }
        for name, text in told.items():
            # It is no failed login, however often it is tried.
            for _ in range(PER_NAME + 1):
                with pytest.raises(web.HTTPError) as refused:
                    log_in(authenticator, name, name)
                assert refused.value.status_code == 403
                assert str(refused.value.log_message).startswith(text)
        assert (
            "bind as 'uid=old,ou=people,dc=example,dc=org': invalidCredentials: the pass"
            in caplog.text
        )
        # Three wrong passwords lock frank's account, and `nobody` is nobody: all get one answer.
        for name in (*told, "locked", "frank", "nobody"):
            assert [log_in(authenticator, name, "wrong") for _ in range(4)] == [None] * 4
        assert log_in(authenticator, "locked", "locked") is None
        assert log_in(authenticator, "frank") is None
        assert "the account is locked" in caplog.text


@pytest.mark.parametrize("typed", ["Alice", "ALICE", " alice", "alice ", "\tAlice\n"])
def test_a_name_is_one_user_with_one_count_of_failures_however_it_is_typed(
    make: Make, typed: str
) -> None:
    authenticator = make()
    assert log_in(authenticator, typed, PASSWORDS["alice"])["name"] == "alice"
    for _ in range(PER_NAME):
        assert log_in(authenticator, typed, "wrong") is None
    with pytest.raises(web.HTTPError, match="Too many"):
        log_in(authenticator, "alice")


def test_an_invalid_name_takes_no_memory_and_no_bind(make: Make, server: Slapd) -> None:
    authenticator = make()
    before = len(server.binds())
    for number in range(2 * PER_ADDRESS):
        with pytest.raises(web.HTTPError, match="cannot be a user name"):
            log_in(authenticator, f"{'x' * 10_000}{number}", "x")
    assert len(server.binds()) == before
    assert not authenticator.attempts._failures
    assert log_in(authenticator, "alice")["name"] == "alice"


@pytest.mark.parametrize(
    "name", ["o'brien", "a+x", "müller", "EXAMPLE\\alice", "alice bob", "\uff41lice", "*", "alice,"]
)
def test_a_name_that_the_hub_cannot_have_is_explained(make: Make, server: Slapd, name: str) -> None:
    before = len(server.searches())
    with pytest.raises(web.HTTPError, match="up to 64 letters from a to z, digits and") as refused:
        log_in(make(), name, "x")
    assert refused.value.status_code == 403
    assert len(server.searches()) == before


def test_whose_share_of_the_audit_log_a_login_takes(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address's, unless the password was right; and one share for all spellings of a name."""
    shares: list[str] = []
    monkeypatch.setattr(audit, "report", lambda _, *, of, **__: shares.append(of))
    authenticator = make()
    for name, password in (("alice", "alice"), ("Dave", "dave"), ("DAVE", "dave"), ("dave", "")):
        with contextlib.suppress(web.HTTPError):
            log_in(authenticator, name, PASSWORDS.get(password, "wrong"))
    assert shares == ["alice", "dave", "dave", "192.0.2.1"]


def test_a_password_in_the_field_of_the_name_is_not_logged(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(web.HTTPError):
        log_in(make(), "Tr0ub4dor&3", "x")
    assert "Login of '' from 192.0.2.1: not a valid user name" in caplog.text
    assert '"outcome": "invalid"' in caplog.text
    assert "Tr0ub4dor" not in caplog.text


def test_a_burst_of_wrong_passwords_reaches_the_directory_a_few_times(
    make: Make, server: Slapd
) -> None:
    """No more often than one by one: the directory must not lock the account sooner."""
    authenticator = make()

    async def burst() -> list[Any]:
        tries = (authenticated(authenticator, "alice", f"wrong{number}") for number in range(50))
        return await asyncio.gather(*tries, return_exceptions=True)

    before = len(server.binds())
    answers = asyncio.run(burst())
    assert answers.count(None) == PER_NAME
    assert {error.status_code for error in answers if error} == {429}
    assert server.binds()[before:].count(f"uid=alice,ou=people,{SUFFIX}") == PER_NAME


@pytest.mark.parametrize("address", ["192.0.2.1", "192.0.2.{}"])
def test_200_good_logins_at_once_get_in_with_one_bind_each(
    make: Make, server: Slapd, address: str
) -> None:
    """All from one address, as with a class behind one router, and from one address each."""
    authenticator = make()
    people = ["alice", "carol"] * 100

    async def burst() -> list[Any]:
        tries = (
            authenticated(authenticator, name, PASSWORDS[name], address=address.format(number))
            for number, name in enumerate(people)
        )
        return await asyncio.gather(*tries)

    before = len(server.binds())
    assert [model["name"] for model in asyncio.run(burst())] == people
    bound = [dn for dn in server.binds()[before:] if dn != SERVICE]
    assert len(bound) == len(people)


def test_of_200_guesses_for_many_names_50_reach_the_directory(make: Make, server: Slapd) -> None:
    templates = (f"uid={{username}},ou=people,{SUFFIX}",)
    authenticator = make(search_base="", dn_templates=templates)

    async def burst() -> list[Any]:
        tries = (authenticated(authenticator, f"user{n}", "wrong") for n in range(200))
        return await asyncio.gather(*tries, return_exceptions=True)

    before = len(server.binds())
    answers = asyncio.run(burst())
    assert answers.count(None) == PER_ADDRESS
    assert {error.status_code for error in answers if error} == {429}
    assert len(server.binds()) - before == PER_ADDRESS


@pytest.mark.parametrize(
    "password",
    ["A" * 1025, "ü" * 513, "\ud800" * 400, "A" * (1 << 20), "\U0001f600" * 250_000],
    ids=["characters", "bytes", "surrogates", "a megabyte", "a megabyte of signs"],
)
def test_a_long_password_is_refused_before_anything_is_computed(
    make: Make, server: Slapd, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[str] = []
    monkeypatch.setattr(directory, "spellings", computed.append)
    authenticator = make()
    before = len(server.binds())
    begin = time.process_time()
    for _ in range(2 * PER_ADDRESS):
        assert log_in(authenticator, "alice", password) is None
    assert time.process_time() - begin < 2
    assert computed == []
    assert len(server.binds()) == before
    assert not authenticator.attempts._failures
    # Other callers of the directory have the same limit.
    with pytest.raises(session.LoginRefusedError):
        authenticator.directory.log_in("alice", password)


def test_a_large_form_is_not_kept_while_the_login_waits(make: Make, server: Slapd) -> None:
    authenticator = make()
    before = len(server.binds())
    page = browser()
    data = {"username": "alice", "password": PASSWORDS["alice"]}
    page.request.body = b"x" * (module.FORM + 1)
    assert asyncio.run(authenticator.get_authenticated_user(page, data)) is None
    assert len(server.binds()) == before
    page.request.body = b"x" * module.FORM
    answer = asyncio.run(authenticator.get_authenticated_user(page, data))
    assert answer["name"] == "alice"


@pytest.mark.parametrize("password", ["wonder\0land", "\ud800", "", "\u0000" * 1024])
def test_forbidden_characters_in_a_password_are_refused(
    make: Make, server: Slapd, password: str
) -> None:
    before = len(server.binds())
    assert log_in(make(), "alice", password) is None
    assert len(server.binds()) == before


def test_a_password_of_the_greatest_length_is_accepted(make: Make, tmp_path: Path) -> None:
    password = "ü" * 512
    with slapd.running(tmp_path / "long") as server:
        alice = f"uid=alice,ou=people,{SUFFIX}"
        server.change(
            f"dn: {alice}\nchangetype: modify\nreplace: userPassword\nuserPassword: {password}\n\n"
        )
        authenticator = make(port=server.port, ca_file=server.ca_file)
        assert log_in(authenticator, "alice", password)["name"] == "alice"


def test_a_sent_password_counts_whatever_the_answer(make: Make) -> None:
    """A server that closes the connection instead of answering may still have read the password."""
    templates = (f"uid={{username}},ou=people,{SUFFIX}",)

    def hang_up(client: Client) -> None:
        client.search_response(client.request(), {})
        client.request()

    with scripted(hang_up) as broken:
        plain = {"tls": LdapTls.NONE, "port": broken.port, "bind_dn": "", "search_base": ""}
        authenticator = make(dn_templates=templates, **plain)
        for _ in range(PER_NAME):
            authenticator.directory._dead.clear()
            with pytest.raises(web.HTTPError, match="does not answer"):
                log_in(authenticator, "alice", "guess")
        with pytest.raises(web.HTTPError, match="Too many failed"):
            log_in(authenticator, "alice", "guess")


def test_after_too_many_failures_no_more_binds_and_others_get_in(make: Make, server: Slapd) -> None:
    authenticator = make()
    for _ in range(PER_NAME):
        assert log_in(authenticator, "alice", "wrong") is None
    before = len(server.binds())
    with pytest.raises(web.HTTPError, match=r"try again in \d+ seconds") as caught:
        log_in(authenticator, "alice")
    assert caught.value.status_code == 429
    assert len(server.binds()) == before
    elsewhere = asyncio.run(
        authenticated(authenticator, "alice", PASSWORDS["alice"], address="192.0.2.2")
    )
    assert elsewhere["name"] == "alice"
    assert log_in(authenticator, "carol")["name"] == "carol"


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("127.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("127.0.0.1", "::ffff:192.0.2.1", "192.0.2.1"),
        ("127.0.0.1", "10.0.0.1, 192.0.2.1", "192.0.2.1"),
        ("127.0.0.1", "10.0.0.1,2001:db8::1", "2001:db8::1"),
        # A user's server, which reaches the hub without the proxy and may forge the header.
        ("10.213.0.3", "192.0.2.1", "10.213.0.3"),
    ],
)
def test_the_address_is_the_one_the_proxy_saw(peer: str, forwarded: str, address: str) -> None:
    request = browser(forwarded, peer)
    request.request.headers["X-Real-Ip"] = "198.51.100.1"
    assert origin.address(request) == address


def test_a_stranger_at_the_same_address_does_not_lock_out_known_browsers(
    make: Make,
) -> None:
    authenticator = make()

    def log_in(name: str, password: str, cookie: str) -> tuple[Any, str]:
        """Return the user or the error's status, and the browser's cookie after it."""
        page = browser(cookie=cookie)
        data = {"username": name, "password": password}
        try:
            answer = asyncio.run(authenticator.get_authenticated_user(page, data))
        except web.HTTPError as error:
            answer = error.status_code
        kept = getattr(page, "_new_cookie", {}).get(origin.COOKIE)
        if kept:
            assert (kept["path"], kept["httponly"], kept["secure"]) == ("/hub/", True, True)
        return answer, f"{origin.COOKIE}={kept.coded_value}" if kept else cookie

    good = PASSWORDS["alice"]
    _, own = log_in("Alice", good, "")
    assert own.startswith(origin.COOKIE)
    for _ in range(PER_NAME):
        assert log_in("alice", "wrong", "") == (None, "")
    assert log_in("alice", good, "")[0] == 429
    # Neither another user's cookie nor a forged one.
    _, carols = log_in("carol", PASSWORDS["carol"], "")
    for cookie in (carols, f"{origin.COOKIE}=alice", own[:-3]):
        assert log_in("alice", good, cookie)[0] == 429
    answer, renewed = log_in("alice", good, own)
    assert answer["name"] == "alice"
    # The number of guesses is limited also in a browser that was left open.
    for _ in range(PER_NAME):
        assert log_in("alice", "wrong", renewed)[0] is None
    assert log_in("alice", good, renewed)[0] == 429


def test_50_logins_at_a_mute_directory_leave_the_hub_alone(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "ANSWER_SECONDS", 1)

    async def logins(authenticator: DirectoryAuthenticator) -> tuple[list[Any], float]:
        """Log in while a clock ticks; return the longest time between two ticks."""
        tasks = asyncio.gather(
            *(authenticated(authenticator, f"user{n}", "x") for n in range(50)),
            return_exceptions=True,
        )
        longest = 0.0
        while not tasks.done():
            begin = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - begin)
        return await tasks, longest

    with scripted(mute) as silent:
        authenticator = make(port=silent.port)
        begin = time.monotonic()
        failures, longest = asyncio.run(logins(authenticator))
        took = time.monotonic() - begin
    assert [failure.status_code for failure in failures] == [503] * 50
    assert "The directory does not answer" in str(failures[0])
    assert longest < 0.5
    # Logins that waited for a thread do not also wait for the directory.
    assert took < 4
    assert silent.connections <= module.LOGINS + 2
    # No password was sent, so no failure counts.
    assert not any(authenticator.attempts._failures.values())


def test_logins_beyond_the_queue_are_told_to_try_again(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOGINS", 1)
    monkeypatch.setattr(module, "QUEUE", 1)
    authenticator = make()
    hold = threading.Event()
    monkeypatch.setattr(authenticator.directory, "log_in", lambda *_: hold.wait(10))

    async def three() -> Any:
        tasks = [
            asyncio.create_task(authenticated(authenticator, f"user{n}", "x")) for n in range(3)
        ]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        hold.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        (first,) = done
        return first.exception()

    assert asyncio.run(three()).status_code == 503


class TestRefresh:
    """The refresh of a user who logged in some time ago."""

    def refreshed(self, authenticator: DirectoryAuthenticator, name: str) -> Any:
        return asyncio.run(authenticator.refresh_user(SimpleNamespace(name=name, db=Page.db)))

    def test_a_user_who_is_still_allowed(self, make: Make) -> None:
        model = self.refreshed(make(), "carol")
        assert (model["name"], model["admin"]) == ("carol", True)

    @pytest.mark.parametrize("name", ["dave", "nobody", "no name"])
    def test_a_user_who_is_not_allowed_any_more(self, make: Make, name: str) -> None:
        assert self.refreshed(make(), name) is False

    def test_groups_are_those_of_the_last_answer(self, make: Make) -> None:
        members, others = group_dn("jupyter"), group_dn("admins")
        authenticator = make(further_groups=(others,))
        assert authenticator.groups_of("alice") is None
        for name in ("alice", "carol", "dave"):
            self.refreshed(authenticator, name)
        assert authenticator.groups_of("alice") == frozenset({members})
        assert authenticator.groups_of("carol") == frozenset({members, others})
        assert authenticator.groups_of("dave") == frozenset()

    def test_without_a_service_account_the_last_login_counts(self, make: Make) -> None:
        authenticator = make(bind_dn="", dn_templates=(f"uid={{username}},ou=people,{SUFFIX}",))
        db = database()

        def refreshed(name: str) -> Any:
            return asyncio.run(authenticator.refresh_user(SimpleNamespace(name=name, db=db)))

        assert refreshed("alice") is False
        logins.record(db, "alice")
        assert refreshed("alice") is True
        logins.record(db, "alice", at=time.time() - logins.COUNTS)
        assert refreshed("alice") is False

    def test_a_silent_directory_refuses_nobody_and_delays_no_page(
        self, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "PATIENCE", 0.2)
        monkeypatch.setattr(session, "ANSWER_SECONDS", 1)

        async def timed(authenticator: DirectoryAuthenticator) -> tuple[Any, float]:
            begin = time.monotonic()
            user = SimpleNamespace(name="alice", db=Page.db)
            answers = await asyncio.gather(*(authenticator.refresh_user(user) for _ in range(20)))
            return answers, time.monotonic() - begin

        with scripted(mute) as silent:
            answers, took = asyncio.run(timed(make(port=silent.port)))
            assert answers == [True] * 20
            assert took < 0.8
            # A user is never looked up twice at the same time.
            assert silent.connections == 1

    def test_a_late_answer_counts_at_the_next_request(
        self, make: Make, server: Slapd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "PATIENCE", 0.2)
        slow = threading.Event()

        async def twice(authenticator: DirectoryAuthenticator) -> list[Any]:
            user = SimpleNamespace(name="dave", db=Page.db)
            look_up = authenticator.directory.look_up

            def late(name: str) -> Any:
                slow.wait(10)
                return look_up(name)

            monkeypatch.setattr(authenticator.directory, "look_up", late)
            first = await authenticator.refresh_user(user)
            slow.set()
            await asyncio.wait(list(authenticator._under_way.values()))
            slow.clear()
            second = await authenticator.refresh_user(user)
            slow.set()
            return [first, second]

        assert asyncio.run(twice(make())) == [True, False]

    def test_a_refused_user_stays_out_while_the_directory_is_down(
        self, make: Make, tmp_path: Path
    ) -> None:
        with slapd.running(tmp_path / "leaving") as server:
            authenticator = make(port=server.port, ca_file=server.ca_file)
            log_in(authenticator, "alice")
            server.change(f"dn: uid=alice,ou=people,{SUFFIX}\nchangetype: delete\n\n")
            assert self.refreshed(authenticator, "alice") is False
            assert self.refreshed(authenticator, "carol")["admin"] is True
        assert self.refreshed(authenticator, "alice") is False
        assert self.refreshed(authenticator, "carol")["admin"] is True
        assert self.refreshed(authenticator, "frank") is True

    def test_a_user_who_comes_back_is_allowed(self, make: Make, tmp_path: Path) -> None:
        with slapd.running(tmp_path / "returning") as server:
            authenticator = make(port=server.port, ca_file=server.ca_file)
            assert self.refreshed(authenticator, "dave") is False
            server.change(
                f"dn: {group_dn('jupyter')}\nchangetype: modify\nadd: member\n"
                f"member: uid=dave,ou=people,{SUFFIX}\n\n"
            )
            assert log_in(authenticator, "dave")["name"] == "dave"
        assert self.refreshed(authenticator, "dave")["name"] == "dave"
