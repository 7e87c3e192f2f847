"""What JupyterHub logs of a browser's cookies, by its own functions."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from jupyterhub import _xsrf_utils as utils
from zsingleuser import cookies

SESSION = "of-the-browser"


@pytest.fixture
def _installed() -> Iterator[None]:
    logger = logging.getLogger(cookies.LOGGER)
    before = list(logger.filters)
    cookies.install()
    yield
    logger.filters[:] = before


@pytest.mark.usefixtures("_installed")
def test_no_cookie_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    before = ("token", f"{SESSION}:before".encode())
    monkeypatch.setattr(utils, "_get_xsrf_token_cookie", lambda _: before)
    monkeypatch.setattr(utils, "_create_signed_value_urlsafe", lambda *_: b"signed")
    handler: Any = SimpleNamespace(
        _xsrf_token_id=f"{SESSION}:now".encode(),
        current_user="alice",
        request=SimpleNamespace(headers={}, path="/user/alice/lab"),
        set_cookie=lambda *_, **__: None,
        settings={},
    )
    utils.get_xsrf_token(handler, "/user/alice/")
    logging.getLogger(cookies.LOGGER).warning("%s of %s", "another", "line")
    assert [record.getMessage() for record in caplog.records] == [
        "xsrf id mismatch '[secret]' != '[secret]'",
        "Setting new xsrf cookie for '[secret]' '[secret]'",
        "another of line",
    ]
