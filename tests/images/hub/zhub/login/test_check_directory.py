"""Reports of the check of the directory, against real and scripted servers."""

from __future__ import annotations

import io
import json
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID
from zhub import settings
from zhub.login import check_directory
from zhub.login.directory import session
from zhub.login.directory.reasons import EXPIRED, LOCKED, MUST_CHANGE, Reason
from zhub.settings import Settings
from zhub.state import database

from tests.images.hub import slapd
from tests.images.hub.profiles import described
from tests.images.hub.scripted_ldap import mute, scripted
from tests.images.hub.slapd import HIDDEN_IDENTIFIERS, PASSWORDS, SERVICE, SUFFIX, Slapd, group_dn
from tests.images.hub.zhub.login.directory.test_failures import refuse_starttls
from tests.pki import Identity
from tests.ports import free_port

pytestmark = pytest.mark.slow

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with slapd.running(tmp_path_factory.mktemp("slapd") / "server") as server:
        yield server


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with slapd.with_policies(tmp_path_factory.mktemp("policies") / "slapd") as server:
        yield server


Make = Callable[..., dict[str, str]]


@pytest.fixture
def environment(server: Slapd, tmp_path: Path) -> Make:
    """Makes a hub's environment; keywords change settings, None removes them."""
    secret = tmp_path / "password"
    secret.write_text(slapd.SERVICE_PASSWORD)

    def make(**more: object) -> dict[str, str]:
        variables = {
            "servers": "127.0.0.1",
            "port": server.port,
            "tls": "starttls",
            "ca_file": server.ca_file,
            "bind_dn": SERVICE,
            "bind_password_file": secret,
            "search_base": SUFFIX,
            "allowed_groups": f'["{group_dn("jupyter")}"]',
            "admin_groups": f'["{group_dn("admins")}"]',
        } | more
        return {
            f"ZHUB_LDAP_{name.upper()}": str(value)
            for name, value in variables.items()
            if value is not None
        }

    return make


@pytest.fixture
def config(environment: Make) -> Callable[..., Settings]:
    return lambda **more: settings.read(environment(**more))


MakeSettings = Callable[..., Settings]
Output = pytest.CaptureFixture[str]


def failures(output: Output) -> list[tuple[str, str]]:
    """Return the failures, each with its advice."""
    lines = output.readouterr().out.splitlines()
    return [
        (line.removeprefix(" FAILED  "), lines[number + 1].removeprefix("         → "))
        for number, line in enumerate(lines)
        if line.startswith(" FAILED  ")
    ]


def test_every_step_and_the_decision_are_shown(
    config: MakeSettings, server: Slapd, capsys: Output
) -> None:
    before = len(server.binds())
    assert check_directory.check(config(group_base=f"ou=groups,{SUFFIX}"), "Carol")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "server 127.0.0.1, TLS: starttls"
    assert lines[1:3] == [
        "     ok  127.0.0.1 is at 127.0.0.1",
        f"     ok  port {server.port} answers",
    ]
    assert lines[3].startswith(
        "     ok  TLSv1.3, verified: the certificate is for 127.0.0.1, localhost, ::1;"
        " issued by CN=Test authority; valid until 20"
    )
    assert lines[4] == "   note  that is in 0 days: have it renewed, or nobody can log in then"
    assert lines[5:] == [
        f"     ok  the service account {SERVICE} is accepted",
        f"     ok  it finds users below {SUFFIX}",
        f"     ok  it finds the group {group_dn('jupyter')}",
        f"     ok  it finds the group {group_dn('admins')}",
        "user Carol",
        f"     ok  Carol is uid=carol,ou=people,{SUFFIX}",
        f"     ok  groups that the entry names: {group_dn('jupyter')}; {group_dn('admins')}",
        f"     ok  allowed, with the name carol in the hub: a member of {group_dn('jupyter')}",
        f"     ok  an administrator: a member of {group_dn('admins')}",
        "     ok  groups in the hub: admins, jupyter",
    ]
    assert server.binds()[before:] == [SERVICE, SERVICE]


