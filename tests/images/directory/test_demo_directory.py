"""The demo directory's image: its users, its certificate, its access rules."""

from __future__ import annotations

import json
import shlex
import textwrap
from pathlib import Path

import pytest
from zhub.login.directory import Directory
from zhub.login.directory.people import administers, allowed
from zhub.login.directory.session import DirectoryError, LoginRefusedError
from zhub.settings.ldap import Ldap, LdapTls

from tests.built import DIRECTORY, HARDENED, PASSWORDS, Site

pytestmark = pytest.mark.engine

BASE = "dc=example,dc=org"


@pytest.fixture(scope="module", params=list(LdapTls))
def directory(
    request: pytest.FixtureRequest, site: Site, tmp_path_factory: pytest.TempPathFactory
) -> Directory:
    """A client of the image's directory."""
    container = site.engine.containers.get(f"{site.prefix}-directory")
    inside = 636 if request.param is LdapTls.LDAPS else 389
    (binding,) = container.attrs["NetworkSettings"]["Ports"][f"{inside}/tcp"]
    password = tmp_path_factory.mktemp("service") / "password"
    password.write_text(DIRECTORY["hub"]["password"])
    return Directory(
        Ldap(
            servers=("127.0.0.1",),
            port=int(binding["HostPort"]),
            tls=request.param,
            ca_file=site.ca_file,
            bind_dn=f"uid=hub,ou=services,{BASE}",
            bind_password_file=password,
            search_base=f"ou=people,{BASE}",
            allowed_groups=(f"cn=jupyter,ou=groups,{BASE}",),
            admin_groups=(f"cn=admins,ou=groups,{BASE}",),
            group_base=f"ou=groups,{BASE}",
        )
    )


@pytest.mark.parametrize(
    ("name", "groups"), [("alice", ("jupyter",)), ("bob", ("admins", "jupyter")), ("carol", ())]
)
def test_its_users_have_their_passwords_and_groups(
    directory: Directory, name: str, groups: tuple[str, ...]
) -> None:
    person = directory.log_in(name, PASSWORDS[name])
    assert person == directory.look_up(name)
    assert (person.name, person.all_groups) == (name, groups)
    assert allowed(directory.ldap, person) == ("jupyter" in groups)
    assert administers(directory.ldap, person) == ("admins" in groups)
    with pytest.raises(LoginRefusedError):
        directory.log_in(name, f"{PASSWORDS[name]}.")


def test_the_service_account_is_not_a_user(directory: Directory) -> None:
    with pytest.raises(LoginRefusedError, match="no entry"):
        directory.log_in("hub", DIRECTORY["hub"]["password"])


def test_its_certificate_is_verified(directory: Directory) -> None:
    if directory.ldap.tls is LdapTls.NONE:
        return
    other = Directory(
        Ldap(servers=("localhost",), port=directory.ldap.port, tls=directory.ldap.tls)
    )
    with pytest.raises(DirectoryError, match="certificate verify failed"):
        other.log_in("alice", PASSWORDS["alice"])


def test_only_root_in_the_container_changes_entries(directory: Directory, site: Site) -> None:
    """As docs/identity.md describes how to test what happens when a user leaves a group."""
    container = site.engine.containers.get(f"{site.prefix}-directory")

    def change(verb: str, how: str) -> bool:
        ldif = f"""\
            dn: cn=jupyter,ou=groups,{BASE}
            changetype: modify
            {verb}: member
            member: uid=bob,ou=people,{BASE}
            """
        command = f"printf %s {shlex.quote(textwrap.dedent(ldif))} | ldapmodify -Q {how}"
        return bool(container.exec_run(["sh", "-c", command]).exit_code == 0)

    assert not change("delete", "-x -H ldap://127.0.0.1")
    assert allowed(directory.ldap, directory.look_up("bob"))
    try:
        assert change("delete", "-Y EXTERNAL -H ldapi:///")
        assert not allowed(directory.ldap, directory.look_up("bob"))
    finally:
        assert change("add", "-Y EXTERNAL -H ldapi:///")


@pytest.mark.parametrize(
    ("users", "message"),
    [
        ([], "users.json is not a JSON object with users"),
        ({}, "users.json has no users"),
        ({"a b": DIRECTORY["alice"]}, "user 'a b': the name 'a b' must consist of"),
        ({"alice": DIRECTORY["alice"] | {"groups": ["x\ny"]}}, "user 'alice': the name 'x"),
        ({"alice": DIRECTORY["alice"] | {"password": ""}}, "user 'alice': the password is empty"),
    ],
)
def test_invalid_users_are_reported(site: Site, users: object, message: str) -> None:
    files: Path = site.certificate("directory", "directory")
    (files / "users.json").write_text(json.dumps(users))
    container = site.start("refused", site.images.directory, files, **HARDENED)
    try:
        assert container.wait(timeout=60)["StatusCode"] == 2
        assert message in container.logs().decode()
    finally:
        container.remove(force=True)
