"""Where a real JupyterHub sends links that have no base path, or another one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.images.hub import real_hub, slapd
from tests.images.hub.real_hub import RealHub
from tests.images.hub.slapd import PASSWORDS

pytestmark = pytest.mark.slow

MORE = """
    from zhub.front import links
    links.install()
    c.JupyterHub.user_redirect_hook = links.to_own_server
    c.JupyterHub.base_url = "/site/"
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHub]:
    with slapd.running(tmp_path_factory.mktemp("slapd")) as server:
        ldap = server.everybody()
        folder: Path = tmp_path_factory.mktemp("hub") / "state"
        with real_hub.running(folder, ldap, more=MORE) as hub:
            yield replace(hub, url=f"{hub.url}site/")


def leads(hub: RealHub, path: str, method: str = "GET", **options: object) -> tuple[int, str]:
    """Return the status and the place of a redirect."""
    answer = requests.request(
        method,
        f"{hub.url.removesuffix('/site/')}{path}",
        allow_redirects=False,
        timeout=30,
        **options,  # type: ignore[arg-type]
    )
    return answer.status_code, answer.headers.get("Location", "")


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/", "/site/hub/"),
        ("/site", "/site/hub/"),
        ("/hub", "/site/hub"),
        ("/hub/spawn", "/site/hub/spawn"),
        ("/hub/login?next=%2Fhub%2Fhome", "/site/hub/login?next=%2Fhub%2Fhome"),
        (
            "/hub/user-redirect/lab/tree/a%23b?c=d%26e",
            "/site/hub/user-redirect/lab/tree/a%23b?c=d%26e",
        ),
        ("/hub/api/user", "/site/hub/api/user"),
        ("/before/hub/api/user", "/site/hub/api/user"),
        ("/user/alice/lab/tree/a%23b?c=d", "/site/hub/user/alice/lab/tree/a%23b?c=d"),
        ("/site/user/alice/lab", "/site/hub/user/alice/lab"),
        ("//evil.example.com/hub/x", "/site/hub/x"),
    ],
)
def test_a_link_leads_to_the_page_behind_the_hubs_own_base_path(
    hub: RealHub, path: str, place: str
) -> None:
    assert leads(hub, path) == (302, place)


def test_a_request_of_an_api_client_is_sent_again_with_its_body(hub: RealHub) -> None:
    assert leads(hub, "/hub/api/users/alice/tokens", "POST", json={}) == (
        307,
        "/site/hub/api/users/alice/tokens",
    )
    hub.browser("alice", PASSWORDS["alice"])  # nobody has a token who has not logged in
    made = requests.post(
        f"{hub.url.removesuffix('site/')}hub/api/users/alice/tokens",
        json={"auth": {"username": "alice", "password": PASSWORDS["alice"]}, "note": "by a link"},
        timeout=30,
    )
    assert made.json()["note"] == "by a link"
    assert hub.api("GET", "user", made.json()["token"]).json()["name"] == "alice"
    assert leads(hub, "/nowhere", "POST") == (404, "")


def test_a_link_works_after_a_login_and_keeps_an_odd_name(hub: RealHub) -> None:
    odd = "lab/tree/%C3%9Cbung%20%231%20100%25%20%F0%9F%9A%80%3F.ipynb"
    browser = requests.Session()
    browser.trust_env = False
    form = browser.get(f"{hub.url.removesuffix('site/')}hub/user-redirect/{odd}", timeout=30)
    assert urlsplit(form.url).path == "/site/hub/login"
    answer = browser.post(
        form.url,
        data={
            "username": "bob",
            "password": PASSWORDS["bob"],
            "_xsrf": browser.cookies.get("_xsrf", path="/site/hub/"),
        },
        timeout=30,
    )
    # A stand-in instead of a proxy never leads to the server: its address is what is asked for.
    places = [urlsplit(one.headers["Location"]).path for one in answer.history]
    assert f"/site/user/bob/{odd}" in places, places
