"""Logins against real OpenLDAP servers, and servers that must never get a password."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from zhub.login.directory import Directory
from zhub.login.directory.entries import Entry, disabled, identities, same_dn
from zhub.login.directory.people import MAIL, NAME, administers, allowed
from zhub.login.directory.reasons import EXPIRED, LOCKED, MUST_CHANGE, Reason
from zhub.login.directory.session import DirectoryError, LoginRefusedError
from zhub.settings.ldap import Ldap, LdapTls

from tests.images.hub import slapd
from tests.images.hub.slapd import PASSWORDS, SERVICE, SUFFIX, Slapd, group_dn
from tests.pki import Identity
from toolchain.places import ROOT

pytestmark = pytest.mark.slow

TEMPLATE = f"uid={{username}},ou=people,{SUFFIX}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    """A directory in which users may read groups."""
    with slapd.running(tmp_path_factory.mktemp("slapd") / "first") as server:
        yield server


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """File with the service account's password, ending in a newline as editors save it."""
    path = tmp_path / "password"
    path.write_text(f"{slapd.SERVICE_PASSWORD}\n")
    return path


Make = Callable[..., Directory]


@pytest.fixture
def by_template(server: Slapd) -> Make:
    """Makes directories that are searched as the user."""

    def make(tls: LdapTls = LdapTls.STARTTLS, **more: Any) -> Directory:
        options: dict[str, Any] = {
            "servers": ("127.0.0.1",),
            "port": server.tls_port if tls is LdapTls.LDAPS else server.port,
            "tls": tls,
            "ca_file": server.ca_file,
            "dn_templates": (TEMPLATE,),
            "allowed_groups": (group_dn("jupyter"),),
            "admin_groups": (group_dn("admins"),),
        }
        return Directory(Ldap(**options | more))

    return make


@pytest.fixture
def by_search(by_template: Make, secret: Path) -> Make:
    """Makes directories that are searched by the service account."""

    def make(**more: Any) -> Directory:
        options = {
            "dn_templates": (),
            "bind_dn": SERVICE,
            "bind_password_file": secret,
            "search_base": SUFFIX,
            "name_attributes": ("uid", "mail"),
        }
        return by_template(**options | more)

    return make


@pytest.mark.parametrize("tls", list(LdapTls))
@pytest.mark.parametrize(("name", "password"), PASSWORDS.items())
def test_the_right_password_lets_in(
    by_template: Make, tls: LdapTls, name: str, password: str
) -> None:
    assert by_template(tls).log_in(name, password).name == name.lower()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "localhost"])
def test_servers_by_name_and_address(by_template: Make, address: str) -> None:
    assert by_template(servers=(address,)).log_in("bob", PASSWORDS["bob"]).name == "bob"


@pytest.mark.parametrize("typed", ["alice", "ALICE", "Alice", "alice@example.org"])
def test_a_name_is_one_person_however_it_is_typed(by_search: Make, typed: str) -> None:
    assert by_search().log_in(typed, PASSWORDS["alice"]).name == "alice"


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("alice", "wrong"),
        ("alice", ""),
        ("alice", " "),
        # Prepared, these would be empty: an unauthenticated bind, which slapd would accept.
        ("alice", "\u00ad"),
        ("alice", "\u200b\ufeff"),
        ("alice", "\0"),
        ("alice", "wonder land 1\0"),
        ("nobody", "wonder land 1"),
        ("alice,ou=people", PASSWORDS["alice"]),
        ("alice\n", PASSWORDS["alice"]),
        ("*", PASSWORDS["alice"]),
        ("a*", PASSWORDS["alice"]),
        ("alice)(uid=*", PASSWORDS["alice"]),
        ("\uff41lice", PASSWORDS["alice"]),
        ("", PASSWORDS["alice"]),
        ("a" * 65, PASSWORDS["alice"]),
    ],
)
def test_everything_else_is_refused(
    by_template: Make, by_search: Make, name: str, password: str
) -> None:
    for directory in (by_template(), by_search()):
        with pytest.raises(LoginRefusedError):
            directory.log_in(name, password)


