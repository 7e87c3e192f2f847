"""Logins, look-ups and the doctor's check with a real Active Directory: Samba's."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ldap3
import pytest
from zhub import settings
from zhub.login import check_directory, recheck
from zhub.login.directory import Directory
from zhub.login.directory.reasons import DISABLED, EXPIRED, LOCKED, MUST_CHANGE
from zhub.login.directory.session import DirectoryError, LoginRefusedError
from zhub.settings.folders import SharedFolder
from zhub.settings.ldap import Ldap, LdapTls

from tests.images.hub import samba
from tests.images.hub.binds import answer
from tests.images.hub.profiles import profile
from tests.images.hub.real_directory import assert_refused
from tests.images.hub.recorded_answers import SAMBA, SAMBA_WRONG
from tests.images.hub.samba import PASSWORD, PEOPLE, SERVICE, SUFFIX, Samba, group_dn, person_dn

pytestmark = pytest.mark.long

DOMAIN_USERS = f"CN=Domain Users,CN=Users,{SUFFIX}"
ODD_GROUP = 'Team+Üb, "x"'

#: The groups that are in another group, or are somebody's primary group.
NESTED, EVERYBODY = group_dn("Nested"), group_dn("Everybody")

PASSWORDS = {"Bob": "Grün-&-blau-1", "carol": "Erin's, b=c+d 1", "dave": 'x"(*)(uid=*)1'}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Samba]:
    """A domain; whoever uses it is in its network namespace."""
    with samba.running(tmp_path_factory.mktemp("samba") / "ad") as server:
        alice = server.person("alice", cn="Müller, Älice + Co")
        people = {
            name: server.person(name, unicodePwd=f'"{password}"'.encode("utf-16-le"))
            for name, password in PASSWORDS.items()
        }
        server.person("o'brien", cn="O'Brien")
        server.person("müller")
        server.person("grace", userPrincipalName="g.hopper@example.org")
        server.person("expired", accountExpires=132000000000000000)
        server.person("disabled", userAccountControl=samba.DISABLED)
        server.person("reset", pwdLastSet=0)
        server.person("night", logonHours=bytes(21))
        server.person("station", userWorkstations="PC1")
        server.person("locked")
        server.age(server.person("old"))
        for _ in range(samba.LOCKED_AFTER):
            assert answer(host(), "locked@example.org", "wrong").code == 49
        team = server.group("Team", people["carol"])
        odd = server.group("Odd", team, people["dave"], cn=ODD_GROUP)
        server.group("Nested", odd)
        server.group("Jupyter", alice, people["Bob"])
        server.group("Admins", people["Bob"])
        server.group("Everybody", DOMAIN_USERS)
        yield server


def host(port: int = 636) -> ldap3.Server:
    return ldap3.Server("127.0.0.1", port, use_ssl=True, get_info=ldap3.NONE)


Make = Callable[..., Ldap]


@pytest.fixture
def ldap(server: Samba, tmp_path: Path) -> Make:
    """Makes settings as docs/identity.md has them; keywords change them."""
    secret = tmp_path / "password"
    secret.write_text(f"{PASSWORD}\n")

    def make(**more: Any) -> Ldap:
        options: dict[str, Any] = {
            "servers": ("127.0.0.1",),
            "port": 636,
            "tls": LdapTls.LDAPS,
            "ca_file": server.ca_file,
            "bind_dn": SERVICE,
            "bind_password_file": secret,
            "search_base": SUFFIX,
            "name_attributes": ("sAMAccountName", "userPrincipalName"),
            "user_filter": "(&(objectCategory=person)(objectClass=user))",
            "allowed_groups": (group_dn("Jupyter"),),
            "admin_groups": (group_dn("Admins"),),
            "nested_groups": True,
        }
        return Ldap(**options | more)

    return make


@pytest.fixture
def ask(ldap: Make) -> Callable[..., Directory]:
    return lambda **more: Directory(ldap(**more))


Ask = Callable[..., Directory]

AS_THE_USER = {"bind_dn": "", "bind_password_file": None}


@pytest.mark.parametrize(
    "typed", ["alice", "ALICE", "alice@example.org", "Alice@EXAMPLE.ORG", "alice@Example.org"]
)
def test_a_name_is_one_person_however_it_is_typed(ask: Ask, typed: str) -> None:
    person = ask().log_in(typed, PASSWORD)
    assert (person.name, {*person.groups}) == ("alice", {group_dn("Jupyter")})
    assert person.dn == r"CN=Müller\, Älice \+ Co,OU=People,DC=example,DC=org"
    assert [one.partition(":")[0] for one in person.identities] == ["objectguid"]


@pytest.mark.parametrize("name", PASSWORDS)
def test_passwords_with_all_kinds_of_characters(ask: Ask, name: str) -> None:
    assert ask().log_in(name, PASSWORDS[name]).name == name.lower()
    with pytest.raises(LoginRefusedError, match="data 52e") as refused:
        ask().log_in(name, PASSWORDS[name].upper())
    assert not refused.value.page


@pytest.mark.parametrize("typed", ["EXAMPLE\\alice", "o'brien", "müller", "o'brien@example.org"])
def test_names_that_the_hub_cannot_have(ask: Ask, typed: str) -> None:
    with pytest.raises(LoginRefusedError, match="is not a valid user name"):
        ask().log_in(typed, PASSWORD)


def test_a_principal_name_that_is_not_the_account_name(ask: Ask) -> None:
    assert ask().log_in("g.hopper@example.org", PASSWORD).name == "grace"
    directory = ask(**AS_THE_USER, dn_templates=("{username}@example.org",))
    for typed in ("grace", "g.hopper"):
        assert directory.log_in(typed, PASSWORD).name == "grace"


@pytest.mark.parametrize("account", ["dc1$", "krbtgt", "nobody"])
def test_no_person(ask: Ask, account: str) -> None:
    with pytest.raises(LoginRefusedError):
        ask().log_in(account, PASSWORD)


@pytest.mark.parametrize("template", ["{username}@example.org", "EXAMPLE\\{username}"])
def test_without_a_service_account(ask: Ask, template: str) -> None:
    groups = {"allowed_groups": (group_dn("Jupyter"), NESTED, EVERYBODY)}
    directory = ask(**AS_THE_USER, **groups, dn_templates=(template,))
    assert directory.log_in("Bob", PASSWORDS["Bob"]).groups == {
        group_dn("Jupyter"),
        group_dn("Admins"),
        EVERYBODY,
    }
    assert directory.log_in("carol", PASSWORDS["carol"]).groups == {NESTED, EVERYBODY}


def test_by_dn(ask: Ask) -> None:
    by_dn = {"search_base": "", "user_filter": "", "dn_templates": (f"CN={{username}},{PEOPLE}",)}
    more = {"name_attributes": ("cn",), "allowed_groups": (NESTED,)}
    for account in ({}, AS_THE_USER):
        person = ask(**by_dn, **more, **account).log_in("dave", PASSWORDS["dave"])
        assert (person.name, {*person.groups}) == ("dave", {NESTED})


@pytest.mark.parametrize("account", [SERVICE, "EXAMPLE\\hub", person_dn("hub")])
def test_names_of_the_service_account(ask: Ask, account: str) -> None:
    assert ask(bind_dn=account).look_up("alice").name == "alice"


@pytest.mark.parametrize(
    ("port", "tls"),
    [
        (389, LdapTls.STARTTLS),
        (636, LdapTls.LDAPS),
        # The global catalog.
        (3268, LdapTls.STARTTLS),
        (3269, LdapTls.LDAPS),
    ],
)
def test_connections(ask: Ask, server: Samba, port: int, tls: LdapTls) -> None:
    certificate = server.folder / "tls.crt"
    subprocess.run(["openssl", "verify", "-CAfile", server.ca_file, certificate], check=True)
    assert ask(port=port, tls=tls).log_in("Bob", PASSWORDS["Bob"]).groups == {
        group_dn("Jupyter"),
        group_dn("Admins"),
    }


def test_groups(ask: Ask) -> None:
    groups = (DOMAIN_USERS, EVERYBODY, NESTED, group_dn(ODD_GROUP))
    base = f"OU=Groups,{SUFFIX}"
    nested = ask(allowed_groups=groups, group_base=base).look_up("carol")
    assert nested.groups == set(groups)
    assert nested.all_groups == ("Everybody", "Nested", "Team", ODD_GROUP)
    flat = ask(allowed_groups=groups, group_base=base, nested_groups=False).look_up("carol")
    assert ({*flat.groups}, flat.all_groups) == ({DOMAIN_USERS}, ("Team",))
    alone = ask(allowed_groups=groups, group_base=base).look_up("alice")
    assert ({*alone.groups}, alone.all_groups) == (
        {DOMAIN_USERS, EVERYBODY},
        ("Everybody", "Jupyter"),
    )


def test_a_group_that_is_written_in_another_way(ask: Ask) -> None:
    written = r"cn=Team\2b\C3\9Cb\2c \22x\22, ou=groups,dc=example, dc=org"
    person = ask(allowed_groups=(written,)).look_up("dave")
    assert person.groups == {written}


def test_groups_that_there_are_not(ask: Ask) -> None:
    lost = group_dn("Lost")
    assert ask(allowed_groups=(lost, group_dn(ODD_GROUP), DOMAIN_USERS)).missing_groups() == {lost}


PAGES = {
    "expired": "Your account has expired.",
    "disabled": DISABLED.page,
    "reset": MUST_CHANGE.page,
    "night": "Your account may not log in at this time.",
    "station": "Your account may not log in from the hub's machine.",
    "locked": "",
    "old": EXPIRED.page,
}


@pytest.mark.parametrize(("name", "page"), PAGES.items())
def test_why_an_account_may_not_log_in(ask: Ask, name: str, page: str) -> None:
    assert_refused(ask, name, PASSWORD, page)


@pytest.mark.parametrize("name", SAMBA)
def test_what_the_server_says(server: Samba, name: str) -> None:
    assert server.folder.exists()
    account = f"{name}@example.org"
    assert answer(host(), account, PASSWORD) == SAMBA[name]
    expected = SAMBA[name] if name == "locked" else SAMBA_WRONG
    assert answer(host(), account, "wrong") == expected


def test_running_servers_end_with_the_account_and_its_groups(ask: Ask, server: Samba) -> None:
    refusal = recheck.by_directory(ask(allowed_groups=(EVERYBODY,)))
    assert refusal("expired", (), None) == (
        f"127.0.0.1: the account '{person_dn('expired')}': accountExpires is 132000000000000000"
    )
    assert "userAccountControl is 514" in str(refusal("disabled", (), None))
    # A stranger can lock an account, and passwords expire while people work.
    assert [refusal(name, (), None) for name in ("locked", "old", "reset", "dave")] == [None] * 4
    left = recheck.by_directory(ask())
    dave = person_dn("dave")
    assert left("dave", (), None) == f"{dave!r} is in no allowed group"
    server.join(group_dn("Jupyter"), group_dn("Team"), dave)
    assert left("dave", (), None) is None
    assert left("carol", (), None) is None
    server.change(group_dn("Jupyter"), member=None)
    assert left("dave", (), None) == f"{dave!r} is in no allowed group"
    server.join(group_dn("Jupyter"), person_dn("Müller, Älice + Co"), person_dn("Bob"))


def test_running_servers_end_with_the_group_of_their_profile_or_folder(
    ask: Ask, server: Samba
) -> None:
    """Nested: the profile is for a group that has Dave's group in it."""
    dave, team = person_dn("dave"), server.group("Desk", person_dn("dave"))
    quants = server.group("Quants", team)
    directory = ask(allowed_groups=(EVERYBODY,), further_groups=(quants,))
    folder = SharedFolder(name="desk", read_only=False, groups=(quants,))
    refusal = recheck.by_directory(directory, (folder,), (profile("quant", quants),))
    assert refusal("dave", ("desk:rw",), "quant") is None
    server.change(team, member=None)
    assert refusal("dave", (), "quant") == f"{dave!r} may not use the profile quant any more"
    gone = f"{dave!r} may not use the shared folder desk any more"
    assert refusal("dave", ("desk:rw",), "quant") == gone
    server.join(team, dave)
    assert refusal("dave", ("desk:rw",), "quant") is None
    # A group that gets another name has no members under the old one; the doctor names it.
    server.done(server.connection.modify_dn(quants, "CN=Traders"), quants)
    assert refusal("dave", (), "quant") == f"{dave!r} may not use the profile quant any more"
    assert directory.missing_groups() == {quants}


