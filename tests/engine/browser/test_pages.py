"""The hub's own pages: what screen readers and small windows get, and what administrators see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect

from tests.engine.browser.chromium import LAPTOP, TELEPHONE, Visitor, size
from tests.engine.browser.lab import Lab
from tests.engine.people import Entrance

pytestmark = pytest.mark.engine

#: Findings of axe in pages that are JupyterHub's own, by page and rule, with the reason.
ACCEPTED = {
    ("admin", "button-name"): "the arrow before a name, in JupyterHub's React application; what it "
    "opens is a dump of the user's record",
}


#: Pixels that a page may be wider than a telephone: margins of JupyterHub's own rows.
BESIDE = 4


def findings(page: Page) -> list[dict[str, Any]]:
    """What axe finds in a page and calls serious or critical."""
    # Without fetching style sheets itself, which it does by wrong addresses.
    found = Axe().run(page, options={"preload": False}).response["violations"]
    return [one for one in found if one["impact"] in {"serious", "critical"}]


def check(page: Page, name: str) -> None:
    """Check a page in both sizes of the window."""
    found = {(name, one["id"]): one for one in findings(page)}
    assert not {key: one for key, one in found.items() if key not in ACCEPTED}
    page.set_viewport_size(size(TELEPHONE))
    assert page.evaluate("document.documentElement.scrollWidth") <= TELEPHONE[0] + BESIDE, name
    page.set_viewport_size(size(LAPTOP))


@pytest.fixture(scope="module")
def grace(visit: Callable[..., Visitor]) -> Visitor:
    """The administrator, logged in."""
    visitor = visit()
    visitor.open("hub/home")
    visitor.log_in("grace")
    visitor.page.wait_for_url("**/hub/home")
    return visitor


def test_the_login_page(stranger: Visitor, pictures: Path) -> None:
    stranger.open()
    stranger.picture(pictures / "login.png", height=420)
    check(stranger.page, "login")
    stranger.expect(403, "hub/login", "the password is wrong")
    stranger.log_in("grace", "wrong")
    expect(stranger.page.get_by_text("Invalid username or password")).to_be_visible()
    check(stranger.page, "login")


@pytest.mark.parametrize(
    ("name", "shows"),
    [
        ("home", "Start My Server"),
        ("token", "Request new API token"),
        ("admin", "Manage Groups"),
        ("nowhere", "404"),
    ],
)
def test_a_page(grace: Visitor, name: str, shows: str) -> None:
    grace.expect(404, "hub/nowhere", "there is no such page")
    grace.open(f"hub/{name}")
    expect(grace.page.get_by_text(shows).first).to_be_visible()
    check(grace.page, name)


def test_the_progress_page_and_an_administrator_who_stops_a_server(
    grace: Visitor, entrance: Entrance, pictures: Path
) -> None:
    """The hub's reports do not reach the page, which leads to the server all the same."""

    def lose(_: Route) -> None:
        """Neither send the request nor answer it."""

    reports = "**/api/users/grace/server/progress*"
    grace.page.route(reports, lose)
    grace.open("hub/spawn")
    if "/hub/spawn-pending/" in grace.page.url:  # a quick server is up before the page is
        expect(grace.page.get_by_text("Your server is starting up")).to_be_visible()
        check(grace.page, "progress")
    Lab(grace).wait()
    grace.page.unroute(reports)
    grace.open("hub/admin")
    row = grace.page.get_by_role("row").filter(has_text="grace")
    expect(row.get_by_role("button", name="Stop Server")).to_be_visible()
    grace.picture(pictures / "admin.png", height=560)
    row.get_by_role("button", name="Stop Server").click()
    expect(row.get_by_role("button", name="Start Server")).to_be_visible()
    assert not entrance.logged_in("grace").server()
