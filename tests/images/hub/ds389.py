"""A real 389 Directory Server on loopback, without systemd and with all files in a folder."""

from __future__ import annotations

import os
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
from ldap3.utils.dn import escape_rdn

from tests.images.hub.real_directory import RealDirectory
from tests.pki import Identity
from tests.ports import free_port
from toolchain.places import ROOT

SUFFIX = "dc=example,dc=org"
PEOPLE = f"ou=people,{SUFFIX}"
GROUPS = f"ou=groups,{SUFFIX}"
MANAGER = "cn=Directory Manager"
SERVICE = f"uid=jupyterhub,ou=services,{SUFFIX}"
PASSWORD = "wonder land 1"
"""Everybody's."""

SHARE = Path("/usr/share/dirsrv")
ETC = Path("/etc/dirsrv")

#: What `dscreate` adds: a database for the suffix.
DATABASE = f"""
dn: cn=userroot,cn=ldbm database,cn=plugins,cn=config
objectClass: top
objectClass: extensibleObject
objectClass: nsBackendInstance
cn: userroot
nsslapd-suffix: {SUFFIX}

dn: cn="{SUFFIX}",cn=mapping tree,cn=config
objectClass: top
objectClass: extensibleObject
objectClass: nsMappingTree
cn: "{SUFFIX}"
nsslapd-backend: userroot
nsslapd-state: backend
"""


def person_dn(name: str) -> str:
    return f"uid={escape_rdn(name)},{PEOPLE}"


def group_dn(name: str) -> str:
    return f"cn={escape_rdn(name)},{GROUPS}"


@dataclass
class Ds389(RealDirectory):
    """The server."""

    port: int
    tls_port: int
    process: subprocess.Popen[bytes]

    def restart(self) -> None:
        """Stop and start it: plugins that it has enabled at its first start work from then on."""
        self.connection.unbind()
        self.stop()
        self.process = _started(self.folder)
        self.connection = _connected(self.process, self.folder, self.port)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)

    def person(self, name: str, **attributes: Any) -> str:
        """Add a person, whose password is PASSWORD, and return the DN."""
        dn = person_dn(name)
        default = {"sn": name, "cn": name, "userPassword": PASSWORD}
        self.add(dn, "inetOrgPerson", **(default | attributes))
        return dn

    def group(self, name: str, *members: str, kind: str = "groupOfNames") -> str:
        """Add a group of entries, and return its DN."""
        dn = group_dn(name)
        attribute = {"groupOfNames": "member", "groupOfUniqueNames": "uniqueMember"}[kind]
        more: dict[str, Any] = {attribute: list(members)} if members else {}
        self.add(dn, kind, **more)
        return dn


@contextmanager
def running(folder: Path) -> Iterator[Ds389]:
    """Start a new server, with a service account that has the rights that docs/identity.md says."""
    if not _program() or not shutil.which("pk12util"):
        pytest.skip("no 389 Directory Server: apt-get install 389-ds-base libnss3-tools")
    folder.mkdir(parents=True)
    authority = Identity.create("Test authority", authority=True)
    authority.write(folder, "ca")
    Identity.create("127.0.0.1", "localhost", issuer=authority).write(folder, "tls")
    port, tls_port = free_port(), free_port()
    _write(folder, port, tls_port)
    asked = subprocess.run([_program(), "-v"], check=False, capture_output=True, text=True)
    version = asked.stdout.splitlines()[1].split()[0]
    server = Ds389(folder, version, None, port, tls_port, _started(folder))
    try:
        server.connection = _connected(server.process, folder, port)
        _fill(server)
        yield server
        server.connection.unbind()
    finally:
        server.stop()


def _program() -> str:
    return shutil.which("ns-slapd", path=f"{os.environ['PATH']}:/usr/sbin") or ""


def _started(folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "out").open("ab") as out:
        return subprocess.Popen(
            [_program(), "-D", str(folder / "etc"), "-i", str(folder / "pid"), "-d", "0"],
            stdout=out,
            stderr=out,
        )


