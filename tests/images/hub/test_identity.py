"""Login, logout and removal as users see them: a real hub, real servers, a real directory."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from docker.models.containers import Container
from docker.types import IPAMConfig, IPAMPool
from zhub.front.origin import COOKIE
from zhub.login.attempts import PER_NAME
from zhub.subnets import Pool, taken_subnets

from tests.built import Images, Site, wait_until
from tests.doctor import doctor
from tests.hubclient import LoginRefused, User
from tests.images.hub import slapd
from tests.images.hub.slapd import PASSWORDS, SERVICE, SUFFIX, Slapd, group_dn
from tests.pki import Identity
from tests.ports import free_port

pytestmark = pytest.mark.engine

RECHECK = 10
"""Seconds until a change in the directory counts, by the hub's settings."""

POOL = IPv4Network("10.215.6.0/24")
"""Pool of this hub's users' networks; small, so that it can be exhausted."""

PATIENCE = RECHECK + 60
"""Seconds until a test gives up; longer than a change takes, because emulation is slow."""


@pytest.fixture(scope="module")
def directory(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    """A directory on this machine, at an address that the site's containers reach."""
    network = site.engine.networks.get(f"{site.prefix}-hub")
    gateway = network.attrs["IPAM"]["Config"][0]["Gateway"]
    certificate = Identity.create(gateway, issuer=site.authority)
    folder = tmp_path_factory.mktemp("slapd") / "server"
    with slapd.running(folder, certificate, address=gateway) as server:
        yield server


@dataclass(frozen=True)
class Hub:
    """A hub started by hand."""

    container: Container
    url: str
    authority: Path

    def browser(self, name: str = "") -> User:
        """A browser, logged in if there is a name."""
        user = User(self.url, self.authority)
        if name:
            user.log_in(name, PASSWORDS[name])
        return user

    def log(self, since: float = 1) -> str:
        """Return its log since a time of the system's clock, in seconds."""
        return str(self.container.logs(since=int(since)).decode())

    def says(self, pattern: str, since: float) -> None:
        """Wait for a line of its log that a regular expression matches, since such a time.

        The engine has it a moment after the hub has written it.
        """
        wait_until(lambda: re.search(pattern, self.log(since)) is not None, seconds=10)


@pytest.fixture(scope="module")
def hub(site: Site, images: Images, directory: Slapd) -> Iterator[Hub]:
    """A hub that finds users with a service account, and checks them every ten seconds."""
    files = site.certificate("hub", "127.0.0.1")
    (files / "service").write_text(slapd.SERVICE_PASSWORD)
    (files / "ca.pem").write_bytes(site.ca_file.read_bytes())
    port = free_port()
    container = site.start(
        "hub",
        images.hub,
        files,
        command=[f"--port={port}", f"--ldap={directory.address}"],
        ports={port: port},
        volumes=["/var/run/docker.sock:/var/run/docker.sock"],
        environment={
            "ZHUB_PREFIX": site.prefix,
            "ZHUB_NOTEBOOK_IMAGE": images.notebook,
            "ZHUB_USER_NETWORK_POOL": str(POOL),
            "ZHUB_LDAP_TLS": "starttls",
            "ZHUB_LDAP_PORT": str(directory.port),
            "ZHUB_LDAP_CA_FILE": "/certs/ca.pem",
            "ZHUB_LDAP_BIND_DN": SERVICE,
            "ZHUB_LDAP_BIND_PASSWORD_FILE": "/certs/service",
            "ZHUB_LDAP_SEARCH_BASE": SUFFIX,
            "ZHUB_LDAP_ALLOWED_GROUPS": f'["{group_dn("jupyter")}"]',
            "ZHUB_LDAP_ADMIN_GROUPS": f'["{group_dn("admins")}"]',
            "ZHUB_LDAP_RECHECK": str(RECHECK),
        },
    )
    hub = Hub(container, f"https://127.0.0.1:{port}/{site.prefix}/", site.ca_file)

    def healthy() -> bool:
        container.reload()
        assert container.status == "running", container.logs().decode()
        try:
            answer = requests.get(f"{hub.url}hub/health", verify=str(site.ca_file), timeout=10)
        except requests.ConnectionError:
            return False
        return answer.ok

    wait_until(healthy, seconds=300)
    yield hub
    container.remove(force=True)


def members(group: str, *names: str) -> str:
    """Return LDIF that makes exactly these people members of a group."""
    people = "".join(f"member: uid={name},ou=people,{SUFFIX}\n" for name in names)
    return f"dn: {group_dn(group)}\nchangetype: modify\nreplace: member\n{people}\n"


def token(user: User) -> str:
    """Return a token that the user makes for a program."""
    answer = user.request("POST", f"hub/api/users/{user.name}/tokens", json={})
    answer.raise_for_status()
    return str(answer.json()["token"])


def status(hub: Hub, path: str, secret: str) -> int:
    """Return the status of the hub's API for a program with a token."""
    headers = {"Authorization": f"token {secret}"}
    url = f"{hub.url}hub/api/{path}"
    return requests.get(url, headers=headers, verify=str(hub.authority), timeout=60).status_code


def page(user: User, path: str = "hub/home") -> int:
    """Return the status of a page for a browser; 302 when it has to log in first."""
    return user.request("GET", path, allow_redirects=False).status_code


@pytest.fixture(scope="module")
def alice(hub: Hub) -> User:
    """A member, with a running server."""
    alice = hub.browser("alice")
    alice.start_server()
    return alice


@pytest.fixture(scope="module")
def carol(hub: Hub) -> User:
    """An administrator."""
    return hub.browser("carol")


def test_a_directory_that_is_down_logs_nobody_out(
    hub: Hub, directory: Slapd, alice: User, carol: User
) -> None:
    directory.stop()
    stopped = time.time()
    try:
        wait_until(
            lambda: "[zhub.recheck] WARNING: alice could not be looked up" in hub.log(stopped),
            seconds=PATIENCE,
        )
        assert (page(alice), page(carol)) == (200, 200)
        assert alice.server()["ready"]
        assert carol.request("GET", "hub/api/users").ok
    finally:
        directory.start()


def test_the_doctor_says_who_can_log_in(hub: Hub, site: Site) -> None:
    """Also in a hub run by hand, whose directory is only an argument of the hub's process."""
    stack = site.prefix.removeprefix("zhub-")
    for name, status, decision in (
        ("alice", 0, "     ok  allowed"),
        ("bob", 2, " FAILED  not allowed"),
    ):
        answer = doctor(stack, name)
        assert answer.returncode == status, answer.stdout + answer.stderr
        assert f"\n{decision}" in answer.stdout
        assert "Traceback" not in answer.stderr


#: A password guess that bypasses the proxy, with a forged address.
GUESS = """
import json, urllib.error, urllib.request
body = json.dumps({{"auth": {{"username": "erin", "password": "wrong"}}}}).encode()
headers = dict.fromkeys(["X-Real-Ip", "X-Forwarded-For"], "203.0.113.7")
headers["Content-Type"] = "application/json"
request = urllib.request.Request("http://hub:8081{path}", body, headers)
try:
    urllib.request.urlopen(request)
except urllib.error.HTTPError as error:
    print(error.code)
"""


def test_a_guesser_cannot_choose_the_address(hub: Hub, alice: User) -> None:
    path = "hub/api/users/erin/tokens"
    begin = time.time()
    for number in range(PER_NAME + 1):
        pretended = f"203.0.113.{number}"
        answer = requests.post(
            hub.url + path,
            json={"auth": {"username": "erin", "password": "wrong"}},
            headers={"X-Real-Ip": pretended, "X-Forwarded-For": pretended},
            verify=str(hub.authority),
            timeout=60,
        )
        assert answer.status_code == 403
    hub.says(r"Login of 'erin' from [\d.]+: too many failed logins", begin)
    code = GUESS.format(path=urlsplit(hub.url + path).path)
    assert alice.run(code) == "403\n"
    hub.says(r"Login of 'erin' from 10\.215\.6\.[\d]+ is refused", begin)
    assert "from 203.0.113" not in hub.log(begin)


def test_a_stranger_at_the_same_address_does_not_lock_out_known_browsers(hub: Hub) -> None:
    own = hub.browser("carol")
    for _ in range(PER_NAME):
        with pytest.raises(LoginRefused):
            hub.browser().log_in("carol", "wrong")
    with pytest.raises(requests.HTTPError, match="429"):
        hub.browser("carol")
    for cookie in own.cookies():
        if cookie.name != COOKIE:
            own._session.cookies.clear(cookie.domain, cookie.path, cookie.name)
    own.log_in("carol", PASSWORDS["carol"])


def test_removed_users_lose_pages_tokens_and_server_and_administrators_their_rights(
    hub: Hub, site: Site, directory: Slapd, alice: User, carol: User
) -> None:
    own = alice.run("import os; print(os.environ['JUPYTERHUB_API_TOKEN'])").strip()
    tokens = token(alice), own
    carols = token(carol)
    assert [status(hub, "user", secret) for secret in tokens] == [200, 200]
    assert page(alice, "user/alice/api/status") == 200
    assert status(hub, "users/alice", carols) == 200
    [container] = site.engine.containers.list(
        filters={"label": [f"zhub.stack={site.prefix}", "zhub.user=alice"]}
    )

    changed = time.time()
    directory.change(members("jupyter", "carol") + members("admins", "bob"))
    wait_until(
        lambda: (
            page(alice) == 302
            and {status(hub, "user", secret) for secret in tokens} == {403}
            and status(hub, "users/alice", carols) == 404
            and container.id not in {one.id for one in site.engine.containers.list(all=True)}
        ),
        seconds=PATIENCE,
    )
    # The session itself has ended, not only the user's permission.
    assert page(alice) == 302
    hub.says("Invalid cookie token", changed)
    assert page(alice, "user/alice/api/status") != 200
    assert alice.request("POST", "hub/api/users/alice/server").status_code == 403
    assert (page(carol), status(hub, "user", carols)) == (200, 200)
    assert carol.request("POST", "hub/api/users/alice/server").status_code in (403, 404)
    with pytest.raises(LoginRefused, match="not allowed"):
        hub.browser("alice")
    assert "Traceback" not in hub.log()


def test_a_server_that_gets_no_network_leaves_nothing(hub: Hub, site: Site, carol: User) -> None:
    """Its container runs by then. Later the server starts as usual."""
    others = [
        site.engine.networks.create(
            f"{site.prefix}-other-{number}",
            labels={"zhub.stack": site.prefix},
            ipam=IPAMConfig(pool_configs=[IPAMPool(subnet=str(subnet))]),
        )
        for number, subnet in enumerate(Pool(POOL, taken_subnets(site.engine.api)).free())
    ]
    assert others
    begin = time.time()
    with pytest.raises(requests.HTTPError, match="500"):
        carol.ask_for_server()
    hub.says(f"no free subnet is left in {POOL}", begin)
    assert not carol.server()
    named: dict[str, Any] = {"name": f"{site.prefix}-user-carol"}
    assert not site.engine.containers.list(all=True, filters=named)
    for network in others:
        network.remove()
    carol.ask_for_server()
    carol.stop_server()
    assert not site.engine.networks.list(filters=named)


def test_a_refused_user_stays_out_while_the_directory_is_down_and_returns_with_the_group(
    hub: Hub, directory: Slapd, alice: User, carol: User
) -> None:
    directory.stop()
    stopped = time.time()
    try:
        wait_until(
            lambda: page(carol) == 200 and "carol could not be looked up" in hub.log(stopped),
            seconds=PATIENCE,
        )
        assert page(alice) == 302
    finally:
        directory.start()
    directory.change(members("jupyter", "alice", "carol"))
    assert page(hub.browser("alice")) == 200