def test_a_password_is_never_sent_in_clear_where_the_server_refuses_that(ask: Ask) -> None:
    with pytest.raises(DirectoryError, match="strongerAuthRequired"):
        ask(tls=LdapTls.NONE, port=389).log_in("alice", PASSWORD)


def check(ldap: Ldap, name: str = "", password: str | None = None) -> bool:
    found = settings.read({"ZHUB_LDAP_SERVERS": "127.0.0.1"})
    return check_directory.check(replace(found, ldap=ldap), name, password)


def test_the_check_of_the_directory(ldap: Make, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(ldap(allowed_groups=(EVERYBODY,)), "bob@example.org", PASSWORDS["Bob"])
    shown = capsys.readouterr().out
    assert f"     ok  the service account {SERVICE} is accepted\n" in shown
    assert f"     ok  it finds users below {SUFFIX}\n" in shown
    assert f"     ok  it finds the group {EVERYBODY}\n" in shown
    bob = person_dn("Bob")
    assert f"     ok  bob@example.org is {bob}, and the password is right\n" in shown
    assert f"     ok  allowed, with the name bob in the hub: a member of {EVERYBODY}\n" in shown
    assert "note  the server" not in shown


@pytest.mark.parametrize(
    ("more", "advice"),
    [
        (
            {"tls": LdapTls.NONE, "port": 389},
            "the server takes passwords only over TLS: set ldapTls to starttls or ldaps",
        ),
        (
            {"search_base": "DC=other,DC=net"},
            "the server has no such entry, or does not show it: see ldapSearchBase",
        ),
        (
            {"bind_dn": "nobody@example.org"},
            (
                "are ldapBindDn and ldapBindPassword right, is the account locked? Nothing more is"
                " tried: more wrong passwords could lock it"
            ),
        ),
        (
            {"search_base": f"CN=Configuration,{SUFFIX}"},
            "see ldapSearchBase, ldapNameAttributes, ldapUserFilter, and what the account may read",
        ),
    ],
)
def test_what_the_check_advises(
    ldap: Make, capsys: pytest.CaptureFixture[str], more: dict[str, Any], advice: str
) -> None:
    assert not check(ldap(**more))
    assert capsys.readouterr().out.endswith(f"\n         → {advice}\n")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("old", EXPIRED), ("reset", MUST_CHANGE), ("disabled", DISABLED), ("locked", LOCKED)],
)
def test_the_check_of_a_user_who_may_not_log_in(
    ldap: Make, capsys: pytest.CaptureFixture[str], name: str, reason: Any
) -> None:
    assert not check(ldap(), name, PASSWORD)
    shown = capsys.readouterr().out
    assert f": {reason.log}\n         → {reason.advice}\n" in shown
