"""The proxy's log: text without colours, or JSON; Node runs the module."""

from __future__ import annotations

import json
import re
from datetime import datetime

import pytest

from tests.images.proxy.node import printed
from toolchain.places import ROOT

pytestmark = pytest.mark.slow

MODULE = ROOT / "images" / "proxy" / "log.mjs"

#: configurable-http-proxy calls the methods without their object.
SCRIPT = """
import {{ logger }} from {module};
const {{ debug, info, warn, error }} = logger({level}, {form});
debug("page: %s", "http://hub/hub/error/503?url=%2Fu%2Fx%3Ftoken%3Ds3cret");
info("route %s -> %s", "/a", "http://b");
warn("two\\nlines \\u001b[31m");
error(new Error("broken").stack);
"""


#: A stranger chooses addresses, and the proxy serves nobody while it logs one.
LONG = """
import {{ logger }} from {module};
for (const part of ["?token", "&tokenkey", "%3Ftoken", "%25"]) {{
  logger("info", "text").info("/x?%s", part.repeat((20 << 10) / part.length));
}}
"""


def written(level: str, form: str) -> str:
    script = SCRIPT.format(
        module=json.dumps(MODULE.as_uri()), level=json.dumps(level), form=json.dumps(form)
    )
    return printed(script, seconds=20)


def test_addresses_are_logged_without_their_secrets() -> None:
    text = written("debug", "text")
    assert "s3cret" not in text
    assert "/hub/error/503?url=%2Fu%2Fx%3Ftoken%3D[secret]" in text


def test_no_address_takes_long() -> None:
    script = LONG.format(module=json.dumps(MODULE.as_uri()))
    assert len(printed(script, seconds=20).splitlines()) == 4


def test_json_has_one_object_a_line() -> None:
    lines = [json.loads(line) for line in written("debug", "json").splitlines()]
    assert all(datetime.fromisoformat(line.pop("time")).utcoffset() is not None for line in lines)
    assert [line["level"] for line in lines] == ["debug", "info", "warning", "error"]
    assert lines[1] == {"level": "info", "logger": "proxy", "message": "route /a -> http://b"}
    assert "\x1b" not in written("debug", "json")


def test_text_has_no_colours_of_its_own() -> None:
    first, *_ = written("info", "text").splitlines()
    assert re.fullmatch(r"\S+ \[proxy\] info: route /a -> http://b", first)


@pytest.mark.parametrize(("level", "count"), [("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_is_the_least_that_is_logged(level: str, count: int) -> None:
    assert len(written(level, "json").splitlines()) == count


def test_a_connection_that_has_ended_is_no_fault_in_the_code() -> None:
    script = f"""
import {{ saying }} from {json.dumps(MODULE.as_uri())};
const reset = Object.assign(new Error("read ECONNRESET"), {{ code: "ECONNRESET" }});
console.log(JSON.stringify([saying(reset), saying(new Error("broken")), saying(undefined)]));
"""
    reset, broken, nothing = json.loads(printed(script))
    assert reset == "read ECONNRESET"
    assert broken.startswith("Error: broken\n    at ")
    assert nothing == "undefined"