def _write(folder: Path, port: int, tls_port: int) -> None:
    """Write the configuration from the package's template, as `dscreate` does."""
    folders = {name: folder / name for name in ("bak", "db", "etc", "ldif", "lock", "log", "run")}
    for path in folders.values():
        path.mkdir()
    shutil.copytree(ETC / "schema", folders["etc"] / "schema")
    for name in ("certmap.conf", "slapd-collations.conf"):
        shutil.copy(ETC / "config" / name, folders["etc"])
    values = {
        f"{name}_dir": str(folders[name]) for name in ("bak", "db", "ldif", "lock", "log", "run")
    }
    values |= {
        **dict.fromkeys(("cert_dir", "config_dir"), str(folders["etc"])),
        **dict.fromkeys(("inst_dir", "tmp_dir"), str(folders["run"])),
        "schema_dir": str(folders["etc"] / "schema"),
        "db_home_dir": str(folders["db"]),
        "db_lib": "bdb",
        "ds_passwd": subprocess.run(
            ["pwdhash", PASSWORD], check=True, capture_output=True, text=True
        ).stdout.strip(),
        "ds_port": str(port),
        "ds_suffix": SUFFIX,
        "ds_user": "root" if os.geteuid() == 0 else str(os.geteuid()),
        "fqdn": "localhost",
        "rootdn": MANAGER,
        "ldapi": str(folders["run"] / "ldapi"),
        "ldapi_enabled": "off",
        "ldapi_autobind": "off",
    }
    text = (SHARE / "data" / "template-dse.ldif").read_text()
    text = re.sub(r"%(\w+)%", lambda found: values[found[1]], text)
    text = text.replace(
        "dn: cn=config\n",
        f"dn: cn=config\nnsslapd-security: on\nnsslapd-securePort: {tls_port}\n"
        "nsslapd-listenhost: 127.0.0.1\nnsslapd-securelistenhost: 127.0.0.1\n",
        1,
    )
    plugin = "dn: cn=MemberOf Plugin,cn=plugins,cn=config\n"
    before, _, after = text.partition(plugin)
    after = after.replace("nsslapd-pluginenabled: off", "nsslapd-pluginenabled: on", 1)
    (folders["etc"] / "dse.ldif").write_text(before + plugin + after.rstrip("\n") + "\n" + DATABASE)
    _certificate_database(folder, folders["etc"])


def _certificate_database(folder: Path, database: Path) -> None:
    empty = folder / "no-password"
    empty.write_text("\n")
    pem = folder / "tls"
    out = f"-out {pem}.p12 -passout file:{empty}"
    for command in (
        f"certutil -N -d {database} -f {empty}",
        f"certutil -A -d {database} -n ca -t CT,, -i {folder}/ca.crt",
        f"openssl pkcs12 -export -in {pem}.crt -inkey {pem}.key -name Server-Cert {out}",
        f"pk12util -i {pem}.p12 -d {database} -k {empty} -w {empty}",
    ):
        subprocess.run(command.split(), check=True, capture_output=True)


def _connected(process: subprocess.Popen[bytes], folder: Path, port: int) -> ldap3.Connection:
    """Return the directory manager's connection, once the server answers."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, (folder / "log" / "errors").read_text(errors="replace")
        host = ldap3.Server("127.0.0.1", port, get_info=ldap3.NONE)
        connection = ldap3.Connection(host, MANAGER, PASSWORD)
        try:
            if connection.bind():
                return connection
        except LDAPException:
            pass
        time.sleep(0.1)
    raise AssertionError((folder / "log" / "errors").read_text(errors="replace"))


def _fill(server: Ds389) -> None:
    server.add(SUFFIX, "domain")
    for unit in ("people", "groups", "services"):
        server.add(f"ou={unit},{SUFFIX}", "organizationalUnit")
    server.add(SERVICE, ["account", "simpleSecurityObject"], userPassword=PASSWORD)
    secret = server.folder / "manager"
    secret.write_text(PASSWORD)
    url = f"ldap://127.0.0.1:{server.port}"
    done = subprocess.run(
        ["ldapmodify", "-x", "-H", url, "-D", MANAGER, "-y", str(secret)],
        input=documented_rights(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def documented_rights() -> str:
    """Return what the service account may read, as docs/identity.md has it, in this directory."""
    page = (ROOT / "docs" / "identity.md").read_text()
    (found,) = re.findall(r"```ldif\n(.*?acl .*?)```", page, re.DOTALL)
    return str(found).replace("dc=example,dc=com", SUFFIX)
