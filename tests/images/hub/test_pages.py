"""Pages of a real JupyterHub in a real browser: a choice by keyboard, and no barriers for anybody.

The pages that a whole stack shows are in tests/engine/browser/test_pages.py; these are the others.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from urllib.parse import urlencode, urlsplit

import pytest
import requests

from tests.images.hub import real_hub, slapd
from tests.images.hub.real_hub import RealHub
from tests.images.hub.slapd import PASSWORDS
from tests.images.hub.test_profiles import offering

pytest.importorskip("playwright", reason="PyPI has no Playwright for this machine")

from playwright.sync_api import Browser, Page, expect

from tests.engine.browser import chromium, network
from tests.engine.browser.chromium import LAPTOP, TELEPHONE, size
from tests.engine.browser.test_pages import BESIDE, findings

pytestmark = pytest.mark.slow

NAMESPACE = "zhub-test-pages"

LINES = ["Traceback (most recent call last):", f"OSError: {'a long line ' * 25}"]

#: A hub whose servers take long to stop, and with the profile `broken` end at once. It says all
#: that a site and its operators can say, and has a service with pages of its own.
MORE = f"""
    import asyncio
    from zhub.front import site
    from zhub.servers import last_words

    site.read = lambda _=None: site.Site(
        name="Institute of Sums", contact="help@example.com", announcement="Down on Sunday.",
        terms="No games.\\n" * 40,
    )
    c.JupyterHub.template_paths = [str(site.TEMPLATES)]
    c.JupyterHub.template_vars = {{
        "site": site.read,
        "plan": lambda _: "Servers are stopped at 12:00.",
        "messages": lambda user: [{{"id": "alice:1", "text": "Call us."}}] if user else [],
        "links": lambda _: [{{"name": "Grades", "url": "/grades"}}],
    }}
    c.JupyterHub.services = [{{
        "name": "grades", "url": "http://127.0.0.1:9", "api_token": "0123456789abcdef" * 4,
        "oauth_client_id": "service-grades", "oauth_redirect_uri": "/grades/callback",
        "oauth_client_allowed_scopes": ["self"],
    }}]
    c.JupyterHub.load_roles = [{{"name": "user", "scopes": ["self", "access:services"]}}]


    class Odd(Chooses):
        async def start(self):
            if self.chosen == "broken":
                raise last_words.EndedError(self.user.name, 1, {LINES!r})
            return await StandIn.start(self)

        async def stop(self, now=False):
            await asyncio.sleep(5)
            await StandIn.stop(self)


    c.JupyterHub.spawner_class = Odd
    c.Odd.profiles = c.Chooses.profiles
    c.JupyterHub.tornado_settings = {{"slow_stop_timeout": 1}}
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHub]:
    """A hub with three profiles."""
    if not network.able() or not chromium.executable():
        pytest.skip("needs root and Chromium: apt install chromium libnss3-tools")
    more = offering("standard", "large", "broken") + textwrap.dedent(MORE)
    with slapd.running(tmp_path_factory.mktemp("slapd") / "server") as directory:
        folder = tmp_path_factory.mktemp("hub") / "state"
        with real_hub.running(folder, directory.everybody(), more=more) as hub:
            yield hub


@pytest.fixture(scope="module")
def browser(hub: RealHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    port = urlsplit(hub.url).port
    assert port
    home = tmp_path_factory.mktemp("browser")
    with (
        network.network(port, NAMESPACE),
        chromium.started(home, None, NAMESPACE) as browser,
    ):
        yield browser


@pytest.fixture(scope="module")
def alice(hub: RealHub, browser: Browser) -> Page:
    """A page of Alice's, who is logged in."""
    page = browser.new_context(viewport=size(LAPTOP)).new_page()
    page.goto(f"{hub.url}hub/login?next=%2Fhub%2Fhome")
    page.get_by_label("Username").fill("alice")
    page.get_by_label("Password:").fill(PASSWORDS["alice"])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/hub/home")
    return page


def check(page: Page) -> None:
    """Check a page, in both sizes of the window."""
    assert findings(page) == []
    page.set_viewport_size(size(TELEPHONE))
    assert page.evaluate("document.documentElement.scrollWidth") <= TELEPHONE[0] + BESIDE
    assert findings(page) == []
    page.set_viewport_size(size(LAPTOP))


def test_the_login_page_with_all_that_a_site_says(hub: RealHub, browser: Browser) -> None:
    page = browser.new_context(viewport=size(LAPTOP)).new_page()
    page.goto(f"{hub.url}hub/login")
    expect(page.get_by_text("No games.")).to_be_visible()
    check(page)
    page.context.close()


def test_a_profile_is_chosen_with_the_keyboard(hub: RealHub, alice: Page) -> None:
    alice.goto(f"{hub.url}hub/spawn")
    expect(alice.get_by_role("group", name="Which server?")).to_be_visible()
    expect(alice.get_by_text("Call us.")).to_be_visible()
    check(alice)
    first = alice.get_by_role("radio", name="standard")
    expect(first).to_be_checked()
    first.focus()
    alice.keyboard.press("ArrowDown")
    expect(alice.get_by_role("radio", name="large")).to_be_checked()
    alice.keyboard.press("Enter")
    alice.wait_for_url("**/user/alice/**")
    token = hub.token("alice", PASSWORDS["alice"]).json()["token"]
    [server] = hub.api("GET", "users/alice", token).json()["servers"].values()
    assert server["user_options"] == {"profile": "large"}
    stopped(hub, alice, token)


def stopped(hub: RealHub, alice: Page, token: str) -> None:
    """Stop the server; look at the page that says so, and at the one of who comes back later."""
    assert hub.api("DELETE", "users/alice/server", token).status_code == requests.codes.accepted
    alice.goto(f"{hub.url}hub/spawn-pending/alice")
    expect(alice.get_by_text("Your server is stopping.")).to_be_visible()
    check(alice)
    alice.goto(f"{hub.url}hub/user/alice/lab")
    while not alice.get_by_role("heading", name="Server not running").is_visible():
        alice.wait_for_timeout(500)
        alice.goto(f"{hub.url}hub/user/alice/lab")
    check(alice)


def test_a_refused_choice_and_a_start_that_fails(hub: RealHub, alice: Page) -> None:
    alice.goto(f"{hub.url}hub/spawn")
    alice.get_by_role("radio", name="large").evaluate("radio => radio.value = 'gone'")
    alice.get_by_role("radio", name="large").check()
    alice.get_by_role("button", name="Start").click()
    expect(alice.get_by_text("You may not have a server with the profile")).to_be_visible()
    check(alice)
    alice.goto(f"{hub.url}hub/spawn")
    alice.get_by_role("radio", name="broken").check()
    alice.get_by_role("button", name="Start").click()
    expect(alice.get_by_text("Your server ended while it started.").first).to_be_visible()
    check(alice)


def test_a_service_that_wants_to_know_who_it_is(hub: RealHub, alice: Page) -> None:
    asked = {
        "client_id": "service-grades",
        "redirect_uri": "/grades/callback",
        "response_type": "code",
    }
    alice.goto(f"{hub.url}hub/api/oauth2/authorize?{urlencode(asked)}")
    expect(alice.get_by_role("heading", name="Authorize access")).to_be_visible()
    check(alice)


@pytest.mark.parametrize("path", ["home", "token", "spawn/bob", "nowhere"])
def test_the_other_pages_with_all_that_a_site_says(hub: RealHub, alice: Page, path: str) -> None:
    alice.goto(f"{hub.url}hub/{path}")
    expect(alice.get_by_text("Servers are stopped at 12:00.")).to_be_visible()
    check(alice)
