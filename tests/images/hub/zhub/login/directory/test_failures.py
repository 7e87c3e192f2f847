"""Logins when a server of the directory misbehaves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from zhub.login import directory as module
from zhub.login.directory import Directory, session
from zhub.login.directory.people import allowed
from zhub.login.directory.session import DirectoryError, LoginRefusedError
from zhub.settings.ldap import Ldap, LdapTls

from tests.images.hub import slapd
from tests.images.hub.scripted_ldap import (
    AND,
    BIND,
    EQUALITY,
    EXTENSIBLE,
    OR,
    SEARCH,
    Client,
    Conversation,
    Request,
    elements,
    mute,
    scripted,
)
from tests.images.hub.slapd import PASSWORDS, SERVICE, SUFFIX, Slapd, group_dn
from tests.pki import Identity, quick_key
from tests.ports import free_port

pytestmark = pytest.mark.slow

PASSWORD = PASSWORDS["alice"]
TEMPLATE = f"uid={{username}},ou=people,{SUFFIX}"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the hub's timeouts as short as tests allow."""
    monkeypatch.setattr(session, "CONNECT_SECONDS", 1)
    monkeypatch.setattr(session, "ANSWER_SECONDS", 1)
    monkeypatch.setattr(session, "SESSION_SECONDS", 3)


def ask(port: int, tls: LdapTls = LdapTls.STARTTLS, **more: Any) -> Directory:
    options: dict[str, Any] = {
        "servers": ("127.0.0.1",),
        "port": port,
        "tls": tls,
        "dn_templates": (TEMPLATE,),
        "allow_everyone": True,
    }
    return Directory(Ldap(**options | more))


def cut_off_at_once(client: Client) -> None:
    client.socket.close()


def cut_off_after_starttls(client: Client) -> None:
    client.extended_response(client.request(), 0)


def refuse_starttls(client: Client) -> None:
    client.extended_response(client.request(), 2)
    mute(client)


def no_tls_after_starttls(client: Client) -> None:
    client.extended_response(client.request(), 0)
    client.socket.sendall(b"not TLS at all")
    mute(client)


def wrong_message_id(client: Client) -> None:
    request = client.request()
    client.extended_response(replace(request, id=77), 0)
    mute(client)


def notice_of_disconnection(client: Client) -> None:
    # RFC 4511, section 4.4.1
    oid = b"1.3.6.1.4.1.1466.20036"
    body = b"\x0a\x01\x34\x04\x00\x04\x00\x8a" + bytes([len(oid)]) + oid
    operation = b"\x78" + bytes([len(body)]) + body
    client.socket.sendall(b"\x30" + bytes([len(operation) + 3]) + b"\x02\x01\x00" + operation)
    mute(client)


def drip(client: Client) -> None:
    """Answer one byte at a time, each before the timeout."""
    client.socket.sendall(b"\x30\x84\x00\x01\x00\x00")
    for _ in range(600):
        time.sleep(0.1)
        client.socket.sendall(b"\x00")


@pytest.mark.parametrize("tls", [LdapTls.STARTTLS, LdapTls.LDAPS])
@pytest.mark.parametrize(
    "conversation",
    [
        mute,
        cut_off_at_once,
        cut_off_after_starttls,
        refuse_starttls,
        no_tls_after_starttls,
        wrong_message_id,
        notice_of_disconnection,
        drip,
    ],
)
def test_a_missing_answer_is_reported_in_time_and_no_password_sent(
    conversation: Conversation, tls: LdapTls
) -> None:
    with scripted(conversation) as server:
        begin = time.monotonic()
        with pytest.raises(DirectoryError, match=r"^127\.0\.0\.1, "):
            ask(server.port, tls).log_in("alice", PASSWORD)
        assert time.monotonic() - begin < 5
    assert PASSWORD.encode() not in server.received
    assert b"alice" not in server.received


