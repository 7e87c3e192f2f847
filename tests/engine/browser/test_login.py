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


def log_out_elsewhere(visitor: Visitor) -> None:
    """Log out in another tab, which is closed again."""
    tab = visitor.context.new_page()
    tab.goto(f"{visitor.base}hub/logout")
    expect(tab.get_by_role("button", name="Sign in")).to_be_visible()
    tab.close()


def test_a_page_of_the_hub_that_outlives_its_login_leads_to_the_login_page(
    stranger: Visitor,
) -> None:
    page = stranger.page
    stranger.open("hub/token")
    stranger.log_in("bob")
    page.wait_for_url("**/hub/token")
    log_out_elsewhere(stranger)
    stranger.expect(403, "hub/api/.*", "the login has ended")
    page.get_by_role("button", name="Request new API token").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    stranger.log_in("bob")
    page.wait_for_url("**/hub/token")


def test_a_notebook_that_outlives_its_login_leads_to_the_login_page(bob: Lab) -> None:
    """And nothing in it is lost, not even what is not saved."""
    notebook = bob.new_notebook()
    notebook.run("kept = 'not saved'")
    address = bob.page.url
    bob.visitor.expect(403, "user/bob/.*", "the login has ended")
    log_out_elsewhere(bob.visitor)
    with bob.page.expect_popup() as popup:
        bob.page.get_by_role("alert").get_by_role("button", name="Log in").click()
    login = popup.value
    login.get_by_label("Username").fill("bob")
    login.get_by_label("Password:").fill(bob.visitor.entrance.password("bob"))
    with login.expect_event("close"):
        login.get_by_role("button", name="Sign in").click()
    # JupyterLab had begun to load in that tab, and reports what it did not get.
    while "console: Event" in bob.visitor.problems:
        bob.visitor.problems.remove("console: Event")
    expect(bob.page.get_by_role("alert")).to_have_count(0)
    assert bob.page.url == address
    notebook.run("print(kept)").prints("not saved")
