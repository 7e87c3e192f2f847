"""How the page is put together from its parts."""

from __future__ import annotations

import asyncio
import logging

import pytest
from zhub.metrics.handler import Page, prefixed


def broken() -> str:
    raise ConnectionError("nobody listens")


def test_a_part_that_fails_is_shown_and_does_not_take_the_others_along(
    caplog: pytest.LogCaptureFixture,
) -> None:
    page = Page({"hub": lambda: "one 1\n", "guard": broken})
    with caplog.at_level(logging.WARNING):
        first, second = asyncio.run(page.text()), asyncio.run(page.text())
    for text in (first, second):
        assert text.startswith("one 1\n# HELP zhub_metrics_up ")
        assert 'zhub_metrics_up{part="hub"} 1.0\n' in text
        assert 'zhub_metrics_up{part="guard"} 0.0\n' in text
        assert "zhub_metrics_seconds " in text
    assert caplog.messages == ["no metrics of guard: nobody listens"], "once, not at each scrape"


def test_a_part_that_comes_back_is_shown_again() -> None:
    answers = iter(["", "two 2\n"])
    page = Page({"guard": lambda: next(answers) or broken()})
    assert 'zhub_metrics_up{part="guard"} 0.0' in asyncio.run(page.text())
    assert 'zhub_metrics_up{part="guard"} 1.0' in asyncio.run(page.text())


def test_the_proxys_names_do_not_collide_with_the_hubs() -> None:
    text = (
        "# HELP requests_web Count of web requests\n# TYPE requests_web counter\n"
        'requests_web 3\nrequests_proxy{status="200"} 2\n\nprocess_open_fds 2.5e+1\n'
    )
    assert prefixed(text, "proxy_") == (
        "# HELP proxy_requests_web Count of web requests\n# TYPE proxy_requests_web counter\n"
        'proxy_requests_web 3\nproxy_requests_proxy{status="200"} 2\n\n'
        "proxy_process_open_fds 2.5e+1\n"
    )
