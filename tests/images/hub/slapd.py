"""Real OpenLDAP servers on loopback, and the binds they have received."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ldap3
import pytest
from ldap3.core.exceptions import LDAPException
from zhub.settings.ldap import LdapTls

from tests.pki import Identity
from tests.ports import free_port

SUFFIX = "dc=example,dc=org"
ROOT = f"cn=root,{SUFFIX}"
ROOT_PASSWORD = "root password"
SERVICE = f"cn=hub,ou=services,{SUFFIX}"
SERVICE_PASSWORD = "service password"

CONFIG = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
# What RACF, Active Directory and 389 add to a user's entry.
attributetype (1.1.1.1 NAME 'racfid' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15)
attributetype (1.1.1.2 NAME 'profiletype' SUP racfid)
attributetype (1.1.1.3 NAME 'racfConnectGroupName' SUP racfid)
attributetype (1.1.1.4 NAME 'racfAttributes' SUP racfid)
attributetype (1.1.1.5 NAME 'sAMAccountName' SUP racfid SINGLE-VALUE)
attributetype (1.1.1.6 NAME 'userAccountControl' SUP racfid SINGLE-VALUE)
attributetype (1.1.1.7 NAME 'accountExpires' SUP racfid SINGLE-VALUE)
attributetype (1.1.1.8 NAME 'nsAccountLock' SUP racfid SINGLE-VALUE)
objectclass (1.1.2.1 NAME 'account2' SUP top AUXILIARY MAY (racfid $ profiletype $
  racfConnectGroupName $ racfAttributes $ sAMAccountName $ userAccountControl $ accountExpires $
  nsAccountLock))
objectclass (1.1.2.2 NAME 'profiles' SUP top STRUCTURAL MUST (profiletype))
objectclass (1.1.2.3 NAME 'racfUser' SUP top STRUCTURAL MUST (racfid) MAY userPassword)
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
moduleload refint
moduleload ppolicy
pidfile {folder}/slapd.pid
TLSCertificateFile {folder}/tls.crt
TLSCertificateKeyFile {folder}/tls.key
database mdb
suffix "dc=example,dc=org"
rootdn "cn=root,dc=example,dc=org"
rootpw "root password"
directory {folder}/data
maxsize 16777216
overlay memberof
overlay refint
refint_attributes member
"""

ACCESS = """\
access to attrs=userPassword by anonymous auth by * none
access to dn.subtree="ou=groups,dc=example,dc=org"
  by dn.exact="cn=hub,ou=services,dc=example,dc=org" read by users read by * none
access to * by users read by anonymous auth by * none
"""

HIDDEN_GROUPS = ACCESS.replace("by users read by * none", "by * none", 1)
"""Access rules by which users themselves may not read groups."""

HIDDEN_IDENTIFIERS = f"access to attrs=entryUUID by * none\n{ACCESS}"
"""Access rules by which nobody may read what tells an entry from every other."""


@dataclass
class Slapd:
    """A server, on loopback and perhaps at another address."""

    folder: Path
    port: int
    tls_port: int
    address: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def ca_file(self) -> Path:
        """The authority of its certificate, if the certificate is a valid one."""
        return self.folder / "ca.crt"

    def everybody(self) -> dict[str, Any]:
        """Settings of a hub, without a service account, that lets everybody in."""
        return {
            "servers": ("127.0.0.1",),
            "port": self.port,
            "tls": LdapTls.NONE,
            "dn_templates": (f"uid={{username}},ou=people,{SUFFIX}",),
            "allow_everyone": True,
        }

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def binds(self) -> list[str]:
        """Return the DNs it has received a password for, except for those that tests use."""
        found = re.findall(r'BIND dn="(.*)" method=128', self.log)
        return [dn for dn in found if dn != ROOT]

    def searches(self) -> list[str]:
        """Return the bases it has searched below."""
        return re.findall(r'SRCH base="(.*?)" scope', self.log)

    def change(self, ldif: str, *options: str) -> None:
        """Apply changes in LDIF, with an administrator's tools and more options of theirs."""
        secret = self.folder / "root"
        secret.write_text(ROOT_PASSWORD)
        url = f"ldap://127.0.0.1:{self.port}"
        subprocess.run(
            ["ldapmodify", "-a", "-x", "-H", url, "-D", ROOT, "-y", str(secret), *options],
            input=ldif.encode(),
            check=True,
            capture_output=True,
        )

    def start(self) -> None:
        """Start, with the entries it had when it was stopped; returns when it answers."""
        urls = [f"ldap://127.0.0.1:{self.port}", f"ldap://[::1]:{self.port}"]
        urls += [f"ldaps://127.0.0.1:{self.tls_port}"]
        if self.address:
            urls += [
                f"ldap://{self.address}:{self.port}",
                f"ldaps://{self.address}:{self.tls_port}",
            ]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    "slapd",
                    "-f",
                    str(self.folder / "slapd.conf"),
                    "-h",
                    " ".join(urls),
                    "-d",
                    "stats",
                ],
                stderr=log,
            )
        end = time.monotonic() + 20
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log
            probe = ldap3.Connection(ldap3.Server("127.0.0.1", self.port, get_info=ldap3.NONE))
            try:
                probe.open()
                probe.unbind()
            except LDAPException:
                time.sleep(0.05)
            else:
                return
        raise AssertionError(self.log)

    def stop(self) -> None:
        """Stop; does nothing when it is not running."""
        if self.process:
            self.process.terminate()
            self.process.wait(10)


