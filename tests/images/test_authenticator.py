"""Login at the real demo directory: what is let in, and to whom a password is never sent."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ldap3
import pytest
from ldapauthenticator.ldapauthenticator import TlsStrategy
from tornado import web
from zhub.authenticator import DirectoryAuthenticator

from tests.images.conftest import PASSWORDS, Site
from tests.images.pki import Identity

pytestmark = pytest.mark.engine

GROUP = "cn=jupyter,ou=groups,dc=example,dc=org"
NAMES = r"^[A-Za-z0-9@#$][A-Za-z0-9@#$._-]{0,63}$"


@pytest.fixture(scope="module")
def ports(site: Site) -> dict[str, int]:
    """Where the directory is on loopback, by how TLS is used."""
    directory = site.engine.containers.get(f"{site.prefix}-directory")
    bindings = directory.attrs["NetworkSettings"]["Ports"]
    published = {port: int(bindings[f"{port}/tcp"][0]["HostPort"]) for port in (389, 636)}
    return {"before_bind": published[389], "insecure": published[389], "on_connect": published[636]}


@pytest.fixture
def authenticator(site: Site, ports: dict[str, int]) -> Any:
    def make(
        tls: str = "before_bind", *, ca_file: Path = site.ca_file, **options: Any
    ) -> DirectoryAuthenticator:
        return DirectoryAuthenticator(
            **{
                "server_addresses": ["127.0.0.1"],
                "server_port": ports[tls],
                "tls_strategy": TlsStrategy[tls],
                "tls_kwargs": {"validate": ssl.CERT_REQUIRED, "ca_certs_file": str(ca_file)},
                "bind_dn_template": ["uid={username},ou=people,dc=example,dc=org"],
                "valid_username_regex": NAMES,
                "allowed_groups": [GROUP],
                "allow_existing_users": False,
                "receive_timeout": 2,
                **options,
            }
        )

    return make


def log_in(authenticator: DirectoryAuthenticator, name: str, password: str) -> str | None:
    """Name under which the hub knows the user then; None when the user is refused."""
    model = asyncio.run(
        authenticator.get_authenticated_user(None, {"username": name, "password": password})
    )
    return model["name"] if model else None


@pytest.mark.parametrize("tls", ["before_bind", "on_connect", "insecure"])
@pytest.mark.parametrize(("name", "password"), PASSWORDS.items())
def test_the_right_password_lets_in(authenticator: Any, tls: str, name: str, password: str) -> None:
    assert log_in(authenticator(tls), name, password) == name


def test_however_it_is_typed_a_name_is_one_person(authenticator: Any) -> None:
    assert log_in(authenticator(), "ALICE", PASSWORDS["alice"]) == "alice"


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("alice", "wrong"),
        ("alice", ""),
        ("alice", " "),
        ("nobody", "wonder land 1"),
        ("alice,ou=people", PASSWORDS["alice"]),
        ("*", PASSWORDS["alice"]),
        ("", PASSWORDS["alice"]),
    ],
)
def test_everything_else_is_refused(authenticator: Any, name: str, password: str) -> None:
    assert log_in(authenticator(), name, password) is None


def test_who_is_in_no_allowed_group_is_refused(authenticator: Any) -> None:
    others = authenticator(allowed_groups=["cn=others,ou=groups,dc=example,dc=org"])
    assert log_in(others, "alice", PASSWORDS["alice"]) is None


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whom ldap3 sent a password for."""
    names: list[str] = []
    bind = ldap3.Connection.bind

    def recorded(connection: ldap3.Connection, *arguments: Any, **options: Any) -> Any:
        names.append(str(connection.user))
        return bind(connection, *arguments, **options)

    monkeypatch.setattr(ldap3.Connection, "bind", recorded)
    return names


@pytest.mark.parametrize("tls", ["before_bind", "on_connect"])
def test_a_directory_that_cannot_prove_itself_gets_no_password(
    authenticator: Any, tls: str, tmp_path: Path, bound: list[str]
) -> None:
    Identity.create("Another authority", authority=True).write(tmp_path, "ca")
    impostors = [
        authenticator(tls, ca_file=tmp_path / "ca.crt"),
        # The certificate is for the address, not for this name.
        authenticator(tls, server_addresses=["localhost"]),
    ]
    for impostor in impostors:
        with pytest.raises(web.HTTPError, match="The directory does not answer"):
            log_in(impostor, "alice", PASSWORDS["alice"])
    assert not bound
    assert log_in(authenticator(tls), "alice", PASSWORDS["alice"]) == "alice"
    assert bound


@pytest.fixture
def mute(ports: dict[str, int]) -> Iterator[str]:
    """Address of a server that takes connections and says nothing, at the directory's port."""
    with socket.create_server(("127.0.0.2", ports["before_bind"])):
        yield "127.0.0.2"


def test_a_mute_server_costs_one_login_its_timeout_and_nobody_else_anything(
    authenticator: Any, mute: str
) -> None:
    async def ticking() -> tuple[float, str | None]:
        """Log in beside a clock; return the longest time in which the clock stood still."""
        login = asyncio.create_task(
            authenticator(server_addresses=[mute, "127.0.0.1"]).get_authenticated_user(
                None, {"username": "alice", "password": PASSWORDS["alice"]}
            )
        )
        longest = 0.0
        while not login.done():
            begin = time.monotonic()
            await asyncio.sleep(0.05)
            longest = max(longest, time.monotonic() - begin)
        return longest, (await login or {}).get("name")

    begin = time.monotonic()
    longest, name = asyncio.run(ticking())
    assert name == "alice"
    assert time.monotonic() - begin > 2
    assert longest < 1


def test_when_no_server_answers_that_is_said(authenticator: Any, mute: str) -> None:
    with pytest.raises(web.HTTPError) as caught:
        log_in(authenticator(server_addresses=[mute]), "alice", PASSWORDS["alice"])
    assert caught.value.status_code == 503
