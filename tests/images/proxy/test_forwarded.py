"""How the proxy finds the client's address in headers that anyone may have written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.images.proxy.node import printed
from toolchain.places import ROOT

pytestmark = pytest.mark.slow

MODULE = ROOT / "images" / "proxy" / "forwarded.mjs"

SCRIPT = """
import {{ address, callers, speakFor }} from {module};
const {{ networks, requests }} = {arguments};
const caller = callers(networks);
const answers = requests.map(([remoteAddress, headers]) => {{
  const request = {{ socket: {{ remoteAddress }}, headers }};
  speakFor(request, caller, "https");
  return request.headers;
}});
console.log(JSON.stringify(answers));
"""

PROXIES = ["192.0.2.7/32", "10.9.0.0/16", "2001:db8:1::/64"]


def spoken_for(networks: list[str], requests: list[tuple[str | None, dict[str, str]]]) -> list[Any]:
    arguments = json.dumps({"networks": networks, "requests": requests})
    script = SCRIPT.format(module=json.dumps(MODULE.as_uri()), arguments=arguments)
    answers: list[Any] = json.loads(printed(script))
    return answers


@pytest.mark.parametrize(
    ("peer", "header", "caller"),
    [
        # A stranger's header is ignored.
        ("198.51.100.1", "192.0.2.66", "198.51.100.1"),
        ("::ffff:198.51.100.1", "192.0.2.7", "198.51.100.1"),
        ("2001:db8:2::1", "192.0.2.66", "2001:db8:2::1"),
        # A proxy's entry is trusted; those that strangers sent it are not.
        ("192.0.2.7", "198.51.100.1", "198.51.100.1"),
        ("::ffff:192.0.2.7", "192.0.2.66, 198.51.100.1", "198.51.100.1"),
        ("2001:DB8:1::5", "198.51.100.1", "198.51.100.1"),
        # Several proxies in a row.
        ("192.0.2.7", "192.0.2.66, 198.51.100.1, 10.9.1.1,10.9.2.2", "198.51.100.1"),
        ("192.0.2.7", "198.51.100.1,::ffff:10.9.1.1, 2001:db8:1::9", "198.51.100.1"),
        ("192.0.2.7", "10.9.1.1, 10.9.2.2", "10.9.1.1"),
        # Formats that some proxies use.
        ("192.0.2.7", "198.51.100.1:40000", "198.51.100.1"),
        ("192.0.2.7", '"[2001:db8:2::1]:443"', "2001:db8:2::1"),
        ("192.0.2.7", "[2001:db8:2::1]", "2001:db8:2::1"),
        ("192.0.2.7", "FE80::1%eth0", "fe80::1"),
        ("192.0.2.7", " ::FFFF:198.51.100.1 ", "198.51.100.1"),
        # Nothing, or nothing useful.
        ("192.0.2.7", None, "192.0.2.7"),
        ("192.0.2.7", "", "192.0.2.7"),
        ("192.0.2.7", "unknown", "192.0.2.7"),
        ("192.0.2.7", "198.51.100.1, unknown", "192.0.2.7"),
        ("192.0.2.7", "198.51.100.1,", "192.0.2.7"),
        ("192.0.2.7", "198.51.100.1, _hidden, 10.9.1.1", "10.9.1.1"),
        ("192.0.2.7", "198.51.100.256", "192.0.2.7"),
        ("192.0.2.7", "0x7f.1", "192.0.2.7"),
        ("192.0.2.7", "," * 8000, "192.0.2.7"),
        (None, "198.51.100.1", ""),
        # Addresses that only this machine itself can have.
        ("192.0.2.7", "127.0.0.1", "192.0.2.7"),
        ("192.0.2.7", "127.1.2.3, 10.9.1.1", "10.9.1.1"),
        ("192.0.2.7", "::1", "192.0.2.7"),
        ("192.0.2.7", "::ffff:127.0.0.1", "192.0.2.7"),
        ("192.0.2.7", "::ffff:7f00:1", "192.0.2.7"),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
    ],
)
def test_the_client_is_the_last_address_that_is_not_a_proxy(
    peer: str | None, header: str | None, caller: str
) -> None:
    headers = {} if header is None else {"x-forwarded-for": header}
    [seen] = spoken_for(PROXIES, [(peer, headers)])
    assert seen["x-forwarded-for"] == caller


def test_no_proxy_is_trusted_by_default_and_no_other_header_ever() -> None:
    forged = {
        "host": "hub.example.com:11119",
        "forwarded": "for=192.0.2.66;proto=http",
        "x-forwarded-for": "192.0.2.66",
        "x-forwarded-proto": "http",
        "x-forwarded-host": "evil.example.com",
        "x-forwarded-port": "80",
        "x-forwarded-ssl": "off",
        "x-real-ip": "192.0.2.66",
        "x-scheme": "http",
        "cookie": "a=b",
    }
    for networks, caller in (([], "10.9.1.1"), (PROXIES, "192.0.2.66")):
        [seen] = spoken_for(networks, [("10.9.1.1", dict(forged))])
        assert seen == {
            "host": "hub.example.com:11119",
            "cookie": "a=b",
            "x-forwarded-for": caller,
            "x-forwarded-proto": "https",
            "x-forwarded-port": "11119",
            "x-forwarded-host": "hub.example.com:11119",
        }
