"""Tests the directory step by step, as the hub uses it, and says how to fix each failure.

A role of the image that runs in the hub's own container, to test what the hub can reach.
"""

from __future__ import annotations

import argparse
import getpass
import os
import socket
import ssl
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

import ldap3
from cryptography import x509

from zhub import settings
from zhub.login import answer_advice, owner_advice, tls_advice
from zhub.login.directory import Directory
from zhub.login.directory.groups import exists, refuses_nested
from zhub.login.directory.people import Person, administers, allowed
from zhub.login.directory.session import (
    CONNECT_SECONDS,
    DirectoryError,
    LoginRefusedError,
    ServiceAccountError,
    Session,
)
from zhub.settings import Settings
from zhub.settings.ldap import Ldap, LdapTls
from zhub.state import database

FIRST_PROCESS = Path("/proc/1/cmdline")
"""Command line of the container's first process, which in the hub's container is the hub."""

EXPIRES_SOON = timedelta(days=30)


@dataclass
class Report:
    """Prints each result at once, since the next step may take long."""

    good: bool = True

    def about(self, text: str) -> None:
        """Print a heading."""
        print(text, flush=True)

    def ok(self, text: str) -> None:
        print(f"     ok  {text}", flush=True)

    def note(self, text: str) -> None:
        """Print something that need not be a mistake."""
        print(f"   note  {text}", flush=True)

    def failed(self, text: str, advice: str) -> None:
        self.good = False
        print(f" FAILED  {text}\n         → {advice}", flush=True)


def check(found: Settings, name: str = "", password: str | None = None) -> bool:
    """Test every server, and report what the hub would decide about a user.

    Args:
        found: the hub's settings.
        name: the user's, as typed at login; empty for no user.
        password: the user's, to log in with; None to let the service account look the user up.

    Returns:
        Whether everything works, and the user, if there is one, may log in.
    """
    report = Report()
    for warning in found.ldap.warnings:
        report.note(warning)
    working = []
    for address in found.ldap.servers:
        report.about(f"server {address}, TLS: {found.ldap.tls}")
        try:
            if _server(found.ldap, address, report):
                working.append(address)
        except ServiceAccountError as error:
            report.failed(
                str(error),
                answer_advice.on(
                    error,
                    "are ldapBindDn and ldapBindPassword right, is the account locked? Nothing more"
                    " is tried: more wrong passwords could lock it",
                ),
            )
            return False
        except DirectoryError as error:
            report.failed(str(error), answer_advice.on(error))
    if name and working:
        report.about(f"user {name}")
        ldap = replace(found.ldap, servers=tuple(working))
        _user(ldap, found.admin_users, name, password, report)
    return report.good


def _server(ldap: Ldap, address: str, report: Report) -> bool:
    """Test one server; returns whether it works, or raises DirectoryError."""
    host, port = ldap.endpoint(address)
    try:
        found = {str(answer[4][0]) for answer in socket.getaddrinfo(host, port)}
    except OSError as error:
        report.failed(
            f"no address for the name {host}: {error.strerror}",
            "is ldapServer right? The hub asks the name servers that the engine gives containers",
        )
        return False
    report.ok(f"{host} is at {', '.join(sorted(found))}")
    try:
        socket.create_connection((host, port), CONNECT_SECONDS).close()
    except OSError as error:
        report.failed(
            f"no connection to port {port}: {error.strerror or error}",
            "nothing listens there: is the directory up, is ldapPort right?"
            if isinstance(error, ConnectionRefusedError)
            else "is there a route, and no firewall, between the engine's machine and the server?",
        )
        return False
    report.ok(f"port {port} answers")
    with ExitStack() as stack:
        try:
            session = stack.enter_context(Directory(ldap).session(address))
        except DirectoryError as problem:
            _no_session(ldap, address, str(problem), report)
            return False
        return _session(ldap, session, report)


def _no_session(ldap: Ldap, address: str, reason: str, report: Report) -> None:
    if ldap.tls is LdapTls.NONE:
        report.failed(reason, "is it a directory? See ldapPort and ldapTls")
        return
    advice = tls_advice.on(reason)
    text = advice.text
    if "certificate" in reason:
        # Without verification, only to show the server's certificate: no password is sent.
        anything = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        anything.check_hostname = False
        anything.verify_mode = ssl.CERT_NONE
        anything.set_ciphers("ALL:@SECLEVEL=0")
        with Session(ldap, address, anything) as unverified:
            own = _certificate(unverified)
        reason += f"; the certificate is {_described(own)}"
        if not advice.at_fault(own):
            text = advice.of_ca
    report.failed(reason, text)


def _certificate(session: Session) -> x509.Certificate:
    return x509.load_der_x509_certificate(session.tls.getpeercert(binary_form=True) or b"")


