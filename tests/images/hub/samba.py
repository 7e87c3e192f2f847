"""A real Active Directory, Samba's, on the loopback of a network namespace of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ldap3
import pytest
from ldap3.core.exceptions import LDAPException
from ldap3.utils.dn import escape_rdn

from tests.engine.namespaces import entered
from tests.images.hub.real_directory import RealDirectory
from tests.pki import Identity

SUFFIX = "DC=example,DC=org"
PEOPLE = f"OU=People,{SUFFIX}"
GROUPS = f"OU=Groups,{SUFFIX}"
ADMINISTRATOR = "Administrator@example.org"
SERVICE = "hub@example.org"
PASSWORD = "Wonder-land-1"
"""Everybody's."""

#: [MS-ADTS] 2.2.16.
NORMAL, DISABLED, NEVER_EXPIRES = 0x200, 0x202, 0x10200

LOCKED_AFTER = 3
"""Wrong passwords."""

CONFIG = """\
[global]
netbios name = DC1
realm = EXAMPLE.ORG
workgroup = EXAMPLE
server role = active directory domain controller
server services = ldap
interfaces = lo
bind interfaces only = yes
binddns dir = {folder}
cache directory = {folder}
lock directory = {folder}
ncalrpc dir = {folder}/ncalrpc
ntp signd socket directory = {folder}/ntp
pid directory = {folder}
private dir = {folder}/private
state directory = {folder}
winbindd socket directory = {folder}/winbindd
log file = {folder}/log
logging = file
tls keyfile = {folder}/tls.key
tls certfile = {folder}/tls.crt
tls cafile = {folder}/ca.crt
"""


def person_dn(name: str) -> str:
    return f"CN={escape_rdn(name)},{PEOPLE}"


def group_dn(name: str) -> str:
    return f"CN={escape_rdn(name)},{GROUPS}"


class Samba(RealDirectory):
    """The server, which is at 127.0.0.1 for whoever is in its namespace."""

    def person(self, name: str, *, cn: str = "", **attributes: Any) -> str:
        """Add a person, whose password is PASSWORD, and return the DN.

        Args:
            name: sAMAccountName.
            cn: the DN's own value; the same as the name by default.
            attributes: more of them, or others than by default.
        """
        dn = person_dn(cn or name)
        default = {
            "sAMAccountName": name,
            "userPrincipalName": f"{name}@example.org",
            "userAccountControl": NORMAL,
            # [MS-ADTS] 3.1.1.3.1.5.1: in quotes.
            "unicodePwd": f'"{PASSWORD}"'.encode("utf-16-le"),
        }
        self.add(dn, "user", **(default | attributes))
        return dn

    def group(self, name: str, *members: str, cn: str = "") -> str:
        """Add a group of entries, and return its DN."""
        dn = group_dn(cn or name)
        more: Mapping[str, Any] = {"member": list(members)} if members else {}
        self.add(dn, "group", sAMAccountName=name, **more)
        return dn

    def age(self, dn: str) -> None:
        """Let a password be half a year old, which no client may write."""
        code = (
            "import ldb, sys; old = ldb.Message(ldb.Dn(db := ldb.Ldb(sys.argv[1]), sys.argv[2]));"
            " old['x'] = ldb.MessageElement(sys.argv[3], ldb.FLAG_MOD_REPLACE, 'pwdLastSet');"
            " db.modify(old)"
        )
        half_a_year = 182 * 86400 * 10**7
        then = int(self.value(dn, "pwdLastSet")) - half_a_year
        database = self.folder / "private" / "sam.ldb.d" / f"{SUFFIX.upper()}.ldb"
        # The Python of Debian, for which Samba's modules are.
        asked = ["/usr/bin/python3", "-c", code, str(database), dn, str(then)]
        subprocess.run(asked, check=True)

    def join(self, group: str, *members: str) -> None:
        """Add members to a group."""
        changes = {"member": [(ldap3.MODIFY_ADD, list(members))]}
        self.done(self.connection.modify(group, changes), group)

    def value(self, dn: str, attribute: str) -> Any:
        """Return the first value of an entry's attribute, as the administrator sees it."""
        self.done(
            self.connection.search(dn, "(objectClass=*)", ldap3.BASE, attributes=[attribute]), dn
        )
        return self.connection.response[0]["raw_attributes"][attribute][0].decode()


@contextmanager
def running(folder: Path) -> Iterator[Samba]:
    """Start a new domain, and be in its namespace until it ends.

    Its LDAP server has fixed ports, which another one of this machine may have.
    """
    if os.geteuid() or not shutil.which("ip"):
        pytest.skip("Samba's fixed ports need root, and ip")
    if not shutil.which("samba") or not shutil.which("samba-tool"):
        pytest.skip(
            "no Active Directory of Samba: apt-get install samba-ad-dc samba-ad-provision"
            " samba-dsdb-modules"
        )
    name = f"zsamba-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        with entered(name), _running(folder) as server:
            yield server
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


@contextmanager
def _running(folder: Path) -> Iterator[Samba]:
    folder.mkdir(parents=True)
    authority = Identity.create("Test authority", authority=True)
    authority.write(folder, "ca")
    Identity.create("127.0.0.1", "localhost", issuer=authority).write(folder, "tls")
    (folder / "tls.key").chmod(0o600)  # Samba refuses others.
    _tool(
        *("domain", "provision", f"--targetdir={folder}", "--realm=EXAMPLE.ORG"),
        *("--domain=EXAMPLE", "--host-name=dc1", "--host-ip=127.0.0.1", "--server-role=dc"),
        *(f"--adminpass={PASSWORD}", "--dns-backend=NONE"),
    )
    config = folder / "smb.conf"
    config.write_text(CONFIG.format(folder=folder))
    for name in ("ncalrpc", "ntp", "winbindd"):
        (folder / name).mkdir(exist_ok=True)
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            ["samba", "--foreground", "--model=single", f"--configfile={config}"],
            stdout=out,
            stderr=out,
        )
    try:
        version = subprocess.run(["samba", "--version"], check=True, capture_output=True, text=True)
        server = Samba(folder, version.stdout.strip(), _connected(process, folder))
        _fill(server)
        yield server
        server.connection.unbind()
    finally:
        process.terminate()
        process.wait(20)


def _tool(*arguments: str) -> None:
    done = subprocess.run(["samba-tool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _connected(process: subprocess.Popen[bytes], folder: Path) -> ldap3.Connection:
    """Return the administrator's connection, once the server answers."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, (folder / "log").read_text(errors="replace")
        host = ldap3.Server("127.0.0.1", 636, use_ssl=True, get_info=ldap3.NONE)
        connection = ldap3.Connection(host, ADMINISTRATOR, PASSWORD, auto_referrals=False)
        try:
            if connection.bind():
                return connection
        except LDAPException:
            pass
        time.sleep(0.1)
    raise AssertionError((folder / "log").read_text(errors="replace"))


def _fill(server: Samba) -> None:
    server.change(SUFFIX, lockoutThreshold=LOCKED_AFTER, minPwdAge=0)
    server.add(PEOPLE, "organizationalUnit")
    server.add(GROUPS, "organizationalUnit")
    server.person("hub", userAccountControl=NEVER_EXPIRES)