def test_who_has_another_persons_name_is_told_apart(
    config: MakeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    file = tmp_path / "hub.sqlite"
    database.prepare(file, token_max_age=86400)
    monkeypatch.setattr(database, "FILE", file)

    def check(found: Settings, recorded: str) -> list[tuple[str, str]]:
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("REPLACE INTO zhub_persons VALUES ('alice', ?)", [recorded])
        good = check_directory.check(found, "alice")
        shown = failures(capsys)
        assert good is not bool(shown)
        return shown

    accept = "if it is the same person: make users DO=accept USER=alice"
    assert check(config(), "objectguid:1") == []
    assert check(config(), "entryuuid:1") == [
        (
            "this is not the entry that alice was before, whose home is kept",
            f"{accept}; if not: make users DO=forget USER=alice, which removes the home",
        )
    ]
    with slapd.running(tmp_path / "hidden", access=HIDDEN_IDENTIFIERS) as hidden:
        [(said, advice)] = check(config(port=hidden.port, ca_file=hidden.ca_file), "entryuuid:1")
    assert said.startswith("the entry shows no identifier any more, such as entryUUID")
    assert advice == f"let the account that reads the directory read it; or, {accept}"


def test_a_refusal_names_the_allowed_groups(config: MakeSettings, capsys: Output) -> None:
    for name, groups in (
        ("frank", f"groups that the entry names: {group_dn('team')}"),
        ("dave", "the entry names no groups"),
    ):
        assert not check_directory.check(config(), name)
        output = capsys.readouterr().out
        assert f"     ok  {groups}\n" in output
        assert f" FAILED  not allowed: a member of none of {group_dn('jupyter')}\n" in output
        assert "put the user into one of these groups" in output


def test_a_user_by_another_name_that_may_be_typed(config: MakeSettings, capsys: Output) -> None:
    by_mail = config(name_attributes='["uid", "mail"]')
    assert check_directory.check(by_mail, "alice@example.org")
    assert "     ok  allowed, with the name alice in the hub" in capsys.readouterr().out


def test_an_unknown_user(config: MakeSettings, capsys: Output) -> None:
    assert not check_directory.check(config(), "nobody")
    ((problem, advice),) = failures(capsys)
    assert f"has no entry below '{SUFFIX}' for (&(|(uid=nobody)))" in problem
    assert "is the name typed as at login?" in advice


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("racfAttributes: REVOKED", ("racfAttributes is REVOKED", "has to be enabled again")),
        ("uid: g", ("2 values of uid", "make the entry's name unique in the directory")),
    ],
)
def test_a_user_whose_entry_is_at_fault(
    config: MakeSettings, tmp_path: Path, capsys: Output, entry: str, expected: tuple[str, str]
) -> None:
    """The advice is about the entry: neither the name as typed nor the settings are wrong."""
    with slapd.running(tmp_path / "other", ldif=slapd.person("gina", entry)) as other:
        hub = config(port=other.port, ca_file=other.ca_file)
        for password in (None, "gina"):
            assert not check_directory.check(hub, "gina", password)
            ((problem, advice),) = failures(capsys)
            assert expected[0] in problem
            assert expected[1] in advice


@pytest.mark.parametrize(
    ("name", "expected"), [("old", EXPIRED), ("reset", MUST_CHANGE), ("locked", LOCKED)]
)
def test_a_right_password_that_does_not_let_in(
    config: MakeSettings, strict: Slapd, capsys: Output, name: str, expected: Reason
) -> None:
    hub = config(port=strict.port, ca_file=strict.ca_file)
    assert not check_directory.check(hub, name, name)
    ((problem, advice),) = failures(capsys)
    assert problem.endswith(f": {expected.log}")
    assert expected.advice in advice


@pytest.mark.parametrize("bind_dn", [None, SERVICE])
def test_with_a_password_the_user_logs_in_once(
    config: MakeSettings, server: Slapd, capsys: Output, bind_dn: str | None
) -> None:
    template = f'["uid={{username}},ou=people,{SUFFIX}"]'
    more: dict[str, Any] = {"search_base": None, "dn_templates": template, "bind_dn": bind_dn}
    if not bind_dn:
        more["bind_password_file"] = None
    alice = f"uid=alice,ou=people,{SUFFIX}"
    for password, good in ((PASSWORDS["alice"], True), ("wrong", False)):
        before = len(server.binds())
        assert check_directory.check(config(**more), "alice", password) is good
        assert server.binds()[before:].count(alice) == 1
        output = capsys.readouterr().out
        assert password not in output.replace("is wrong", "")
        assert ("and the password is right" in output) is good
        assert ("name or password is wrong" in output) is not good


def test_without_service_account_and_password_no_user_is_found(
    config: MakeSettings, capsys: Output
) -> None:
    template = f'["uid={{username}},ou=people,{SUFFIX}"]'
    more = {"bind_dn": None, "bind_password_file": None, "dn_templates": template}
    assert not check_directory.check(config(search_base=None, **more), "alice")
    assert "add --password" in failures(capsys)[0][1]