def _described(certificate: x509.Certificate) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        whose = ", ".join(str(name.value) for name in names)
    except x509.ExtensionNotFound:
        whose = "no host name (it has no subjectAltName)"
    return (
        f"for {whose}; issued by {certificate.issuer.rfc4514_string()};"
        f" valid until {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    )


def _session(ldap: Ldap, session: Session, report: Report) -> bool:
    """Test bind and searches on a connected server; returns whether they work."""
    if ldap.tls is not LdapTls.NONE:
        certificate = _certificate(session)
        report.ok(
            f"{session.tls.version()}, verified: the certificate is {_described(certificate)}"
        )
        left = certificate.not_valid_after_utc - datetime.now(UTC)
        if left < EXPIRES_SOON:
            report.note(f"that is in {left.days} days: have it renewed, or nobody can log in then")
    if not ldap.bind_dn:
        return True
    session.bind_service()
    report.ok(f"the service account {ldap.bind_dn} is accepted")
    if ldap.search_base:
        attribute = ldap.name_attributes[0]
        found = session.search(
            ldap.search_base,
            f"(&({attribute}=*){ldap.user_filter})",
            ldap3.SUBTREE,
            ["1.1"],
            limit=1,
            nothing=(),
        )
        if not found:
            report.failed(
                f"it finds no user with {attribute} below {ldap.search_base}",
                "see ldapSearchBase, ldapNameAttributes, ldapUserFilter, and what the account may"
                " read",
            )
            return False
        report.ok(f"it finds users below {ldap.search_base}")
    groups = ldap.configured_groups
    if ldap.nested_groups and any(refuses_nested(session, group) for group in groups[:1]):
        report.note(
            "the server does not know Active Directory's rule for nested groups, so that"
            " ldapNestedGroups does nothing: members of a group's groups count only where people's"
            " own entries name that group (389's plugin MemberOf)"
        )
    for group in groups:
        if exists(session, group):
            report.ok(f"it finds the group {group}")
        else:
            report.note(
                f"it does not find the group {group}, which is right only if users' own entries"
                " name their groups; see ldapAllowedGroups, ldapAdminGroups, sharedFolders,"
                " profiles, and what the account may read"
            )
    return True


def _user(
    ldap: Ldap, admin_users: frozenset[str], name: str, password: str | None, report: Report
) -> None:
    directory = Directory(ldap)
    if password is None and not ldap.bind_dn:
        report.failed(
            "without a service account, a user can be found only by logging in",
            "add --password, which asks for the user's password; or set ldapBindDn",
        )
        return
    try:
        if password is None:
            person = directory.look_up(name, typed=True)
        else:
            person = directory.log_in(name, password)
    except LoginRefusedError as refused:
        advice = refused.advice
        if not advice and password is None:
            advice = (
                "is the name typed as at login? See ldapSearchBase, ldapNameAttributes,"
                " ldapUserFilter, ldapDnTemplates"
            )
        report.failed(str(refused), advice or "name or password is wrong, or the account is locked")
        return
    except DirectoryError as problem:
        report.failed(str(problem), answer_advice.on(problem))
        return
    report.ok(f"{name} is {person.dn}{'' if password is None else ', and the password is right'}")
    listed = "; ".join(person.listed_groups)
    report.ok(f"groups that the entry names: {listed}" if listed else "the entry names no groups")
    _decision(ldap, person, admin_users, report)
    if another := owner_advice.on(database.FILE, person):
        report.failed(*another)


def _decision(ldap: Ldap, person: Person, admin_users: frozenset[str], report: Report) -> None:
    """Report what the hub decides about a person, and why."""
    if allowed(ldap, person):
        which = "; ".join(sorted(person.groups.intersection(ldap.allowed_groups)))
        why = "everyone is" if ldap.allow_everyone else f"a member of {which}"
        report.ok(f"allowed, with the name {person.name} in the hub: {why}")
    else:
        report.failed(
            f"not allowed: a member of none of {'; '.join(ldap.allowed_groups)}",
            "put the user into one of these groups, or another group into ldapAllowedGroups",
        )
    if administers(ldap, person):
        which = "; ".join(sorted(person.groups.intersection(ldap.admin_groups)))
        report.ok(f"an administrator: a member of {which}")
    elif person.name in admin_users:
        report.ok("an administrator: named in adminUsers")
    else:
        report.ok("not an administrator")
    if ldap.group_base:
        report.ok(f"groups in the hub: {', '.join(person.all_groups) or 'none'}")


def run(arguments: Sequence[str]) -> int:
    """Check the directory with the settings of this container's hub; returns the exit code.

    Raises:
        SettingsError: when the hub itself could not start with its settings.
    """
    parser = argparse.ArgumentParser(
        prog="check-directory", description="Test the directory, and whether a user may log in."
    )
    parser.add_argument("--ldap", metavar="HOST[,HOST...]", help="instead of the hub's own")
    parser.add_argument(
        "--password", action="store_true", help="ask for the user's password, and log in once"
    )
    parser.add_argument(
        "--groups",
        action="store_true",
        help="print only the groups that settings name and the directory does not have",
    )
    parser.add_argument("user", nargs="?", default="", help="name, as typed at login")
    options = parser.parse_args(arguments)
    environment = dict(os.environ)
    settings.add_arguments(
        environment, [f"--ldap={options.ldap}"] if options.ldap else hubs_arguments()
    )
    if options.groups:
        return _groups(settings.read(environment))
    password = None
    if options.password:
        # Never as an argument: every user of the machine can read those.
        password = getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    return 0 if check(settings.read(environment), options.user, password) else 1


def _groups(found: Settings) -> int:
    """Print each group that the directory does not have, after its setting; return the exit code.

    Without a service account nobody may search, and nothing is printed.
    """
    ldap = found.ldap
    if not ldap.bind_dn:
        return 0
    try:
        lost = Directory(ldap).missing_groups()
    except DirectoryError as problem:
        print(problem, file=sys.stderr)
        return 1
    named = {
        "ldapAllowedGroups": ldap.allowed_groups,
        "ldapAdminGroups": ldap.admin_groups,
        "sharedFolders": chain.from_iterable(folder.groups for folder in found.shared_folders),
        "profiles": chain.from_iterable(profile.groups for profile in found.profiles),
    }
    for setting, groups in named.items():
        for group in dict.fromkeys(groups):
            if group in lost:
                print(f"{setting} {group}")
    return 0


def hubs_arguments() -> list[str]:
    """Return the --ldap argument of the hub that runs in this container; empty if none runs."""
    arguments = FIRST_PROCESS.read_text(errors="replace").split("\0")
    return [argument for argument in arguments if argument.startswith("--ldap=")]
