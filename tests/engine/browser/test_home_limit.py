"""What users see of their home's limit, which the stack has set to a gibibyte."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.engine.browser.chromium import Visitor
from tests.engine.browser.lab import Lab
from tests.engine.people import Entrance

pytestmark = pytest.mark.engine

#: JupyterLab's notice.
FULL = "Your home is full: 1.1 of 1.0 GiB."


def test_the_status_bar_shows_what_the_home_takes(carol: Lab) -> None:
    expect(carol.page.locator(".jp-StatusBar-Left")).to_contain_text("Home: 0.0 of 1.0 GiB")


@pytest.mark.long
def test_who_has_a_full_home_is_told_until_it_is_cleaned_up(
    entrance: Entrance, stranger: Visitor
) -> None:
    grace = entrance.logged_in("grace")
    grace.start_server()
    grace.run("import subprocess; subprocess.run('fallocate -l 1100M large', shell=True)")
    grace.stop_server()
    stranger.open()
    stranger.log_in("grace")
    # While the server starts, and then in JupyterLab.
    expect(stranger.page.locator("#progress-message")).to_contain_text(FULL)
    lab = Lab(stranger)
    lab.wait()
    notice = stranger.page.get_by_text(FULL)
    expect(notice).to_be_visible()
    lab.on_file("large", "delete")
    expect(stranger.page.locator(".jp-Dialog")).to_contain_text("permanently delete")
    lab.accept()
    # The server counts a full home every minute, and the page asks every minute.
    expect(notice).not_to_be_visible(timeout=200_000)
    expect(stranger.page.locator(".jp-StatusBar-Left")).to_contain_text("Home: 0.0 of 1.0 GiB")
    # An open page reports to the tests that follow that the server is gone.
    stranger.context.close()
    grace.stop_server()