@hypothesis_settings(deadline=None, max_examples=60)
@given(
    st.binary(max_size=60)
    | st.binary(max_size=30).map(lambda tail: b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00" + tail)
    | st.binary(max_size=30).map(lambda tail: b"\x30\x84\x00\x00\x00\x10" + tail)
)
def test_malformed_answers_let_nobody_in(rubbish: bytes) -> None:
    def conversation(client: Client) -> None:
        client.request()
        client.socket.sendall(rubbish)

    with scripted(conversation) as server, pytest.raises(DirectoryError):
        ask(server.port, LdapTls.NONE).log_in("alice", PASSWORD)
    assert PASSWORD.encode() not in server.received


def bound(client: Client, then: Callable[[Request], None]) -> None:
    """Answer the first search, then the bind as given."""
    client.search_response(client.request(), {"": {}})
    then(client.request())


def test_a_password_is_sent_once_even_when_no_answer_comes() -> None:
    """Each password sent could count as a failed login, and lock the account."""
    with scripted(lambda client: bound(client, lambda _: mute(client))) as server:
        directory = ask(server.port, LdapTls.NONE, servers=("127.0.0.1", "localhost"))
        with pytest.raises(DirectoryError, match="bind"):
            directory.log_in("alice", PASSWORD)
    assert server.received.count(PASSWORD.encode()) == 1


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (49, LoginRefusedError),
        (32, LoginRefusedError),
        (53, LoginRefusedError),
        (19, LoginRefusedError),
        (13, DirectoryError),
        (10, DirectoryError),
        (51, DirectoryError),
        (52, DirectoryError),
        (80, DirectoryError),
        (123, DirectoryError),
    ],
)
def test_only_success_is_success(code: int, error: type[Exception]) -> None:
    def conversation(client: Client) -> None:
        bound(client, lambda request: client.bind_response(request, code, "R000\r\nforged line"))
        mute(client)

    with scripted(conversation) as server, pytest.raises(error) as caught:
        ask(server.port, LdapTls.NONE).log_in("alice", PASSWORD)
    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_a_connection_that_was_closed_is_not_opened_again_without_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ldap3 would do so, and send the password in clear."""
    with slapd.running(tmp_path / "slapd") as server:
        directory = ask(server.port, ca_file=server.ca_file)
        with directory.session("127.0.0.1") as session:
            session._connection.strategy.close()
            with pytest.raises(DirectoryError, match="has closed the connection"):
                session.bind(f"uid=alice,ou=people,{SUFFIX}", [PASSWORD.encode()])
        assert server.binds() == []


class TestSeveralServers:
    CERTIFICATE = Identity.create("127.0.0.1", authority=True, key=quick_key())

    @pytest.fixture
    def servers(self, tmp_path: Path) -> Iterator[list[Slapd]]:
        """Two real servers, with one certificate."""
        with (
            slapd.running(tmp_path / "first", self.CERTIFICATE) as first,
            slapd.running(tmp_path / "second", self.CERTIFICATE) as second,
        ):
            yield [first, second]

    def directory(self, servers: list[Slapd], *more: str) -> Directory:
        addresses = tuple(f"127.0.0.1:{server.port}" for server in servers)
        return ask(389, servers=(*more, *addresses), ca_file=servers[0].folder / "tls.crt")

    def test_servers_are_asked_in_order_and_a_stopped_one_is_skipped(
        self, servers: list[Slapd], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = servers
        directory = self.directory(servers)
        directory.log_in("alice", PASSWORD)
        assert (len(first.binds()), len(second.binds())) == (1, 0)
        first.stop()
        directory.log_in("alice", PASSWORD)
        assert (len(first.binds()), len(second.binds())) == (1, 1)
        # After a wrong password, no other server is asked.
        with pytest.raises(LoginRefusedError):
            directory.log_in("alice", "wrong")
        assert len(second.binds()) == 2
        second.stop()
        with pytest.raises(DirectoryError, match=rf"127\.0\.0\.1:{second.port}"):
            directory.log_in("alice", PASSWORD)

    def test_a_server_that_comes_back_is_used_again(
        self, servers: list[Slapd], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "DEAD_SECONDS", 0.2)
        first, second = servers
        directory = self.directory(servers)
        first.stop()
        directory.log_in("alice", PASSWORD)
        assert len(second.binds()) == 1
        with slapd.running(tmp_path / "again", self.CERTIFICATE, port=first.port) as again:
            time.sleep(0.3)
            directory.log_in("alice", PASSWORD)
            assert (len(again.binds()), len(second.binds())) == (1, 1)

    def test_a_server_that_has_moved_is_asked_at_once(self, servers: list[Slapd]) -> None:
        asked = []

        def moved() -> bool:
            asked.append(1)
            directory.ldap = self.directory(servers).ldap
            return len(asked) == 1

        directory = self.directory(servers)
        directory.ldap = replace(directory.ldap, servers=(f"127.0.0.1:{free_port()}",))
        directory._has_moved = moved
        # Nothing listens at the old address; the new one was not open until the hub asked.
        servers_then = directory.ldap.servers
        with pytest.raises(DirectoryError):
            directory._ask_each(servers_then, lambda session: session.tls)
        assert len(asked) == 1
        assert directory.log_in("alice", PASSWORD).name == "alice"
        # After any answer, the hub does not look for another address.
        with pytest.raises(LoginRefusedError):
            directory.log_in("alice", "wrong")
        assert len(asked) == 1

    def test_a_mute_server_delays_only_one_login(self, servers: list[Slapd]) -> None:
        with scripted(mute) as silent:
            directory = self.directory(servers, f"127.0.0.1:{silent.port}")
            took = []
            for _ in range(3):
                begin = time.monotonic()
                directory.log_in("alice", PASSWORD)
                took.append(time.monotonic() - begin)
        assert took[0] > 1
        assert max(took[1:]) < 1
        assert silent.connections == 1


def test_when_all_are_dead_only_one_login_waits() -> None:
    with scripted(mute) as silent:
        directory = ask(silent.port)
        with pytest.raises(DirectoryError):
            directory.log_in("alice", PASSWORD)
        took: list[float] = []

        def log_in() -> None:
            begin = time.monotonic()
            with pytest.raises(DirectoryError):
                directory.log_in("alice", PASSWORD)
            took.append(time.monotonic() - begin)

        threads = [threading.Thread(target=log_in) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(took)[-2] < 0.5 < max(took)
    assert silent.connections == 2


NAMES = ("sAMAccountName", "userPrincipalName")


class Test389:
    """A stand-in that refuses what a real 389 Directory Server was seen to refuse."""

    def conversation(self, client: Client) -> None:
        """Answer searches only after a bind, and with an error to Active Directory's rule."""
        bound = False
        while True:
            request = client.request()
            if request.tag == BIND:
                bound = True
                client.bind_response(request, 0)
            elif request.tag == SEARCH:
                client.search_response(request, *self.found(request, bound=bound))

    def found(
        self, request: Request, *, bound: bool
    ) -> tuple[dict[str, dict[str, list[str]]], int]:
        base, filter_ = request.text(0), request.fields[6]
        if not bound:
            return {}, 48
        if b"1.2.840.113556.1.4.1941" in filter_[1]:
            return {}, 12
        if base == group_dn("jupyter"):
            return ({base: {}} if b"uid=alice" in filter_[1] else {}), 0
        return ({base: {"uid": ["alice"]}} if base.startswith("uid=") else {}), 0

    def test_no_answer_before_the_bind_and_no_rule_for_nested_groups(self) -> None:
        options = {"allow_everyone": False, "allowed_groups": (group_dn("jupyter"),)}
        with scripted(self.conversation) as server:
            for nested in (False, True):
                directory = ask(server.port, LdapTls.NONE, nested_groups=nested, **options)
                assert allowed(directory.ldap, directory.log_in("alice", PASSWORD))
                assert not allowed(directory.ldap, directory.log_in("bob", PASSWORD))

    def test_a_rule_in_a_filter_of_the_site_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "password").write_text("right")
        account = {"bind_dn": SERVICE, "bind_password_file": tmp_path / "password"}
        filter_ = f"(memberOf:1.2.840.113556.1.4.1941:={group_dn('jupyter')})"
        search = {"search_base": SUFFIX, "user_filter": filter_, "dn_templates": ()}
        with (
            scripted(self.conversation) as server,
            pytest.raises(DirectoryError, match="unavailableCriticalExtension"),
        ):
            ask(server.port, LdapTls.NONE, **account, **search).log_in("alice", PASSWORD)