@hypothesis_settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.from_regex(NAME, fullmatch=True)
    | st.from_regex(MAIL, fullmatch=True)
    | st.text(max_size=20)
    | st.text(alphabet='alice*()\\&|!=,+#;<>"\0 @\n', max_size=12)
    | st.sampled_from(sorted(PASSWORDS)),
    password=st.text(max_size=20) | st.text(alphabet="*()\\\0=\u00ad ", max_size=6),
)
def test_no_name_and_no_password_get_in_but_the_right_ones(
    by_template: Make, by_search: Make, server: Slapd, name: str, password: str
) -> None:
    if PASSWORDS.get(name) == password:
        return
    before = len(server.binds())
    for directory in (by_template(LdapTls.NONE), by_search(tls=LdapTls.NONE)):
        with pytest.raises(LoginRefusedError):
            directory.log_in(name, password)
    bound = [dn for dn in server.binds()[before:] if dn != SERVICE]
    # No part of a name leads to another DN.
    assert all(dn.endswith(f",ou=people,{SUFFIX}") for dn in bound)
    assert NAME.fullmatch(name) or MAIL.fullmatch(name) or not bound


def test_one_login_is_one_bind(by_template: Make, by_search: Make, server: Slapd) -> None:
    alice = f"uid=alice,ou=people,{SUFFIX}"
    for directory, expected in ((by_template(), [alice]), (by_search(), [SERVICE, alice])):
        for password in (PASSWORDS["alice"], "wrong"):
            before = len(server.binds())
            try:
                directory.log_in("alice", password)
            except LoginRefusedError:
                assert password == "wrong"
            assert server.binds()[before:] == expected


