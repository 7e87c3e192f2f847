"""Attempts to act as another user: tokens, cookies, sessions, names that are paths."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable
from urllib.parse import urljoin, urlsplit

import pytest
import requests
import websocket

from tests.built import wait_until
from tests.engine.attacks.conftest import Tenant
from tests.engine.people import Entrance
from tests.hubclient import LoginRefused, User

pytestmark = pytest.mark.engine

#: Answers to a request without permission; a redirect leads to the login.
REFUSED = {302, 401, 403, 404, 405}


def with_token(user: User, token: str) -> Callable[[str, str], requests.Response]:
    """A program that has only a token."""

    def ask(method: str, path: str) -> requests.Response:
        return requests.request(
            method,
            urljoin(user.base, path),
            headers={"Authorization": f"token {token}", "Connection": "close"},
            verify=str(user.authority),
            allow_redirects=False,
            timeout=30,
        )

    return ask


@pytest.fixture(scope="module")
def copied(entrance: Entrance, mallory: Tenant) -> User:
    """A browser with cookies copied before Bob logged out."""
    user = entrance.logged_in("bob")
    user.open_lab()
    copy = entrance.browser()
    copy.base = user.base
    for cookie in user.cookies():
        copy.set_cookie(cookie.name, cookie.value or "", path=cookie.path)
    for page in ("hub/api/user", "user/bob/api/status"):
        assert copy.request("GET", page, allow_redirects=False).status_code == 200
    user.request("GET", "hub/logout").raise_for_status()
    assert not [cookie.name for cookie in user.cookies() if "hub-login" in cookie.name]
    # All sessions have ended, but the server still runs, and a new login reaches it.
    mallory.user.forget_cookies()
    mallory.user.log_in("bob", entrance.password("bob"))
    mallory.user.open_lab()
    return copy


def test_after_logout_the_hub_refuses_copied_cookies(copied: User) -> None:
    assert copied.request("GET", "hub/api/user", allow_redirects=False).status_code in REFUSED


def test_a_servers_token_works_only_for_its_own_user(mallory: Tenant, alice: Tenant) -> None:
    token = mallory.run("import os; result = os.environ['JUPYTERHUB_API_TOKEN']")
    ask = with_token(mallory.user, token)
    assert ask("GET", "hub/api/users/bob").status_code == 200

    attempts = [
        ("GET", "hub/api/users/alice"),
        ("PATCH", "hub/api/users/alice"),
        ("DELETE", "hub/api/users/alice"),
        ("POST", "hub/api/users/alice/server"),
        ("DELETE", "hub/api/users/alice/server"),
        ("GET", "hub/api/users/alice/tokens"),
        ("POST", "hub/api/users/alice/tokens"),
        ("POST", "hub/api/users/alice/activity"),
        ("POST", "hub/api/users/bob/tokens"),
        ("POST", "hub/api/users/mallory"),
        ("GET", "hub/api/users"),
        ("GET", "hub/api/groups"),
        ("GET", "hub/api/services"),
        ("GET", "hub/api/proxy"),
        ("POST", "hub/api/proxy"),
        ("POST", "hub/api/shutdown"),
        ("GET", "user/alice/api/status"),
        ("GET", "user/alice/api/contents"),
        ("POST", "user/alice/api/kernels"),
        ("GET", "user/alice/files/diary.txt"),
    ]
    for method, path in attempts:
        answer = ask(method, path)
        if path == "hub/api/users" and answer.status_code == 200:
            # The list of users that the token may see: only its own.
            assert [user["name"] for user in answer.json()] == ["bob"]
        else:
            assert answer.status_code in REFUSED, (method, path, answer.text[:200])


def test_a_logged_in_user_cannot_use_anothers_server(mallory: Tenant, alice: Tenant) -> None:
    assert mallory.user.request("GET", "user/bob/api/status").status_code == 200
    for method, path in [
        ("GET", "user/alice/api/status"),
        ("GET", "user/alice/lab"),
        ("GET", "user/alice/api/contents"),
        ("PUT", "user/alice/api/contents/x.txt"),
        ("POST", "user/alice/api/kernels"),
        ("POST", "user/alice/api/terminals"),
        ("POST", "hub/api/users/alice/server"),
        ("DELETE", "hub/api/users/alice/server"),
        ("POST", "hub/api/users/alice/tokens"),
        ("GET", "hub/spawn/alice"),
        ("GET", "hub/admin"),
    ]:
        # With redirects: the login through the hub on the way must end in a refusal as well.
        answer = mallory.user.request(method, path)
        assert answer.status_code in {403, 404}, (method, path, answer.url)


def test_a_websocket_to_anothers_kernel_is_refused(mallory: Tenant, alice: Tenant) -> None:
    def opened(tenant: Tenant) -> bool:
        kernels = tenant.user.request("GET", f"user/{tenant.user.name}/api/kernels").json()
        path = f"user/{tenant.user.name}/api/kernels/{kernels[0]['id']}/channels"
        try:
            mallory.user.websocket(path, timeout=30).close()
        except websocket.WebSocketBadStatusException as error:
            return error.status_code not in REFUSED
        return True

    alice.run("result = None")
    mallory.run("result = None")
    assert opened(mallory)
    assert not opened(alice)


def test_a_visitors_browser_sends_anothers_server_no_credentials(
    entrance: Entrance, mallory: Tenant, alice: Tenant
) -> None:
    """All share one host name: what Alice's browser sends to Bob's server must be useless."""
    visitor = entrance.logged_in("alice")
    visitor.open_lab()
    path = urlsplit(urljoin(visitor.base, "user/bob/")).path
    sent = {c.name: c.value or "" for c in visitor.cookies() if path.startswith(c.path)}
    assert set(sent) <= {"_xsrf", "jupyterhub-session-id"}

    thief = entrance.browser()
    thief.base = visitor.base
    for name, value in sent.items():
        thief.set_cookie(name, value, path=urlsplit(visitor.base).path)
    for page in ("hub/api/user", "user/alice/api/status", "hub/home"):
        assert thief.request("GET", page, allow_redirects=False).status_code in REFUSED
    # With all of Alice's cookies, the same requests succeed.
    for page in ("hub/api/user", "user/alice/api/status", "hub/home"):
        assert visitor.request("GET", page, allow_redirects=False).status_code == 200


def raw_get(user: User, path: str) -> tuple[int, str]:
    """Ask for a path exactly as written, with the user's cookies; return status and answer."""
    url = urlsplit(user.base)
    context = ssl.create_default_context(cafile=str(user.authority))
    cookies = "; ".join(f"{c.name}={c.value}" for c in user.cookies())
    request = f"GET {path} HTTP/1.1\r\nHost: {url.netloc}\r\nCookie: {cookies}\r\n"
    with (
        socket.create_connection((str(url.hostname), url.port or 443), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname=url.hostname) as connection,
    ):
        connection.sendall(f"{request}Connection: close\r\n\r\n".encode())
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head, _, body = answer.decode(errors="replace").partition("\r\n\r\n")
    return int(head.split()[1]), body


