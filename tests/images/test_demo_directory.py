"""The demo directory's image: who is in it, and that it can be asked safely."""

from __future__ import annotations

import pytest
from zhub.directory import Directory, DirectoryError, LoginRefusedError, allowed
from zhub.ldap import Ldap, LdapTls

from tests.images.conftest import PASSWORDS, Site

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module", params=list(LdapTls))
def directory(request: pytest.FixtureRequest, site: Site) -> Directory:
    """The image's directory, asked from here."""
    container = site.engine.containers.get(f"{site.prefix}-directory")
    inside = 636 if request.param is LdapTls.LDAPS else 389
    (binding,) = container.attrs["NetworkSettings"]["Ports"][f"{inside}/tcp"]
    return Directory(
        Ldap(
            servers=("127.0.0.1",),
            port=int(binding["HostPort"]),
            tls=request.param,
            ca_file=site.ca_file,
            dn_templates=("uid={username},ou=people,dc=example,dc=org",),
            allowed_groups=("cn=jupyter,ou=groups,dc=example,dc=org",),
        )
    )


@pytest.mark.parametrize(("name", "password"), PASSWORDS.items())
def test_its_users_get_in(directory: Directory, name: str, password: str) -> None:
    person = directory.log_in(name, password)
    assert person.name == name
    assert allowed(directory.ldap, person)
    with pytest.raises(LoginRefusedError):
        directory.log_in(name, f"{password}.")


def test_its_certificate_is_verified(directory: Directory) -> None:
    if directory.ldap.tls is LdapTls.NONE:
        return
    other = Directory(
        Ldap(servers=("localhost",), port=directory.ldap.port, tls=directory.ldap.tls)
    )
    with pytest.raises(DirectoryError, match="certificate verify failed"):
        other.log_in("alice", PASSWORDS["alice"])