def test_a_name_without_address(config: MakeSettings, capsys: Output) -> None:
    # RFC 6761, section 6.4: this domain never has addresses.
    assert not check_directory.check(config(servers="ldap.invalid"), "alice")
    ((problem, advice),) = failures(capsys)
    assert problem.startswith("no address for the name ldap.invalid: ")
    assert "is ldapServer right?" in advice


def test_nothing_listens(config: MakeSettings, capsys: Output) -> None:
    port = free_port()
    assert not check_directory.check(config(port=port))
    assert failures(capsys) == [
        (
            f"no connection to port {port}: Connection refused",
            "nothing listens there: is the directory up, is ldapPort right?",
        )
    ]


def test_a_connection_that_is_never_accepted(
    config: MakeSettings, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_directory, "CONNECT_SECONDS", 0.3)
    # A full backlog behaves like a firewall that drops packets.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        held = [socket.socket() for _ in range(4)]
        for one in held:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        assert not check_directory.check(config(port=port))
        for one in held:
            one.close()
    ((problem, advice),) = failures(capsys)
    assert problem == f"no connection to port {port}: timed out"
    assert "no firewall" in advice


@pytest.mark.parametrize(
    ("wrong", "shown"),
    [
        ("authority", ["unable to get", "by CN=Elsewhere", "of the CA that issued"]),
        ("self-signed", ["self-signed", "for 127.0.0.1", "its own CA certificate: put it into"]),
        ("host", ["not valid for '127.0.0.1'", "for ldap.example.org;", "a name that the"]),
        ("expired", ["has expired", "valid until", "have the server's certificate renewed"]),
        (
            "expired authority",
            ["has expired", "the CA's certificate has expired, not the server's"],
        ),
        ("SHA-1", ["too weak", "have the server's certificate issued anew, signed with SHA-256"]),
        ("short", ["EE certificate key too weak", "the server's certificate issued anew, for an"]),
        ("short authority", ["CA certificate key too weak", "the CA's key is too short"]),
        ("no authority", ["invalid CA certificate", "is no CA certificate"]),
        ("for people", ["purpose", "the server's certificate issued anew: its extendedKeyUsage"]),
        ("authority for people", ["purpose", "the CA's certificate is not for servers"]),
    ],
)
def test_a_certificate_that_is_not_trusted_is_shown(
    config: MakeSettings, tmp_path: Path, capsys: Output, wrong: str, shown: list[str]
) -> None:
    changes: dict[str, dict[str, Any]] = {
        "expired authority": {"begin": -2 * DAY, "end": -DAY},
        "short authority": {"bits": 1024},
        "no authority": {"authority": False},
        "authority for people": {"purposes": [ExtendedKeyUsageOID.CLIENT_AUTH]},
    }
    authority = Identity.create("Authority", **{"authority": True} | changes.get(wrong, {}))
    authority.write(tmp_path, "ca")
    own = partial(Identity.create, "127.0.0.1", issuer=authority)
    certificate = {
        "authority": lambda: Identity.create(
            "127.0.0.1", issuer=Identity.create("Elsewhere", authority=True)
        ),
        "self-signed": lambda: Identity.create("127.0.0.1"),
        "host": lambda: Identity.create("ldap.example.org", issuer=authority),
        "expired": lambda: own(begin=-2 * DAY, end=-DAY),
        "SHA-1": lambda: own().signed_with(hashes.SHA1(), authority),  # noqa: S303
        "short": lambda: own(bits=1024),
        "for people": lambda: own(purposes=[ExtendedKeyUsageOID.CLIENT_AUTH]),
    }.get(wrong, own)()
    ca_file = tmp_path / "ca.crt"
    with slapd.running(tmp_path / "impostor", certificate) as server:
        for tls, port in (("starttls", server.port), ("ldaps", server.tls_port)):
            assert not check_directory.check(config(port=port, tls=tls, ca_file=ca_file), "alice")
            ((problem, advice),) = failures(capsys)
            assert [part for part in shown if part not in problem + advice] == []
        assert server.binds() == []


def test_tls_on_a_port_without_it(config: MakeSettings, server: Slapd, capsys: Output) -> None:
    assert not check_directory.check(config(tls="ldaps", port=server.port))
    assert "does ldapPort fit ldapTls?" in failures(capsys)[0][1]
    with scripted(refuse_starttls) as plain:
        assert not check_directory.check(config(port=plain.port))
    assert "has no StartTLS" in failures(capsys)[0][1]