def test_path_traversal_leads_to_no_other_user(mallory: Tenant, alice: Tenant) -> None:
    root = urlsplit(mallory.user.base).path
    status, body = raw_get(mallory.user, f"{root}user/bob/api/status")
    assert (status, "kernels" in body) == (200, True)

    alices = json.dumps(alice.name)
    for path in (
        "user/bob/../alice/api/status",
        "user/bob/%2e%2e/alice/api/status",
        "user/bob/..%2falice/api/status",
        "user/bob%2f..%2falice/api/status",
        "user/bob/..;/alice/api/status",
        "user//alice/api/status",
        "user/./alice/api/status",
        "user/%61lice/api/status",
        "user/ALICE/api/status",
        "hub/../user/alice/api/status",
        "hub/api/users/bob/../alice",
        "hub/api/users/..%2falice",
        "hub/api/users/bob%2f..%2falice",
        "hub/api/users/bob/%2e%2e/alice",
        "hub/static/../../../../../../etc/passwd",
        "hub/static/..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "hub/static/%2e%2e/%2e%2e/%2e%2e/jupyterhub_config.py",
        "user/bob/files/../../../etc/passwd",
        "user/bob/static/..%2f..%2f..%2f..%2fetc%2fpasswd",
    ):
        status, body = raw_get(mallory.user, root + path)
        assert status in {301, *REFUSED, 400}, (path, status, body[:200])
        for text in (alices, "root:x:0:0", '"started"', '"last_activity"', "get_config()"):
            assert text not in body, (path, text)


def test_names_that_are_paths_do_not_log_in(entrance: Entrance) -> None:
    password = entrance.password("bob")
    stranger = entrance.browser()
    for name in (
        "../alice",
        "alice/../bob",
        "..",
        "bob/../../alice",
        "alice\0bob",
        "%2e%2e%2falice",
        "a" * 4000,
    ):
        with pytest.raises(LoginRefused):
            stranger.log_in(name, password)
    stranger.log_in("bob", password)


def test_after_logout_the_server_asks_the_hub_again(copied: User) -> None:
    """Servers cache the hub's answer for half a minute."""
    wait_until(
        lambda: (
            copied.request("GET", "user/bob/api/status", allow_redirects=False).status_code
            in REFUSED
        ),
        seconds=60,
    )
