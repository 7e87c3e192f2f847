"""Who is calling, as the proxy has it from headers that anybody may have written."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from toolchain.places import ROOT

pytestmark = pytest.mark.slow

MODULE = ROOT / "images" / "hub" / "forwarded.mjs"

SCRIPT = """
import {{ address, callers, speakFor }} from {module};
const {{ networks, requests }} = {told};
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
    if not shutil.which("node"):
        pytest.skip("no node: apt-get install nodejs")
    told = json.dumps({"networks": networks, "requests": requests})
    script = SCRIPT.format(module=json.dumps(MODULE.as_uri()), told=told)
    done = subprocess.run(
        ["node", "--input-type=module", "-e", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answers: list[Any] = json.loads(done.stdout)
    return answers


@pytest.mark.parametrize(
    ("peer", "header", "caller"),
    [
        # A stranger says what they like.
        ("198.51.100.1", "192.0.2.66", "198.51.100.1"),
        ("::ffff:198.51.100.1", "192.0.2.7", "198.51.100.1"),
        ("2001:db8:2::1", "192.0.2.66", "2001:db8:2::1"),
        # A proxy is believed, and what strangers told it is not.
        ("192.0.2.7", "198.51.100.1", "198.51.100.1"),
        ("::ffff:192.0.2.7", "192.0.2.66, 198.51.100.1", "198.51.100.1"),
        ("2001:DB8:1::5", "198.51.100.1", "198.51.100.1"),
        # Several of them, one behind the other.
        ("192.0.2.7", "192.0.2.66, 198.51.100.1, 10.9.1.1,10.9.2.2", "198.51.100.1"),
        ("192.0.2.7", "198.51.100.1,::ffff:10.9.1.1, 2001:db8:1::9", "198.51.100.1"),
        ("192.0.2.7", "10.9.1.1, 10.9.2.2", "10.9.1.1"),
        # As some write it.
        ("192.0.2.7", "198.51.100.1:40000", "198.51.100.1"),
        ("192.0.2.7", '"[2001:db8:2::1]:443"', "2001:db8:2::1"),
        ("192.0.2.7", "[2001:db8:2::1]", "2001:db8:2::1"),
        ("192.0.2.7", "FE80::1%eth0", "fe80::1"),
        ("192.0.2.7", " ::FFFF:198.51.100.1 ", "198.51.100.1"),
        # Nothing, or nothing of use.
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
        # What only this machine itself can be.
        ("192.0.2.7", "127.0.0.1", "192.0.2.7"),
        ("192.0.2.7", "127.1.2.3, 10.9.1.1", "10.9.1.1"),
        ("192.0.2.7", "::1", "192.0.2.7"),
        ("192.0.2.7", "::ffff:127.0.0.1", "192.0.2.7"),
        ("192.0.2.7", "::ffff:7f00:1", "192.0.2.7"),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
    ],
)
def test_the_last_address_that_is_no_proxy(
    peer: str | None, header: str | None, caller: str
) -> None:
    headers = {} if header is None else {"x-forwarded-for": header}
    [seen] = spoken_for(PROXIES, [(peer, headers)])
    assert seen["x-forwarded-for"] == caller


def test_nobody_is_believed_by_default_and_nothing_else_ever() -> None:
    said = {
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
        [seen] = spoken_for(networks, [("10.9.1.1", dict(said))])
        assert seen == {
            "host": "hub.example.com:11119",
            "cookie": "a=b",
            "x-forwarded-for": caller,
            "x-forwarded-proto": "https",
            "x-forwarded-port": "11119",
            "x-forwarded-host": "hub.example.com:11119",
        }