#: Passwords that SASLprep changes; the last one cannot be prepared.
CHANGED = (
    "Sommer²2024",
    "10µF-Kondensator",
    "caf\u00e9\u00b4s",
    "a\u00a0b",
    "\u05e9\u05dc\u05dd abc",
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    """A server that has these passwords as typed, and the first two prepared as well."""
    folder = tmp_path_factory.mktemp("passwords") / "slapd"
    people = [(f"typed{number}", word) for number, word in enumerate(CHANGED)]
    people += [("prepared0", "Sommer22024"), ("prepared1", "10\u03bcF-Kondensator")]
    ldif = "".join(
        slapd.person(name).replace(f"userPassword: {name}", f"userPassword: {word}")
        for name, word in people
    )
    with slapd.running(folder, ldif=ldif) as server:
        yield server


class TestPasswords:
    """Set by programs that prepare them, and by those that do not."""

    def test_both_log_in(self, stored: Slapd, by_template: Make, by_search: Make) -> None:
        for make in (by_template, by_search):
            directory = make(port=stored.port, ca_file=stored.ca_file)
            for number, word in enumerate(CHANGED):
                before = len(stored.binds())
                assert directory.log_in(f"typed{number}", word).name == f"typed{number}"
                assert len([dn for dn in stored.binds()[before:] if dn != SERVICE]) == 1
            for number, word in enumerate(CHANGED[:2]):
                assert directory.log_in(f"prepared{number}", word).name == f"prepared{number}"

    def test_a_wrong_one_is_sent_once_for_each_spelling(
        self, stored: Slapd, by_template: Make
    ) -> None:
        directory = by_template(port=stored.port, ca_file=stored.ca_file)
        for word, times in (("wrong", 1), ("wrong²", 2)):
            before = len(stored.binds())
            with pytest.raises(LoginRefusedError, match="invalidCredentials"):
                directory.log_in("typed0", word)
            assert len(stored.binds()) - before == times

    def test_of_the_service_account(self, stored: Slapd, by_search: Make, secret: Path) -> None:
        """Also with a newline at the end, as editors save it."""
        secret.write_text(f"{CHANGED[0]}\n")
        directory = by_search(
            port=stored.port, ca_file=stored.ca_file, bind_dn=f"uid=typed0,ou=people,{SUFFIX}"
        )
        assert directory.look_up("alice").name == "alice"


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with slapd.with_policies(tmp_path_factory.mktemp("policies") / "slapd") as server:
        yield server


class TestReasons:
    """Why a real server with password policies refuses a login."""

    @pytest.mark.parametrize(
        ("name", "expected"),
        [("old", EXPIRED), ("reset", MUST_CHANGE), ("locked", LOCKED)],
    )
    def test_only_who_has_the_right_password_is_told(
        self, strict: Slapd, by_template: Make, by_search: Make, name: str, expected: Reason
    ) -> None:
        # The first template leads to nobody.
        twice = (f"uid={{username}},ou=staff,{SUFFIX}", TEMPLATE)
        for make in (by_template, by_search, partial(by_template, dn_templates=twice)):
            directory = make(port=strict.port, ca_file=strict.ca_file)
            with pytest.raises(LoginRefusedError, match=expected.log) as right:
                directory.log_in(name, name)
            assert right.value.page == expected.page
            with pytest.raises(LoginRefusedError) as wrong:
                directory.log_in(name, "wrong")
            assert wrong.value.page == ""
            assert expected is LOCKED or expected.log not in str(wrong.value)

    def test_a_reason_is_final(self, strict: Slapd, by_template: Make) -> None:
        """Another spelling of the password is not tried."""
        directory = by_template(port=strict.port, ca_file=strict.ca_file)
        before = len(strict.binds())
        with pytest.raises(LoginRefusedError, match="locked"):
            directory.log_in("locked", "locked²")
        assert len(strict.binds()) == before + 1

    def test_an_expired_password_that_still_lets_in(
        self, strict: Slapd, by_template: Make, by_search: Make
    ) -> None:
        for make in (by_template, by_search):
            directory = make(port=strict.port, ca_file=strict.ca_file)
            assert directory.log_in("grace", "grace").name == "grace"

    def test_a_lock_by_wrong_passwords_is_in_the_log_only(
        self, strict: Slapd, by_search: Make
    ) -> None:
        directory = by_search(port=strict.port, ca_file=strict.ca_file)
        for word in ("wrong", "wrong", "wrong", "wrong", PASSWORDS["frank"]):
            with pytest.raises(LoginRefusedError) as refused:
                directory.log_in("frank", word)
            assert refused.value.page == ""
        assert "invalidCredentials: the account is locked" in str(refused.value)
        # It ends no server: the entry does not say that the account is disabled.
        assert directory.look_up("frank").name == "frank"

    def test_a_disabled_account_that_the_server_accepts(
        self, tmp_path: Path, by_template: Make, by_search: Make
    ) -> None:
        gone = slapd.person("gone", "nsAccountLock: TRUE")
        with slapd.running(tmp_path / "disabled", ldif=gone) as server:
            for make in (by_template, by_search):
                directory = make(port=server.port, ca_file=server.ca_file)
                with pytest.raises(LoginRefusedError, match="nsAccountLock is TRUE") as right:
                    directory.log_in("gone", "gone")
                assert right.value.page == "Your account is disabled."
                with pytest.raises(LoginRefusedError, match="invalidCredentials") as wrong:
                    directory.log_in("gone", "wrong")
                assert wrong.value.page == ""
            with pytest.raises(LoginRefusedError, match="nsAccountLock is TRUE"):
                directory.look_up("gone")


class TestTls:
    """A server without a valid certificate receives no password."""

    @pytest.fixture
    def impostor(
        self, request: pytest.FixtureRequest, tmp_path: Path
    ) -> Iterator[tuple[Slapd, Path]]:
        """A real server with a certificate that is wrong in one way, and the trusted authority."""
        authority = Identity.create("Test authority", authority=True)
        authority.write(tmp_path, "ca")
        name = "127.0.0.1"
        day = timedelta(days=1)
        certificate = {
            "wrong authority": lambda: Identity.create(
                name, issuer=Identity.create("Test authority", authority=True)
            ),
            "self-signed": lambda: Identity.create(name),
            "wrong host": lambda: Identity.create("ldap.example.org", issuer=authority),
            "expired": lambda: Identity.create(name, issuer=authority, begin=-2 * day, end=-day),
            "not valid yet": lambda: Identity.create(
                name, issuer=authority, begin=day, end=2 * day
            ),
        }[request.param]()
        with slapd.running(tmp_path / "impostor", certificate) as server:
            yield server, tmp_path / "ca.crt"

    @pytest.mark.parametrize(
        ("impostor", "reason"),
        [
            ("wrong authority", "certificate verify failed"),
            ("self-signed", "self-signed certificate"),
            ("wrong host", "certificate is not valid for '127.0.0.1'"),
            ("expired", "certificate has expired"),
            ("not valid yet", "certificate is not yet valid"),
        ],
        indirect=["impostor"],
    )
    def test_an_impostor_gets_no_password_and_is_named(
        self,
        impostor: tuple[Slapd, Path],
        reason: str,
        by_template: Make,
        by_search: Make,
    ) -> None:
        server, ca_file = impostor
        for make in (by_template, by_search):
            for tls, port in (
                (LdapTls.STARTTLS, server.port),
                (LdapTls.LDAPS, server.tls_port),
            ):
                with pytest.raises(DirectoryError, match=r"127\.0\.0\.1, .*TLS: ") as caught:
                    make(tls=tls, port=port, ca_file=ca_file).log_in("alice", PASSWORDS["alice"])
                assert reason in str(caught.value)
        assert server.binds() == []

    def test_a_server_with_a_trusted_certificate_gets_the_password(
        self, by_template: Make, server: Slapd
    ) -> None:
        before = len(server.binds())
        for tls in (LdapTls.STARTTLS, LdapTls.LDAPS):
            by_template(tls).log_in("alice", PASSWORDS["alice"])
        assert len(server.binds()) == before + 2

    def test_without_a_file_the_systems_authorities_count(self, by_template: Make) -> None:
        with pytest.raises(DirectoryError, match="unable to get local issuer"):
            by_template(ca_file=None).log_in("alice", PASSWORDS["alice"])
        assert ssl.get_default_verify_paths().cafile or ssl.get_default_verify_paths().capath


class TestGroups:
    @pytest.mark.parametrize(
        ("group", "members"),
        [
            ("jupyter", {"alice", "carol"}),
            ("unique", {"bob"}),
            ("posix", {"erin"}),
            ("nothing-like-it", set()),
        ],
    )
    def test_every_kind_of_group(
        self, by_template: Make, by_search: Make, group: str, members: set[str]
    ) -> None:
        for make in (by_template, by_search):
            directory = make(allowed_groups=(group_dn(group),))
            people = [directory.log_in(name, word) for name, word in PASSWORDS.items()]
            assert {one.name for one in people if allowed(directory.ldap, one)} == members
            assert {one.name for one in people if administers(directory.ldap, one)} == {"carol"}

    @pytest.mark.parametrize("gid", ["5000", "1000"])
    def test_the_primary_group_of_a_posix_account(
        self, tmp_path: Path, by_template: Make, by_search: Make, gid: str
    ) -> None:
        """It does not list its members. The group `posix` has 1000, and lists somebody else."""
        account = ("objectClass: posixAccount", f"gidNumber: {gid}", "uidNumber: 7")
        people = slapd.person("pat", *account, "homeDirectory: /home/pat")
        primary = slapd.group("staff", kind="posixGroup").replace("1000", "5000")
        with slapd.running(tmp_path / "posix", ldif=people + primary) as server:
            for make in (by_template, by_search):
                directory = make(
                    port=server.port,
                    ca_file=server.ca_file,
                    allowed_groups=(group_dn("staff"),),
                    group_base=f"ou=groups,{SUFFIX}",
                )
                pat = directory.log_in("pat", "pat")
                assert allowed(directory.ldap, pat) is (gid == "5000")
                assert pat.all_groups == ("staff" if gid == "5000" else "posix",)
                # Who has no number is in no group by it.
                assert not allowed(directory.ldap, directory.log_in("bob", PASSWORDS["bob"]))
            assert directory.look_up("pat") == pat

    def test_groups_cost_one_search_each(
        self, by_template: Make, by_search: Make, server: Slapd
    ) -> None:
        """Whatever kinds of groups there are; none for a group that the user's entry names."""
        groups = {f"cn={name},ou=groups,{SUFFIX}" for name in ("jupyter", "admins")}
        for directory, own in (
            (by_template(), f"uid={{}},ou=people,{SUFFIX}"),
            (by_search(), SUFFIX),
        ):
            for name, expected in (("dave", groups), ("alice", groups - {group_dn("jupyter")})):
                before = len(server.searches())
                directory.log_in(name, PASSWORDS[name])
                assert server.searches()[before:] == [own.format(name), *sorted(expected)[::-1]]

    def test_the_users_own_entry_is_enough(
        self, tmp_path: Path, by_template: Make, by_search: Make
    ) -> None:
        """Where groups are hidden from everyone, the user's own entry names them."""
        with slapd.running(tmp_path / "hidden", access=slapd.HIDDEN_GROUPS) as server:
            server.change(f"dn: {group_dn('unique')}\nchangetype: delete\n\n")
            directory = by_template(port=server.port, ca_file=server.ca_file)
            assert allowed(directory.ldap, directory.log_in("alice", PASSWORDS["alice"]))
            assert not allowed(directory.ldap, directory.log_in("dave", PASSWORDS["dave"]))

    def test_groups_hidden_from_users_are_read_by_the_service_account(
        self, tmp_path: Path, by_template: Make, secret: Path
    ) -> None:
        with slapd.running(tmp_path / "hidden", access=slapd.HIDDEN_GROUPS) as server:
            options = {
                "port": server.port,
                "ca_file": server.ca_file,
                "allowed_groups": (group_dn("unique"),),
            }
            alone = by_template(**options)
            assert not allowed(alone.ldap, alone.log_in("bob", PASSWORDS["bob"]))
            helped = by_template(**options, bind_dn=SERVICE, bind_password_file=secret)
            assert allowed(helped.ldap, helped.log_in("bob", PASSWORDS["bob"]))
            assert allowed(helped.ldap, helped.look_up("bob"))

    def test_a_server_that_refuses_to_search_says_of_nobody_that_there_is_no_entry(
        self, tmp_path: Path, by_template: Make, secret: Path
    ) -> None:
        """As while it is being repaired: everybody would lose a running server."""
        access = f"{slapd.ACCESS}restrict search\n"
        with slapd.running(tmp_path / "restricted", access=access) as server:
            directory = by_template(
                port=server.port,
                ca_file=server.ca_file,
                bind_dn=SERVICE,
                bind_password_file=secret,
            )
            with pytest.raises(DirectoryError, match="unwillingToPerform"):
                directory.look_up("alice")

    def test_all_groups_below_a_base(self, by_search: Make) -> None:
        directory = by_search(group_base=f"ou=groups,{SUFFIX}")
        assert directory.look_up("carol").all_groups == ("admins", "jupyter")
        assert directory.look_up("erin").all_groups == ("posix",)
        assert directory.look_up("dave").all_groups == ()

    def test_everyone(self, by_search: Make) -> None:
        directory = by_search(allowed_groups=(), allow_everyone=True)
        assert allowed(directory.ldap, directory.log_in("dave", PASSWORDS["dave"]))

    def test_nested_groups_do_no_harm_where_the_server_lacks_them(self, by_search: Make) -> None:
        directory = by_search(nested_groups=True)
        assert allowed(directory.ldap, directory.look_up("alice"))
        assert not allowed(directory.ldap, directory.look_up("frank"))

    def test_a_removed_user_loses_access(self, tmp_path: Path, by_search: Make) -> None:
        with slapd.running(tmp_path / "changing") as server:
            directory = by_search(port=server.port, ca_file=server.ca_file)
            carol = directory.look_up("carol")
            assert allowed(directory.ldap, carol)
            assert administers(directory.ldap, carol)
            server.change(
                f"dn: {group_dn('admins')}\nchangetype: modify\nreplace: member\n"
                f"member: uid=alice,ou=people,{SUFFIX}\n\n"
            )
            assert not administers(directory.ldap, directory.look_up("carol"))
            # refint removes the entry from the groups.
            server.change(f"dn: uid=carol,ou=people,{SUFFIX}\nchangetype: delete\n\n")
            with pytest.raises(LoginRefusedError, match="no entry"):
                directory.look_up("carol")


class TestSearch:
    def test_an_ambiguous_name_is_refused(self, tmp_path: Path, by_search: Make) -> None:
        twin = slapd.person("alice", base=f"ou=staff,{SUFFIX}")
        with slapd.running(tmp_path / "twins", ldif=twin) as server:
            directory = by_search(port=server.port, ca_file=server.ca_file)
            with pytest.raises(LoginRefusedError, match="several entries"):
                directory.log_in("alice", PASSWORDS["alice"])
            narrow = by_search(
                port=server.port, ca_file=server.ca_file, search_base=f"ou=people,{SUFFIX}"
            )
            assert narrow.log_in("alice", PASSWORDS["alice"]).name == "alice"
            assert not [dn for dn in server.binds() if "staff" in dn]

    def test_nobody_takes_anothers_identity_by_another_name(
        self, tmp_path: Path, by_search: Make
    ) -> None:
        """Another person's uid is also alice; a unique mail must not make that person alice."""
        twin = slapd.person("alice", base=f"ou=staff,{SUFFIX}").replace("alice@", "other@")
        with slapd.running(tmp_path / "twins", ldif=twin) as server:
            directory = by_search(port=server.port, ca_file=server.ca_file)
            with pytest.raises(LoginRefusedError, match="several entries"):
                directory.log_in("other@example.org", "alice")
            assert [dn for dn in server.binds() if dn != SERVICE] == []

    @pytest.mark.parametrize("mail", ["o'brien@example.org", "O'Brien+hub@example.org"])
    def test_mail_addresses_with_an_apostrophe_or_a_plus(
        self, tmp_path: Path, by_template: Make, by_search: Make, mail: str
    ) -> None:
        obrien = slapd.person("obrien", f"mail: {mail}")
        with slapd.running(tmp_path / "mail", ldif=obrien) as server:
            options = {"port": server.port, "ca_file": server.ca_file}
            directory = by_search(**options)
            assert directory.log_in(mail.lower(), "obrien").name == "obrien"
            assert directory.look_up(mail, typed=True).name == "obrien"
            # Not as a name in the hub, nor in a DN.
            with pytest.raises(LoginRefusedError, match="not a valid user name"):
                directory.look_up(mail)
            with pytest.raises(LoginRefusedError, match="not a valid user name"):
                by_template(**options).log_in(mail, "obrien")

    def test_a_name_in_the_directory_that_the_hub_cannot_have(
        self, tmp_path: Path, by_search: Make
    ) -> None:
        obrien = slapd.person("o'brien").replace("mail: o'brien", "mail: brien")
        with slapd.running(tmp_path / "apostrophe", ldif=obrien) as server:
            directory = by_search(port=server.port, ca_file=server.ca_file)
            with pytest.raises(LoginRefusedError, match="o'brien\" is not a valid user name"):
                directory.log_in("brien@example.org", "o'brien")

    def test_the_identity_must_have_one_value(self, tmp_path: Path, by_search: Make) -> None:
        two = slapd.person("gina", "uid: g")
        with slapd.running(tmp_path / "two", ldif=two) as server:
            directory = by_search(port=server.port, ca_file=server.ca_file)
            for typed in ("gina", "g", "gina@example.org"):
                with pytest.raises(LoginRefusedError, match="2 values of uid"):
                    directory.log_in(typed, "gina")

    def test_the_user_filter_applies(self, by_search: Make) -> None:
        directory = by_search(user_filter="(!(cn=alice))")
        assert directory.log_in("bob", PASSWORDS["bob"]).name == "bob"
        with pytest.raises(LoginRefusedError, match="no entry"):
            directory.log_in("alice", PASSWORDS["alice"])

    def test_a_missing_base_removes_nobody(self, by_search: Make) -> None:
        """Otherwise a mistake in the directory's access rules would stop all servers."""
        with pytest.raises(DirectoryError, match="noSuchObject"):
            by_search(search_base=f"ou=nowhere,{SUFFIX}").look_up("alice")

    def test_a_refused_service_account_is_not_tried_again_at_once(
        self, by_search: Make, secret: Path, server: Slapd
    ) -> None:
        secret.write_text("wrong")
        directory = by_search(servers=("127.0.0.1", "localhost"))
        before = len(server.binds())
        for _ in range(3):
            with pytest.raises(DirectoryError, match="service account"):
                directory.log_in("alice", PASSWORDS["alice"])
        assert server.binds()[before:] == [SERVICE]


def test_the_access_rules_of_the_documentation_are_enough(tmp_path: Path, by_search: Make) -> None:
    page = (ROOT / "docs/identity.md").read_text()
    (rules,) = re.findall(r"^```\n(olcAccess: .*?)^```", page, re.MULTILINE | re.DOTALL)
    for documented, here in (
        ("olcAccess: to", "access to"),
        ("dc=example,dc=com", SUFFIX),
        (f"cn=jupyterhub,ou=services,{SUFFIX}", SERVICE),
    ):
        assert documented in rules
        rules = rules.replace(documented, here)
    access = "access to attrs=userPassword by anonymous auth by * none\n" + rules
    with slapd.running(tmp_path / "documented", access=access) as server:
        directory = by_search(
            port=server.port,
            ca_file=server.ca_file,
            search_base=f"ou=people,{SUFFIX}",
            group_base=f"ou=groups,{SUFFIX}",
        )
        carol = directory.log_in("carol@example.org", PASSWORDS["carol"])
        assert (carol.name, carol.all_groups) == ("carol", ("admins", "jupyter"))
        assert allowed(directory.ldap, carol)
        assert administers(directory.ldap, carol)
        assert not allowed(directory.ldap, directory.look_up("bob"))


@pytest.mark.parametrize("service", [True, False], ids=["service account", "as the user"])
def test_two_people_of_one_name_are_not_one_user(
    tmp_path: Path,
    by_template: Make,
    secret: Path,
    service: bool,  # noqa: FBT001
) -> None:
    account = {"bind_dn": SERVICE, "bind_password_file": secret} if service else {}
    twin = slapd.person("alice", base=f"ou=staff,{SUFFIX}").replace(PASSWORDS["alice"], "other")
    with slapd.running(tmp_path / "twins", ldif=twin) as server:
        directory = by_template(
            port=server.port,
            ca_file=server.ca_file,
            dn_templates=(TEMPLATE, f"uid={{username}},ou=staff,{SUFFIX}"),
            **account,
        )
        for password in (PASSWORDS["alice"], "other"):
            with pytest.raises(LoginRefusedError, match="several entries for 'alice'"):
                directory.log_in("alice", password)
        assert directory.log_in("bob", PASSWORDS["bob"]).name == "bob"
        if service:
            with pytest.raises(LoginRefusedError, match="several entries for 'alice'"):
                directory.look_up("alice")
            assert directory.look_up("bob").name == "bob"


def test_racf_names(tmp_path: Path, by_template: Make, secret: Path) -> None:
    """With a stand-in that has the DNs and attributes of z/OS: upper case, @ # $ in names."""
    suffix = f"o=racf,{SUFFIX}"
    ldif = f"dn: {suffix}\nobjectClass: organization\n\n"
    for kind in ("user", "group"):
        ldif += f"dn: profiletype={kind},{suffix}\nobjectClass: profiles\nobjectClass: account2\n\n"
    for name, revoked in (("IBMUSER", ""), ("\\#A@B$", ""), ("GONE", "racfAttributes: REVOKED\n")):
        ldif += (
            f"dn: racfid={name},profiletype=user,{suffix}\nobjectClass: racfUser\n"
            f"objectClass: account2\nuserPassword: secret12\n{revoked}"
            f"racfConnectGroupName: racfid=JUPYTER,profiletype=GROUP,{suffix}\n\n"
        )
    with slapd.running(tmp_path / "racf", ldif=ldif) as server:
        directory = by_template(
            port=server.port,
            ca_file=server.ca_file,
            dn_templates=(f"racfid={{username}},profiletype=user,{suffix}",),
            allowed_groups=(f"racfid=jupyter,profiletype=group,{suffix}",),
            name_attributes=("racfid",),
            bind_dn=SERVICE,
            bind_password_file=secret,
        )
        for typed in ("IBMUSER", "ibmuser", "#A@B$"):
            person = directory.log_in(typed, "secret12")
            assert person.name == typed.lower()
            assert allowed(directory.ldap, person)
            assert directory.look_up(person.name) == person or typed == "#A@B$"
        with pytest.raises(LoginRefusedError, match="REVOKED"):
            directory.look_up("gone")


@pytest.mark.parametrize(
    ("attribute", "value", "is_disabled"),
    [
        ("userAccountControl", "512", False),
        ("userAccountControl", "514", True),
        ("accountExpires", "0", False),
        ("accountExpires", "9223372036854775807", False),
        ("accountExpires", "133000000000000000", True),
        ("accountExpires", "200000000000000000", False),
        ("nsAccountLock", "true", True),
        ("nsAccountLock", "false", False),
        ("pwdAccountLockedTime", "000001010000Z", True),
        # This lock ends by itself, and strangers can cause it.
        ("pwdAccountLockedTime", "20260101000000Z", False),
        ("ibm-pwdAccountLocked", "TRUE", True),
        ("ibm-pwdAccountLocked", "false", False),
        ("racfAttributes", "REVOKED", True),
        ("racfAttributes", "SPECIAL", False),
    ],
)
def test_disabled_accounts(attribute: str, value: str, is_disabled: bool) -> None:  # noqa: FBT001
    assert bool(disabled(Entry("cn=a", {attribute.lower(): [value]}))) is is_disabled


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("cn=a,dc=b", "CN=A, DC=B", True),
        (r"cn=a\,b,dc=c", r"cn=a\2cb,dc=c", True),
        ("cn=grün,dc=c", r"cn=gr\C3\BCn,dc=c", True),
        ("cn=a  b,dc=c", "cn=a b,dc=c", True),
        ("cn=a,dc=b", "cn=a,dc=b,dc=c", False),
        (r"cn=a\,dc=b", "cn=a,dc=b", False),
        ("", "cn=a", False),
        ("not a dn", "not a dn", True),
    ],
)
def test_when_dns_are_the_same(one: str, other: str, same: bool) -> None:  # noqa: FBT001
    assert same_dn(one, other) is same


