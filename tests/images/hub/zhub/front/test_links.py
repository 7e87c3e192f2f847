"""How addresses are split behind a base path, and what a link to everybody's own server becomes."""

from __future__ import annotations

from types import SimpleNamespace
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPServerRequest
from zhub.front.links import behind_base, to_own_server


@pytest.mark.parametrize(
    ("uri", "split"),
    [
        ("/", ("", "")),
        ("/site", ("", "")),
        ("/favicon.ico?hub", ("", "")),
        ("/hub", ("hub", "")),
        ("/hub?next=%2Fuser%2Falice", ("hub", "?next=%2Fuser%2Falice")),
        ("/hub/spawn", ("hub", "/spawn")),
        ("/old/hub/spawn?a=/user/b", ("hub", "/spawn?a=/user/b")),
        ("/a/b/hub/api/users", ("hub", "/api/users")),
        ("/user/alice/lab/tree/hub/a%23b.ipynb", ("user", "/alice/lab/tree/hub/a%23b.ipynb")),
        ("/services/x/hub/y", ("services", "/x/hub/y")),
        ("/hubs/hub-2/", ("", "")),
        ("//evil.example.com/hub/x", ("hub", "/x")),
        ("/?hub=/hub/x", ("", "")),
        ("/site/", ("", "")),
        ("/site/user/alice/lab", ("user", "/alice/lab")),
        ("/site/hubbub/hub/x", ("hub", "/x")),
    ],
)
def test_an_address_is_split_behind_its_base_path(uri: str, split: tuple[str, str]) -> None:
    assert behind_base(uri, "/site/") == split
    assert behind_base(f"/user{uri}", "/user/") == split


def link(path: str) -> str:
    """Return where the hub sends alice after such a link, decoded as the hub does it once."""
    request = HTTPServerRequest("GET", f"/site/hub/user-redirect/{path}")
    user = SimpleNamespace(url="/site/user/alice/", escaped_name="alice")
    # The hub hands the decoded path over as well.
    spawn = urlsplit(to_own_server(unquote(path), request, user, "/site/"))
    assert spawn.path == "/site/hub/spawn/alice"
    return parse_qs(spawn.query, strict_parsing=True)["next"][0]


@given(st.text(min_size=1, max_size=30).filter(lambda name: not name.startswith("/")))
def test_the_name_of_a_file_stays_as_it_was_encoded(name: str) -> None:
    encoded = quote(name.encode(errors="replace"), safe="")
    assert link(f"lab/tree/{encoded}") == f"/site/user/alice/lab/tree/{encoded}"


def test_a_link_keeps_its_query() -> None:
    query = "repo=https%3A%2F%2Fgit.example.com%2Fa%3Fb&urlpath=lab%2Ftree%2Fa"
    assert link(f"git-pull?{query}") == f"/site/user/alice/git-pull?{query}"
    assert link("") == "/site/user/alice/"


def test_no_link_leads_to_another_host() -> None:
    assert link("/evil.example.com/x") == "/site/user/alice/evil.example.com/x"
