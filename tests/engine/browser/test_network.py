"""The browser's network: the hub is all that there is."""

from __future__ import annotations

import socket

import pytest
from playwright.sync_api import Error

from tests.engine.browser.chromium import Visitor

pytestmark = pytest.mark.engine


def test_the_browser_reaches_the_hub_and_nothing_else(stranger: Visitor) -> None:
    stranger.open()
    assert "/hub/login" in stranger.page.url
    with socket.create_server(("127.0.0.1", 0)) as service:
        port = service.getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()
        for address, refusal in (
            (f"http://127.0.0.1:{port}", "ERR_CONNECTION_REFUSED"),
            ("http://192.0.2.1", "ERR_INTERNET_DISCONNECTED"),
            ("https://www.example.com", "ERR_(INTERNET_DISCONNECTED|NAME_NOT_RESOLVED)"),
        ):
            with pytest.raises(Error, match=refusal):
                stranger.page.goto(address)
    stranger.problems.clear()  # these requests
