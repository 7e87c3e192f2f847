"""What users see of the operators' messages, and that they can dismiss them."""

from __future__ import annotations

import json
import shlex

import docker
import pytest
from playwright.sync_api import expect

from tests.engine.browser.chromium import Visitor
from tests.engine.browser.lab import Lab
from tests.engine.people import Entrance
from tests.engine.stack import Stack

pytestmark = [pytest.mark.engine, pytest.mark.long]

#: Milliseconds until JupyterLab shows, or takes back, what has changed: a minute, and more on a
#: busy machine.
SOON = 80_000


def say(engine: docker.DockerClient, stack: Stack, text: str) -> None:
    """Say something to Grace, as `make users` does."""
    given = shlex.quote(json.dumps({"text": text, "until": None}))
    hub = engine.containers.get(f"{stack.prefix}-hub")
    command = f"printf %s {given} | zhub users message grace"
    code, printed = hub.exec_run(["sh", "-c", command])
    assert code == 0, printed


def test_messages_come_and_go_and_can_be_dismissed(
    engine: docker.DockerClient, stack: Stack, entrance: Entrance, stranger: Visitor
) -> None:
    page = stranger.page
    stranger.open()
    stranger.log_in("grace")
    lab = Lab(stranger)
    lab.wait()

    say(engine, stack, "<b>Call</b> us.")
    notice = page.locator(".jp-toast-message").get_by_text("<b>Call</b> us.")
    expect(notice).to_be_visible(timeout=SOON)
    say(engine, stack, "")
    expect(notice).not_to_be_visible(timeout=SOON)

    long = f"{'New disks. ' * 20}The end."
    say(engine, stack, long)
    page.get_by_role("button", name="Read all").click(timeout=SOON)
    dialog = page.locator(".jp-Dialog")
    expect(dialog).to_contain_text("The end.")
    dialog.get_by_role("button", name="Dismiss").click()
    page.reload()
    lab.wait()
    # Of the same browser: what was dismissed in JupyterLab is dismissed on the hub's pages.
    expect(page.get_by_role("button", name="Read all")).not_to_be_visible()
    stranger.open("hub/home")
    expect(page.locator(".message")).to_be_hidden()

    say(engine, stack, "Your home is full.")
    page.reload()
    shown = page.locator(".message")
    expect(shown).to_contain_text("Your home is full.")
    shown.get_by_role("button", name="Dismiss").click()
    expect(shown).to_be_hidden()
    page.reload()
    expect(shown).to_be_hidden()
    say(engine, stack, "")
    # An open page reports to the tests that follow that the server is gone.
    stranger.context.close()
    entrance.logged_in("grace").stop_server()
