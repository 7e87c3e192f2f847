"""The way in and out: with a wrong password, and with the keyboard alone."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.engine.browser.chromium import Visitor
from tests.engine.browser.lab import Lab
from tests.engine.people import Entrance

pytestmark = pytest.mark.engine


def test_a_wrong_password_is_refused_and_the_name_kept(stranger: Visitor) -> None:
    stranger.open()
    stranger.expect(403, "hub/login", "the password is wrong")
    stranger.log_in("carol", "wrong")
    expect(stranger.page.get_by_text("Invalid username or password")).to_be_visible()
    expect(stranger.page.get_by_label("Username")).to_have_value("carol")


def tab_to(page: Page, name: str) -> None:
    """Press the tabulator until the focus is on what has that text."""
    for _ in range(30):
        page.keyboard.press("Tab")
        focus = str(page.evaluate("document.activeElement.textContent"))
        if " ".join(focus.split()) == name:
            return
    pytest.fail(f"the keyboard does not reach {name!r}")


@pytest.mark.usefixtures("_servers")
def test_the_keyboard_is_enough(stranger: Visitor, entrance: Entrance) -> None:
    """To log in, start a server and log out."""
    page, keyboard = stranger.page, stranger.page.keyboard
    stranger.open("hub/home")
    keyboard.type("bob")  # the form has the focus
    keyboard.press("Tab")
    keyboard.type(entrance.password("bob"))
    keyboard.press("Enter")
    page.wait_for_url("**/hub/home")
    tab_to(page, "Start My Server")
    keyboard.press("Enter")
    Lab(stranger).wait()
    stranger.open("hub/home")
    tab_to(page, "Logout")
    keyboard.press("Enter")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