@contextmanager
def running(  # noqa: PLR0913 - what a server differs in
    folder: Path,
    certificate: Identity | None = None,
    *,
    access: str = ACCESS,
    ldif: str = "",
    port: int = 0,
    address: str = "",
) -> Iterator[Slapd]:
    """Start a server with the people and groups below.

    Args:
        folder: for all of its files.
        certificate: its own; None for one for this machine, issued by the authority in ca.crt.
        access: access rules in slapd's syntax.
        ldif: more entries.
        port: for LDAP; 0 for any.
        address: another address of this machine to listen on, besides loopback.
    """
    if not shutil.which("slapd"):
        pytest.skip("no slapd: apt-get install slapd ldap-utils")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir()
    if certificate is None:
        authority = Identity.create("Test authority", authority=True)
        authority.write(folder, "ca")
        certificate = Identity.create("127.0.0.1", "localhost", "::1", issuer=authority)
    certificate.write(folder, "tls")
    (folder / "slapd.conf").write_text(CONFIG.format(folder=folder) + access)
    server = Slapd(folder, port or free_port(), free_port(), address)
    try:
        server.start()
        server.change(PEOPLE + ldif)
        yield server
    finally:
        server.stop()


PASSWORDS = {
    "alice": "wonder land 1",
    "bob": "grün & blau",
    "carol": "a,b=c+d",
    "dave": "(*)(uid=*)",
    "Erin": "erin's",
    "frank": "frank's",
}
"""Passwords; one has a space, one a character of two bytes in UTF-8, one looks like a filter."""


def person(name: str, *lines: str, base: str = f"ou=people,{SUFFIX}") -> str:
    """Return LDIF of a person; further lines are attributes."""
    return "\n".join(
        [
            f"dn: uid={name},{base}",
            "objectClass: inetOrgPerson",
            "objectClass: account2",
            f"cn: {name}",
            f"sn: {name}",
            f"mail: {name.lower()}@example.org",
            f"userPassword: {PASSWORDS.get(name, name)}",
            *lines,
            "\n",
        ]
    )


def group(name: str, *members: str, kind: str = "groupOfNames") -> str:
    """Return LDIF of a group; members are names of people, or DNs."""
    attribute = {
        "groupOfNames": "member",
        "groupOfUniqueNames": "uniqueMember",
        "posixGroup": "memberUid",
    }[kind]
    dns = [name if "=" in name else f"uid={name},ou=people,{SUFFIX}" for name in members]
    return "\n".join(
        [
            f"dn: cn={name},ou=groups,{SUFFIX}",
            f"objectClass: {kind}",
            *(["gidNumber: 1000"] if kind == "posixGroup" else []),
            *(f"{attribute}: {value}" for value in (members if kind == "posixGroup" else dns)),
            "\n",
        ]
    )


def group_dn(name: str) -> str:
    return f"cn={name},ou=groups,{SUFFIX}"


PEOPLE = (
    f"""\
dn: {SUFFIX}
objectClass: organization
objectClass: dcObject
o: Example
dc: example

"""
    + "".join(
        f"dn: ou={unit},{SUFFIX}\nobjectClass: organizationalUnit\n\n"
        for unit in ("people", "staff", "groups", "services")
    )
    + f"dn: {SERVICE}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\n"
    f"userPassword: {SERVICE_PASSWORD}\n\n"
    + "".join(map(person, PASSWORDS))
    + group("jupyter", "alice", "carol", f"cn=team,ou=groups,{SUFFIX}")
    + group("admins", "carol")
    + group("unique", "bob", kind="groupOfUniqueNames")
    + group("posix", "Erin", kind="posixGroup")
    + group("team", "frank")
)


WITH_POLICIES = (
    f"{ACCESS}overlay ppolicy\n"
    f'ppolicy_default "cn=default,ou=policies,{SUFFIX}"\n'
    "ppolicy_use_lockout\n"
)
"""Access rules, and password policies; with the last line, locked accounts say so in a control."""


def _policy(name: str, *lines: str) -> str:
    return "\n".join(
        [
            f"dn: cn={name},ou=policies,{SUFFIX}",
            "objectClass: applicationProcess",
            "objectClass: pwdPolicy",
            "pwdAttribute: userPassword",
            *lines,
            "\n",
        ]
    )


def _under(policy: str) -> str:
    return f"pwdPolicySubentry: cn={policy},ou=policies,{SUFFIX}"


@contextmanager
def with_policies(folder: Path) -> Iterator[Slapd]:
    """Start a server with policies, and people whose passwords are their names.

    The password of `old` has expired, that of `grace` too, but it still lets in a few times;
    `reset` has to choose another; `locked` is locked until an administrator ends that. Everybody is
    locked after three wrong passwords.
    """
    ldif = (
        f"dn: ou=policies,{SUFFIX}\nobjectClass: organizationalUnit\n\n"
        + _policy("default", "pwdLockout: TRUE", "pwdMaxFailure: 3", "pwdMustChange: TRUE")
        + _policy("old", "pwdMaxAge: 86400")
        + _policy("grace", "pwdMaxAge: 86400", "pwdGraceAuthNLimit: 9")
        + person("old", _under("old"))
        + person("grace", _under("grace"))
        + person("reset", "pwdReset: TRUE")
        + person("locked")
    )
    with running(folder, access=WITH_POLICIES, ldif=ldif) as server:
        for name, attribute, value in (
            ("old", "pwdChangedTime", "20200101000000Z"),
            ("grace", "pwdChangedTime", "20200101000000Z"),
            ("locked", "pwdAccountLockedTime", "000001010000Z"),
        ):
            server.change(
                f"dn: uid={name},ou=people,{SUFFIX}\nchangetype: modify\n"
                f"replace: {attribute}\n{attribute}: {value}\n\n",
                # Only the server itself may write these otherwise.
                *("-e", "!relax"),
            )
        yield server