class TestActiveDirectory:
    """A stand-in with features that OpenLDAP lacks: binds as user@domain, and the matching rule."""

    ENTRIES = (
        {"sAMAccountName": ["alice"], "userPrincipalName": ["alice@example.org"]},
        {"sAMAccountName": ["bob"], "userPrincipalName": ["bob.b@example.org"]},
        # This user's short name is the first part of another user's name.
        {"sAMAccountName": ["carol"], "userPrincipalName": ["dave@example.org"]},
        {"sAMAccountName": ["dave"], "userPrincipalName": ["dave2@example.org"]},
        {"sAMAccountName": ["erin"], "userAccountControl": ["514"]},
    )

    def conversation(self, client: Client) -> None:
        while True:
            request = client.request()
            if request.tag == BIND:
                good = request.fields[2] == (0x80, b"right")
                client.bind_response(request, 0 if good else 49)
            elif request.tag == SEARCH:
                client.search_response(request, self.found(request.text(0), request.fields[6]))

    def found(self, base: str, filter_: tuple[int, bytes]) -> dict[str, dict[str, list[str]]]:
        if filter_[0] == EXTENSIBLE:
            rule, kind, value = (part.decode() for _, part in elements(filter_[1])[:3])
            assert (rule, kind) == ("1.2.840.113556.1.4.1941", "memberOf")
            assert value == group_dn("jupyter")
            return {base: {}} if base.startswith("CN=bob") else {}
        if base != SUFFIX:
            return {"": {}} if not base else {}
        assertions = set(self.assertions(filter_))
        return {
            f"CN={entry['sAMAccountName'][0]},{SUFFIX}": entry
            for entry in self.ENTRIES
            if assertions & {value.lower() for name in NAMES for value in entry.get(name, ())}
        }

    def assertions(self, filter_: tuple[int, bytes]) -> Iterator[str]:
        """Return all assertion values of a filter."""
        parts = elements(filter_[1])
        if filter_[0] == EQUALITY:
            yield parts[1][1].decode().lower()
        elif filter_[0] in (AND, OR):
            for part in parts:
                yield from self.assertions(part)

    def directory(self, port: int, **more: Any) -> Directory:
        options: dict[str, Any] = {
            "dn_templates": ("{username}@example.org",),
            "search_base": SUFFIX,
            "name_attributes": NAMES,
            "allow_everyone": False,
            "allowed_groups": (group_dn("jupyter"),),
            "nested_groups": True,
        }
        return ask(port, LdapTls.NONE, **options | more)

    def test_user_at_domain_and_nested_groups(self) -> None:
        with scripted(self.conversation) as server:
            directory = self.directory(server.port)
            assert directory.log_in("ALICE", "right").name == "alice"
            assert not allowed(directory.ldap, directory.log_in("alice", "right"))
            bob = directory.log_in("bob", "right")
            assert allowed(directory.ldap, bob)
            with pytest.raises(LoginRefusedError):
                directory.log_in("bob", "wrong")
            flat = self.directory(server.port, nested_groups=False)
            assert not allowed(flat.ldap, flat.log_in("bob", "right"))

    def test_one_identity_whatever_is_typed(self, tmp_path: Path) -> None:
        (tmp_path / "password").write_text("right")
        with scripted(self.conversation) as server:
            directory = self.directory(
                server.port,
                dn_templates=(),
                bind_dn=SERVICE,
                bind_password_file=tmp_path / "password",
            )
            for typed in ("bob", "Bob", "bob.b@example.org"):
                assert directory.log_in(typed, "right").name == "bob"

    def test_a_name_of_two_people_is_refused(self) -> None:
        with scripted(self.conversation) as server:
            directory = self.directory(server.port)
            with pytest.raises(LoginRefusedError, match="several entries"):
                directory.log_in("dave", "right")

    @pytest.mark.parametrize(("code", "page"), [("532", "Your password has expired."), ("775", "")])
    def test_it_says_why_it_refuses(self, code: str, page: str) -> None:
        def conversation(client: Client) -> None:
            text = (
                f"80090308: LdapErr: DSID-0C09, AcceptSecurityContext error, data {code}, v3839\0"
            )
            bound(client, lambda request: client.bind_response(request, 49, text))
            mute(client)

        with scripted(conversation) as server, pytest.raises(LoginRefusedError) as refused:
            self.directory(server.port).log_in("alice", "right")
        assert f"data {code}, v3839?): the " in str(refused.value)
        assert refused.value.page.startswith(page)
        assert bool(refused.value.page) is bool(page)

    def test_a_disabled_account(self) -> None:
        with scripted(self.conversation) as server, pytest.raises(LoginRefusedError, match="514"):
            self.directory(server.port).log_in("erin", "right")
