"""Logins, look-ups and the doctor's check with a real 389 Directory Server."""

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
from zhub.login.directory.reasons import EXPIRED, INACTIVATED, LOCKED, MUST_CHANGE
from zhub.login.directory.session import DirectoryError, LoginRefusedError
from zhub.settings.folders import SharedFolder
from zhub.settings.ldap import Ldap, LdapTls

from tests.images.hub import ds389
from tests.images.hub.binds import answer
from tests.images.hub.ds389 import (
    GROUPS,
    PASSWORD,
    PEOPLE,
    SERVICE,
    SUFFIX,
    Ds389,
    group_dn,
    person_dn,
)
from tests.images.hub.profiles import profile
from tests.images.hub.real_directory import assert_refused
from tests.images.hub.recorded_answers import DS389, DS389_WRONG, SAME_AFTER_WRONG

pytestmark = pytest.mark.long

ODD_GROUP = 'Te,am+ "x" ü'
JOERG = f"cn=Müller\\, Jörg+uid=joerg,{PEOPLE}"

MANY = 1600
"""Members of a big group; Active Directory, for one, shows 1500 at a time."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ds389]:
    with ds389.running(tmp_path_factory.mktemp("389") / "ds") as server:
        alice = server.person("alice", mail="o'brien+work@example.org")
        bob, carol = server.person("bob"), server.person("Carol", userPassword="grün & blau")
        server.add(JOERG, "inetOrgPerson", sn="Müller", userPassword=PASSWORD)
        server.person("o'brien", mail="ob@example.org")
        server.group("jupyter", alice, server.group("inner", carol))
        server.group("admins", bob, kind="groupOfUniqueNames")
        server.group(ODD_GROUP, JOERG)
        for name in ("inactive", "locked", "old", "grace", "reset"):
            server.person(name)
        server.change(person_dn("inactive"), nsAccountLock="true")
        server.change("cn=config", **EXPIRES, **{"nsslapd-pwpolicy-local": "on"})
        server.change("cn=config", passwordMustChange="on")
        for name in ("old", "grace"):
            server.change(person_dn(name), passwordExpirationTime="20200101000000Z")
        for name, policy in (
            ("grace", {"passwordGraceLimit": 2}),
            ("locked", {"passwordLockout": "on", "passwordMaxFailure": 3}),
        ):
            dn = f"cn=policy of {name},{SUFFIX}"
            server.add(dn, ["ldapSubEntry", "passwordPolicy"], **EXPIRES, **policy)
            server.change(person_dn(name), pwdpolicysubentry=dn)
        for _ in range(4):
            answer(host(server), person_dn("locked"), "wrong")
        # It has to be changed because somebody else has set it.
        server.change(person_dn("reset"), userPassword=PASSWORD)
        # The first answer to the right password has another number of seconds in it.
        assert answer(host(server), person_dn("reset"), PASSWORD).code == 0
        yield server


EXPIRES = {"passwordExp": "on", "passwordMaxAge": 100 * 86400}


def host(server: Ds389) -> ldap3.Server:
    return ldap3.Server("127.0.0.1", server.tls_port, use_ssl=True, get_info=ldap3.NONE)


Make = Callable[..., Ldap]
Ask = Callable[..., Directory]
Output = pytest.CaptureFixture[str]

AS_THE_USER = {"bind_dn": "", "bind_password_file": None}


@pytest.fixture
def ldap(server: Ds389, tmp_path: Path) -> Make:
    """Makes settings as docs/identity.md has them; keywords change them."""
    secret = tmp_path / "password"
    secret.write_text(f"{PASSWORD}\n")

    def make(tls: LdapTls = LdapTls.LDAPS, **more: Any) -> Ldap:
        options: dict[str, Any] = {
            "servers": ("127.0.0.1",),
            "port": server.tls_port if tls is LdapTls.LDAPS else server.port,
            "tls": tls,
            "ca_file": server.ca_file,
            "bind_dn": SERVICE,
            "bind_password_file": secret,
            "search_base": PEOPLE,
            "name_attributes": ("uid", "mail"),
            "allowed_groups": (group_dn("jupyter"),),
            "admin_groups": (group_dn("admins"),),
        }
        return Ldap(**options | more)

    return make


@pytest.fixture
def ask(ldap: Make) -> Ask:
    return lambda *tls, **more: Directory(ldap(*tls, **more))


@pytest.mark.parametrize("typed", ["alice", "ALICE", "o'brien+work@example.org"])
@pytest.mark.parametrize("tls", list(LdapTls))
def test_the_right_password_lets_in(ask: Ask, tls: LdapTls, typed: str) -> None:
    person = ask(tls).log_in(typed, PASSWORD)
    assert (person.name, {*person.groups}) == ("alice", {group_dn("jupyter")})


def test_a_new_person_of_a_name_from_before_entries_had_an_entryuuid(
    ask: Ask, server: Ds389
) -> None:
    """A new server makes them from its second start on."""

    def shown() -> dict[str, str]:
        found = ask().look_up("heir").identities
        return dict(sorted(one.split(":", 1) for one in found))

    server.person("heir")
    old = shown()
    assert list(old) == ["nsuniqueid"]
    server.restart()
    assert shown() == old
    assert server.connection.delete(person_dn("heir"))
    server.person("heir")
    new = shown()
    assert list(new) == ["entryuuid", "nsuniqueid"]
    assert new["nsuniqueid"] != old["nsuniqueid"]


def test_rights_to_an_attribute_that_the_server_does_not_know_are_refused(server: Ds389) -> None:
    rule = (
        '(targetattr="uid || entryUUIDs")(version 3.0; acl "x"; allow (read) userdn="ldap:///all";)'
    )
    assert not server.connection.modify(PEOPLE, {"aci": [(ldap3.MODIFY_ADD, [rule])]})
    said = server.connection.result["message"]
    assert said.startswith('targetattr "entryUUIDs" does not exist in schema.')


def test_a_private_ca(ask: Ask, server: Ds389) -> None:
    certificate = server.folder / "tls.crt"
    subprocess.run(["openssl", "verify", "-CAfile", server.ca_file, certificate], check=True)
    assert ask(LdapTls.STARTTLS).log_in("Carol", "grün & blau").name == "carol"
    with pytest.raises(DirectoryError, match="certificate verify failed"):
        ask(LdapTls.STARTTLS, ca_file=None).log_in("Carol", "grün & blau")


def test_everything_else_is_refused(ask: Ask) -> None:
    for name, password in (
        ("alice", "wrong"),
        ("nobody", PASSWORD),
        ("o'brien", PASSWORD),
        ("ob@example.org", PASSWORD),
        ("alice", ""),
    ):
        with pytest.raises(LoginRefusedError) as refused:
            ask().log_in(name, password)
        assert not refused.value.page


def test_by_dn_without_a_service_account(ask: Ask) -> None:
    directory = ask(
        **AS_THE_USER,
        search_base="",
        dn_templates=(f"uid={{username}},{PEOPLE}",),
        allowed_groups=(),
        allow_everyone=True,
    )
    assert directory.log_in("Alice", PASSWORD).name == "alice"


def test_groups(ask: Ask) -> None:
    odd = group_dn(ODD_GROUP)
    escaped = rf"cn=Te\2cam\2b \22x\22 \c3\bc, {GROUPS}"
    directory = ask(allowed_groups=(group_dn("jupyter"), odd, escaped), group_base=GROUPS)
    joerg = directory.look_up("joerg")
    assert ({*joerg.groups}, joerg.all_groups) == ({odd, escaped}, (ODD_GROUP,))
    bob = directory.look_up("bob")
    assert ({*bob.groups}, bob.all_groups) == ({group_dn("admins")}, ("admins",))
    # The server's plugin writes a group's groups into its members' entries.
    assert directory.look_up("carol").groups == {group_dn("jupyter")}


def test_the_rule_for_nested_groups_which_the_server_refuses(ask: Ask) -> None:
    directory = ask(nested_groups=True, group_base=GROUPS)
    carol = directory.log_in("carol", "grün & blau")
    assert ({*carol.groups}, carol.all_groups) == ({group_dn("jupyter")}, ("inner",))
    assert directory.look_up("bob").groups == {group_dn("admins")}


def test_a_big_group(ask: Ask, server: Ds389) -> None:
    members = [f"uid=m{number},{PEOPLE}" for number in range(MANY)]
    for dn in members:
        server.add(dn, "account")
    big = server.group("big", *members, person_dn("bob"))
    assert ask(allowed_groups=(big,)).look_up("bob").groups == {group_dn("admins"), big}
    assert ask(allowed_groups=(big,)).look_up("alice").groups == set()


def test_groups_that_there_are_not(ask: Ask) -> None:
    lost = group_dn("lost")
    assert ask(allowed_groups=(lost, group_dn("jupyter"))).missing_groups() == {lost}


PAGES = {"inactive": "", "locked": "", "old": EXPIRED.page, "reset": MUST_CHANGE.page}


@pytest.mark.parametrize(("name", "page"), PAGES.items())
def test_why_an_account_may_not_log_in(ask: Ask, name: str, page: str) -> None:
    assert_refused(ask, name, PASSWORD, page)


@pytest.mark.parametrize("name", DS389)
def test_what_the_server_says(server: Ds389, name: str) -> None:
    expected = DS389[name] if name in SAME_AFTER_WRONG else DS389_WRONG
    assert answer(host(server), person_dn(name), "wrong") == expected
    assert answer(host(server), person_dn(name), PASSWORD) == DS389[name]


def test_an_expired_password_that_still_counts_a_few_times(ask: Ask) -> None:
    assert ask().log_in("grace", PASSWORD).name == "grace"


def test_running_servers_end_with_the_account_and_its_groups(ask: Ask, server: Ds389) -> None:
    everybody = recheck.by_directory(ask(allowed_groups=(), allow_everyone=True))
    names = ("locked", "old", "reset", "dave")
    server.person("dave")
    # A stranger can lock an account, and passwords expire while people work.
    assert [everybody(name, (), None) for name in names] == [None] * len(names)
    dave, jupyter = person_dn("dave"), group_dn("jupyter")
    members = recheck.by_directory(ask())
    assert members("dave", (), None) == f"{dave!r} is in no allowed group"
    change = {"member": [(ldap3.MODIFY_ADD, [dave])]}
    assert server.connection.modify(jupyter, change)
    assert members("dave", (), None) is None
    url = f"ldap://127.0.0.1:{server.port}"
    secret = server.folder / "secret"
    secret.write_text(PASSWORD)
    manager = ["-D", ds389.MANAGER, "-y", str(secret), "-b", SUFFIX]
    for order, reason in (
        ("lock", f"127.0.0.1: the account {dave!r}: nsAccountLock is TRUE"),
        ("unlock", None),
    ):
        subprocess.run(["dsidm", *manager, url, "account", order, dave], check=True)
        assert members("dave", (), None) == reason


def test_running_servers_end_with_the_group_of_their_profile_or_folder(
    ask: Ask, server: Ds389
) -> None:
    alice, bob = person_dn("alice"), person_dn("bob")
    quants = server.group("quants", alice, bob)
    directory = ask(allowed_groups=(), allow_everyone=True, further_groups=(quants,))
    profiles = (profile("quant", quants), profile("analyst"))
    desk = SharedFolder(name="desk", read_only=False, groups=(quants,))
    refusal = recheck.by_directory(directory, (desk,), profiles)
    assert refusal("bob", ("desk:rw",), "quant") is None
    assert server.connection.modify(quants, {"member": [(ldap3.MODIFY_DELETE, [bob])]})
    assert refusal("bob", (), "quant") == f"{bob!r} may not use the profile quant any more"
    gone = f"{bob!r} may not use the shared folder desk any more"
    assert refusal("bob", ("desk:rw",), "analyst") == gone
    assert refusal("bob", (), "analyst") is None
    assert refusal("alice", ("desk:rw",), "quant") is None
    # A group that gets another name has no members under the old one; the doctor names it.
    assert directory.missing_groups() == frozenset()
    assert server.connection.modify_dn(quants, "cn=traders")
    assert refusal("alice", (), "quant") == f"{alice!r} may not use the profile quant any more"
    assert directory.missing_groups() == {quants}


def check(ldap: Ldap, name: str = "", password: str | None = None) -> bool:
    found = settings.read({"ZHUB_LDAP_SERVERS": "127.0.0.1"})
    return check_directory.check(replace(found, ldap=ldap), name, password)


def test_the_check_of_the_directory(ldap: Make, capsys: Output) -> None:
    assert check(ldap(), "carol")
    shown = capsys.readouterr().out
    assert f"     ok  it finds users below {PEOPLE}\n" in shown
    assert f"     ok  it finds the group {group_dn('jupyter')}\n" in shown
    assert f"     ok  it finds the group {group_dn('admins')}\n" in shown
    assert f"     ok  carol is {person_dn('Carol')}\n" in shown
    jupyter = group_dn("jupyter")
    assert f"     ok  allowed, with the name carol in the hub: a member of {jupyter}\n" in shown
    assert "rule for nested groups" not in shown
    assert check(ldap(nested_groups=True))
    assert "ldapNestedGroups does nothing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "reason"),
    [("old", EXPIRED), ("reset", MUST_CHANGE), ("inactive", INACTIVATED), ("locked", LOCKED)],
)
def test_the_check_of_a_user_who_may_not_log_in(
    ldap: Make, capsys: Output, name: str, reason: Any
) -> None:
    assert not check(ldap(), name, PASSWORD)
    assert f": {reason.log}\n         → {reason.advice}\n" in capsys.readouterr().out


def test_a_server_that_wants_tls(ldap: Make, server: Ds389, capsys: Output) -> None:
    advice = "\n         → the server takes passwords only over TLS: set ldapTls to starttls or"
    for key, value, before in (
        ("nsslapd-require-secure-binds", "on", "off"),
        ("nsslapd-minssf", "1", "0"),
    ):
        server.change("cn=config", **{key: value})
        try:
            assert not check(ldap(LdapTls.NONE))
            assert advice in capsys.readouterr().out
            assert check(ldap(LdapTls.STARTTLS))
        finally:
            server.change("cn=config", **{key: before})


def test_a_server_that_refuses_anonymous_searches(ask: Ask, server: Ds389) -> None:
    server.change("cn=config", **{"nsslapd-allow-anonymous-access": "off"})
    try:
        for tls in LdapTls:
            assert ask(tls).log_in("alice", PASSWORD).name == "alice"
    finally:
        server.change("cn=config", **{"nsslapd-allow-anonymous-access": "on"})


def test_a_base_of_another_directory(ldap: Make, capsys: Output) -> None:
    assert not check(ldap(search_base="dc=example,dc=net"))
    assert "→ the server has no such entry, or does not show it" in capsys.readouterr().out
