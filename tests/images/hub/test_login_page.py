"""What a real JupyterHub shows of the site's texts, and that none of them becomes code."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from zhub.settings.ldap import LdapTls

from tests.images.hub import real_hub, slapd
from tests.images.hub.real_hub import RealHub
from tests.images.hub.slapd import PASSWORDS, SUFFIX

pytestmark = pytest.mark.slow

MORE = """
    from zhub.front import site
    site.FILE = FOLDER / "site.json"
    c.JupyterHub.template_paths = [str(site.TEMPLATES)]
    c.JupyterHub.template_vars = {"site": site.read}
    c.DirectoryAuthenticator.allow_all = False
    c.DirectoryAuthenticator.allowed_groups = ["nobody"]
"""

EVIL = '<script>alert(1)</script><b onclick="x">{{ 7 * 7 }}</b> javascript:alert(2) %s'


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHub]:
    with slapd.with_policies(tmp_path_factory.mktemp("slapd")) as server:
        ldap = {
            "servers": ("127.0.0.1",),
            "port": server.port,
            "tls": LdapTls.NONE,
            "dn_templates": (f"uid={{username}},ou=people,{SUFFIX}",),
            "allowed_groups": (f"cn=nobody,{SUFFIX}",),
        }
        folder: Path = tmp_path_factory.mktemp("hub") / "state"
        with real_hub.running(folder, ldap, more=MORE) as hub:
            yield hub


def say(hub: RealHub, **texts: str) -> str:
    """Change the texts of a running hub; return its login page."""
    (hub.folder / "site.json").write_text(json.dumps(texts))
    page = requests.get(f"{hub.url}hub/login", timeout=30)
    page.raise_for_status()
    return page.text


def test_the_page_shows_the_sites_texts_while_the_hub_runs(hub: RealHub) -> None:
    page = say(
        hub,
        name="Institute of Sums",
        contact="help@example.com",
        announcement="Down on Sunday,\nsee https://status.example.com",
        terms="Be kind.\nDo no harm.",
    )
    assert "<title>Institute of Sums</title>" in re.sub(r">\s+|\s+<", lambda m: m[0].strip(), page)
    assert '<a href="mailto:help@example.com">help@example.com</a>' in page
    assert 'href="https://status.example.com"' in page
    assert "Be kind.\nDo no harm." in page
    page = say(hub)
    for text in ("Institute", "Ask:", "Sunday", "you accept"):
        assert text not in page
    assert "Sign in" in page


def test_no_text_becomes_code(hub: RealHub) -> None:
    page = say(hub, name=EVIL, contact=EVIL, announcement=EVIL, terms=EVIL)
    assert "<script>alert" not in page
    assert "<b onclick" not in page
    assert 'href="javascript:' not in page
    assert html.unescape(page).count(EVIL) == 5, "as it is, also in the title"


def sent(hub: RealHub, name: str, password: str) -> requests.Response:
    """Return the answer to a login form that a browser sends."""
    session = requests.Session()
    session.get(f"{hub.url}hub/login", timeout=30)
    form = {"username": name, "password": password, "_xsrf": session.cookies["_xsrf"]}
    return session.post(f"{hub.url}hub/login", data=form, timeout=30)


def test_who_is_not_allowed_is_told_whom_to_ask(hub: RealHub) -> None:
    say(hub, contact="<i>help</i>")
    answer = sent(hub, "bob", PASSWORDS["bob"])
    assert answer.status_code == 403
    said = "Your account is not allowed to use this hub. If you think that you should be, ask:"
    assert f"{said} &lt;i&gt;help&lt;/i&gt;" in answer.text


def test_the_form_says_why_a_login_is_refused(hub: RealHub) -> None:
    say(hub)
    for name, password, text in (
        ("reset", "reset", "You have to change your password first."),
        ("reset", "wrong", "Invalid username or password"),
        ("nobody", "wrong", "Invalid username or password"),
        ("EXAMPLE\\bob", PASSWORDS["bob"], "Type yours without a domain and backslash in front"),
    ):
        answer = sent(hub, name, password)
        assert answer.status_code == 403
        assert text in answer.text
        assert f'value="{name}"' in answer.text
        assert 'name="password"' in answer.text
        # About locked accounts strangers and owners read the same.
        assert ("may be locked" in answer.text) is text.startswith("Invalid")


def test_a_form_that_was_open_too_long_leads_back_to_the_form(hub: RealHub) -> None:
    """It is JupyterHub's own doing; here because a bare 403 would be a dead end."""
    session = requests.Session()
    session.get(f"{hub.url}hub/login", timeout=30)
    form = {"username": "bob", "password": PASSWORDS["bob"], "_xsrf": "of yesterday"}
    answer = session.post(f"{hub.url}hub/login?next=%2Fhub%2Fhome", data=form, timeout=30)
    assert answer.status_code == 403
    assert "Login form invalid or expired. Try again." in answer.text
    assert 'name="password"' in answer.text
    assert "next=%2Fhub%2Fhome" in answer.text
