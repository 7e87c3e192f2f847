"""What `make settings` writes, for any text an entry may hold."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from components.settings import __main__ as written
from components.settings.setting import Setting

TEXTS = st.text(st.characters(exclude_categories=("C", "Z")) | st.just(" "), max_size=30)


def parse(text: str) -> str:
    return text


def schema(setting: Setting[object]) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(written, "SECTIONS", {"One": (setting,)})
        text = written.schema(f"name: zhub\nconfig:\n{written.MARK}  old: gone\n")
    declared = yaml.safe_load(text)
    assert declared.keys() == {"name", "config"}
    return declared["config"]


@given(TEXTS, TEXTS, st.lists(TEXTS, max_size=3).map(tuple))
@example("2.0", "starttls, or none: in clear", ("a, b", "]", "yes"))
@example("yes", "text # no comment", ("{a}", "'", ""))
@example("", '"system" for this machine\'s', ("- a", "null"))
def test_pulumi_reads_what_the_entry_says(
    text: str, description: str, items: tuple[str, ...]
) -> None:
    about = {"type": "string", "default": text, "description": description}
    assert schema(Setting("key", text, description, parse)) == {"key": about}
    found = schema(Setting("key", items, description, parse))["key"]
    assert (found["type"], found["items"]) == ("array", {"type": "string"})
    assert (found["default"], found["description"]) == (list(items), description)


@pytest.mark.parametrize(
    ("default", "kind"), [(True, "boolean"), (False, "boolean"), (0, "integer"), (1, "integer")]
)
def test_the_type_is_that_of_the_default(default: bool | int, kind: str) -> None:  # noqa: FBT001
    entry = schema(Setting("key", default, "Text", parse))["key"]
    assert entry["type"] == kind
    assert type(entry["default"]) is type(default)


def test_settings_of_providers_are_in_the_docs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting("docker:host", "", "Here | there", parse)
    assert schema(setting) is None
    monkeypatch.setattr(written, "SETTINGS", (setting,))
    page = written.page("Before\n\n| key | x |\n|---|---|\n| `old` | y |\n\nAfter\n")
    assert page.startswith("Before\n\n| key | type | default | meaning |\n|---|---|---|---|\n")
    assert page.endswith("|\n| `docker:host` | string |  | Here \\| there |\n\nAfter\n")


def test_files_that_cannot_be_written_into_are_named() -> None:
    with pytest.raises(SystemExit, match=re.escape("Pulumi.yaml lacks the line")):
        written.schema("name: zhub\n")
    with pytest.raises(SystemExit, match=re.escape("docs/configuration.md has no table")):
        written.page("# Configuration\n")