def test_a_mute_server_is_named_and_the_next_is_tried(
    config: MakeSettings, server: Slapd, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "ANSWER_SECONDS", 1)
    with scripted(mute) as silent:
        servers = f"127.0.0.1:{silent.port},127.0.0.1:{server.port}"
        assert not check_directory.check(config(servers=servers), "alice")
    output = capsys.readouterr().out
    assert f" FAILED  127.0.0.1:{silent.port}, StartTLS: error receiving data: timed out" in output
    assert "     ok  allowed, with the name alice in the hub" in output


def test_a_refused_service_account_is_tried_once(
    config: MakeSettings, server: Slapd, tmp_path: Path, capsys: Output
) -> None:
    (tmp_path / "password").write_text("not the right one")
    before = len(server.binds())
    assert not check_directory.check(config(servers="127.0.0.1,localhost"), "alice")
    ((problem, advice),) = failures(capsys)
    assert f"the service account is refused: 127.0.0.1, bind as '{SERVICE}'" in problem
    assert "ldapBindPassword" in advice
    assert server.binds()[before:] == [SERVICE]


def test_a_missing_base_or_group(config: MakeSettings, capsys: Output) -> None:
    assert not check_directory.check(config(search_base=f"ou=nowhere,{SUFFIX}"))
    assert "noSuchObject" in failures(capsys)[0][0]
    assert not check_directory.check(config(user_filter="(cn=nobody at all)"))
    assert "it finds no user with uid" in failures(capsys)[0][0]
    assert check_directory.check(config(admin_groups=f'["{group_dn("gone")}"]'))
    assert f"   note  it does not find the group {group_dn('gone')}" in capsys.readouterr().out


class TestRole:
    """The role, as the image runs it."""

    @pytest.fixture(autouse=True)
    def hub(self, environment: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        """The environment of a hub whose LDAP servers are set by an argument."""
        for name, value in environment(servers=None).items():
            monkeypatch.setenv(name, value)

    def test_servers_are_those_of_the_hubs_argument(
        self, capsys: Output, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        first = tmp_path / "cmdline"
        first.write_text("tini\0--\0python3\0-m\0zhub\0--port=11119\0--ldap=127.0.0.1\0")
        monkeypatch.setattr(check_directory, "FIRST_PROCESS", first)
        assert check_directory.run(["alice"]) == 0
        assert "server 127.0.0.1, TLS: starttls" in capsys.readouterr().out
        assert check_directory.run(["dave"]) == 1

    def test_groups_that_settings_name_and_the_directory_does_not_have_are_printed(
        self, capsys: Output, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert check_directory.run(["--ldap=127.0.0.1", "--groups"]) == 0
        assert not capsys.readouterr().out
        there, gone, desk = group_dn("jupyter"), group_dn("gone"), group_dn("Desk 7")
        monkeypatch.setenv("ZHUB_LDAP_ALLOWED_GROUPS", json.dumps([gone, there]))
        monkeypatch.setenv("ZHUB_LDAP_ADMIN_GROUPS", json.dumps([gone]))
        folder = {"name": "a", "mode": "ro", "groups": [there, desk]}
        monkeypatch.setenv("ZHUB_SHARED_FOLDERS", json.dumps([folder]))
        monkeypatch.setenv("ZHUB_CONFINED", "true")
        named = [described("a", groups=[there, gone]), described("b", groups=[gone])]
        monkeypatch.setenv("ZHUB_PROFILES", json.dumps(named))
        assert check_directory.run(["--ldap=127.0.0.1", "--groups"]) == 0
        assert capsys.readouterr().out.splitlines() == [
            f"ldapAllowedGroups {gone}",
            f"ldapAdminGroups {gone}",
            f"sharedFolders {desk}",
            f"profiles {gone}",
        ]

    def test_no_directory_no_groups(self, capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ZHUB_LDAP_PORT", str(free_port()))
        assert check_directory.run(["--ldap=127.0.0.1", "--groups"]) == 1
        found = capsys.readouterr()
        assert not found.out
        assert "127.0.0.1" in found.err

    def test_the_password_is_read_from_standard_input(
        self, capsys: Output, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{PASSWORDS['alice']}\n"))
        assert check_directory.run(["--ldap=127.0.0.1", "--password", "alice"]) == 0
        assert "and the password is right" in capsys.readouterr().out
