"""What the site may say on the hub's pages."""

from __future__ import annotations

import json

import pytest

from tests.components.recorder import run
from tests.components.stack_config import DEMO, read, refused

EVIL = '<script>alert(1)</script> {{ 7 * 7 }} "quoted"'


def files(**texts: str) -> dict[str, str]:
    """Content of the files that the hub gets, by name."""
    config = DEMO | {f"zhub:{key}": text for key, text in texts.items()}
    uploads = run(config).one("Container", "files").inputs["uploads"]
    return {upload["file"].rpartition("/")[2]: upload["content"] for upload in uploads}


def test_the_hub_reads_the_texts_from_a_file_beside_its_certificate() -> None:
    several = f"{EVIL}\n\nÜbrigens: second line"
    found = files(siteName="Institute", contact=EVIL, announcement=several, terms=several)
    assert json.loads(found["site.json"]) == {
        "name": "Institute",
        "contact": EVIL,
        "announcement": several,
        "terms": several,
    }
    assert set(json.loads(files()["site.json"]).values()) == {""}


def test_another_text_changes_only_the_container_that_brings_it() -> None:
    before, after = (
        {one.name: one.inputs for one in run(DEMO | more).all("Container")}
        for more in ({}, {"zhub:announcement": "Down on Sunday"})
    )
    assert [name for name in before if before[name] != after[name]] == ["files"]


@pytest.mark.parametrize(
    ("key", "text", "reason"),
    [
        ("siteName", "x" * 101, "has 101 characters; the page has room for 100"),
        ("siteName", "a\nb", "or several lines"),
        ("contact", "a\x1bb", "has characters that cannot be shown"),
        ("announcement", "x" * 2001, "room for 2000"),
        ("terms", "a\x00b", "has characters that cannot be shown"),
    ],
)
def test_a_text_that_cannot_be_shown_is_refused(key: str, text: str, reason: str) -> None:
    assert reason in refused(DEMO | {f"zhub:{key}": text})


def test_spaces_around_a_text_do_not_count() -> None:
    assert json.loads(read(DEMO | {"zhub:terms": " a\n"})[0].texts)["terms"] == "a"
