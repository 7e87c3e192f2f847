"""Lines of the hub's log: text without colours, or JSON, whatever is logged."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest
from zhub import logs

from toolchain.places import ROOT

JSON = {"ZHUB_LOG_FORMAT": "json"}


@pytest.fixture
def written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[[], str]]:
    """What was logged; puts the process' own logging back afterwards."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    level = root.level
    levels = {name: logging.getLogger(name).level for name in logs.VERBOSE}
    yield lambda: capsys.readouterr().err
    logging.captureWarnings(capture=False)
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


def lines(text: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in text.splitlines()]


def test_text_is_as_it_always_was(written: Callable[[], str]) -> None:
    logs.begin({})
    logging.getLogger("zhub.guard.server").warning("refused %s", "it")
    logging.getLogger("zhub").debug("not important")
    assert written() == "[zhub.guard.server] WARNING: refused it\n"


def test_json_has_one_object_a_line(written: Callable[[], str]) -> None:
    logs.begin(JSON)
    log = logging.getLogger("zhub.x")
    log.info("two\nlines \x1b[31m and “quotes”")
    try:
        int("wrong\nvalue")
    except ValueError:
        log.exception("failed")
    warnings.warn("old", stacklevel=1)
    text = written()
    assert "\x1b" not in text
    first, second, third = lines(text)
    assert datetime.fromisoformat(first.pop("time")).utcoffset() is not None
    assert first == {
        "level": "info",
        "logger": "zhub.x",
        "message": "two\nlines \x1b[31m and “quotes”",
    }
    assert second["message"] == "failed"
    assert second["error"].startswith("Traceback")
    assert "ValueError: invalid literal for int()" in second["error"]
    assert third["logger"] == "py.warnings"


def test_the_level_is_the_least_that_is_logged(written: Callable[[], str]) -> None:
    for level in logs.Level:
        logs.begin({"ZHUB_LOG_LEVEL": level, **JSON})
        for number in (10, 20, 30, 40):
            logging.getLogger("zhub.y").log(number, level)
    said = [line["message"] for line in lines(written())]
    counts = [said.count(level) for level in logs.Level]
    assert counts == [4, 3, 2, 1]


def test_details_of_logins_are_never_logged(written: Callable[[], str]) -> None:
    logs.begin({"ZHUB_LOG_LEVEL": "debug"})
    logging.getLogger("oauthlib.oauth2").debug("the code is 1234")
    assert written() == ""


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        ("/x?token=s3cret", "/x?token=[secret]"),
        ("/x?a=b&code=s3cret&state=s3cret (::1)", "/x?a=b&code=[secret]&state=[secret] (::1)"),
        ("uri='/x?access_token=s3cret', method", "uri='/x?access_token=[secret]', method"),
        ("xsrf cookie for b'session:user' {}", "xsrf cookie for [secret] {}"),
        (
            "/error/503?url=%2Fx%3Fa%3Db%26token%3Ds3cret%26c%3Dd&e=f",
            "/error/503?url=%2Fx%3Fa%3Db%26token%3D[secret]%26c%3Dd&e=f",
        ),
        ("/login?next=%252Fx%253Ftoken%253Ds3cret", "/login?next=%252Fx%253Ftoken%253D[secret]"),
        ("/x?next=/y", "/x?next=/y"),
        ("/x?a?token=s3cret?key=s3cret", "/x?a?token=[secret]"),
        ("/x?next=/y?my_token_code=s3cret&b=c", "/x?next=/y?my_token_code=[secret]&b=c"),
        ("100% of token=all", "100% of token=all"),
    ],
)
def test_addresses_are_logged_without_their_secrets(
    written: Callable[[], str], path: str, clean: str
) -> None:
    logs.begin({})
    logging.getLogger("tornado.general").warning("403 GET %s", path)
    assert written() == f"[tornado.general] WARNING: 403 GET {clean}\n"


@pytest.mark.parametrize("part", ["?token", "&tokenkey", "token", "%3Ftoken", "%25", "?x=%25"])
def test_no_address_takes_long(written: Callable[[], str], part: str) -> None:
    """The hub's only thread logs what a stranger asks for: 20 KiB took it minutes."""
    logs.begin({})
    address = f"/x?{part * ((20 << 10) // len(part))}"
    began = time.process_time()
    logging.getLogger("tornado.general").warning("403 GET %s", address)
    assert time.process_time() - began < 1
    assert address in written()


def test_what_ends_a_process_is_one_line_too() -> None:
    code = "import zhub.logs as l; l.begin({'ZHUB_LOG_FORMAT': 'json'}); 1 / 0"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT / "images" / "hub")},
    )
    [line] = done.stderr.splitlines()
    assert json.loads(line)["error"].endswith("ZeroDivisionError: division by zero")
    assert done.returncode == 1


def test_a_wrong_value_is_left_to_the_settings() -> None:
    assert logs.chosen({"ZHUB_LOG_LEVEL": "loud", "ZHUB_LOG_FORMAT": "xml"}) == ("info", "text")