def test_an_entrys_identifiers_are_all_that_it_shows() -> None:
    shown = {"uid": ["heir"], "entryuuid": ["AB-1"], "nsuniqueid": ["7290bc1d-EC2c"]}
    assert identities(Entry("cn=a", shown)) == {"entryuuid:ab-1", "nsuniqueid:7290bc1d-ec2c"}
    assert identities(Entry("cn=a", {"uid": ["heir"], "entryuuid": []})) == frozenset()


#: Names of groups, as they are in a DN.
ODD = {
    "comma": r"Desk\, 7",
    "plus": r"R\+D",
    "umlaut": "Übung",
    "quotes": r"the \"old\" ones",
    "more": r"a\;b \<c\> d\=e (f) *",
    "hash": r"\#1",
    "two": "Desk 8+ou=desks",
}

#: DNs that are none: an unescaped plus, quotes, the end of a value.
NONE = tuple(f"cn={name},ou=groups,{SUFFIX}" for name in ("R+D", 'the "old" ones', "C++", "a;b"))


def test_groups_with_odd_names_and_such_as_are_no_dns(tmp_path: Path, by_search: Make) -> None:
    """The one are found however they are written; the other have no members, and end no login."""
    dns = {name: f"cn={rdn},ou=groups,{SUFFIX}" for name, rdn in ODD.items()}
    ldif = "".join(
        slapd.group(rdn, "alice") + ("ou: desks\n\n" if name == "two" else "")
        for name, rdn in ODD.items()
    ).replace("\n\n\nou: desks", "\nou: desks")
    with slapd.running(tmp_path / "odd", ldif=ldif) as server:
        asked = {
            **dns,
            "other case": dns["comma"].replace("cn=Desk", "CN=DESK").replace(",ou=", " , OU = "),
            "other escapes": dns["umlaut"].replace("Ü", r"\C3\9C"),
        }
        directory = by_search(
            port=server.port,
            ca_file=server.ca_file,
            further_groups=(*asked.values(), *NONE),
        )
        alice = directory.log_in("alice", PASSWORDS["alice"])
        assert alice.groups == {group_dn("jupyter"), *asked.values()}
        assert directory.look_up("alice") == alice
        assert not directory.look_up("bob").groups
        assert directory.missing_groups() == set(NONE)
