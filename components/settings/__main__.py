"""`make settings`: writes what follows from the entries into Pulumi.yaml and the docs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from components.settings.entries import SECTIONS, SETTINGS
from components.settings.setting import Setting

PROJECT = Path(__file__).parents[2]

#: Everything behind it in Pulumi.yaml is written anew.
MARK = "  # From here on written by `make settings`.\n"

#: The table of the docs' page.
TABLE = re.compile(r"^\| key \|.*\n\|[-|]+\|\n(?:\|.*\n)*", re.MULTILINE)


def schema(text: str) -> str:
    """A Pulumi.yaml with the sections of all entries but those of providers, which have none."""
    head, mark, _ = text.partition(MARK)
    if not mark:
        raise SystemExit(f"Pulumi.yaml lacks the line that the settings go behind:\n{MARK}")
    sections = []
    for title, settings in SECTIONS.items():
        lines = [line for setting in settings if ":" not in setting.key for line in _entry(setting)]
        sections.append("\n".join([f"  # {title}", *lines]))
    return head + mark + "\n" + "\n\n".join(sections) + "\n"


def _entry(setting: Setting[object]) -> Iterator[str]:
    yield f"  {setting.key}:"
    if setting.secret:
        yield ('    # Not "secret: true", which excludes a default; the program checks it.')
    yield f"    type: {setting.type}"
    if isinstance(setting.default, tuple):
        yield f"    items: {{type: {'object' if setting.member else 'string'}}}"
        yield f"    default: [{', '.join(_scalar(item, '[{}]') for item in setting.default)}]"
    else:
        yield f"    default: {_scalar(setting.default)}"
    yield f"    description: {_scalar(setting.description)}"


def _scalar(value: str | int, where: str = "key: {}") -> str:
    """A value as YAML, quoted where YAML would take the bare text for something else there."""
    if not isinstance(value, str):
        return json.dumps(value)
    quoted = json.dumps(value, ensure_ascii=False)
    try:
        same = yaml.safe_load(where.format(value)) == yaml.safe_load(where.format(quoted))
    except yaml.YAMLError:
        same = False
    return value if same else quoted


def page(text: str) -> str:
    """A page of the docs with a row for every entry in its table."""
    rows = "".join(map(_row, SETTINGS))
    table = f"| key | type | default | meaning |\n|---|---|---|---|\n{rows}"
    written, count = TABLE.subn(lambda _: table, text)
    if count != 1:
        raise SystemExit("docs/configuration.md has no table of settings, or several")
    return written


def _row(setting: Setting[object]) -> str:
    default = f"`{setting.default_text}`" if setting.default_text else ""
    meaning = setting.description.replace("|", "\\|")
    return f"| `{setting.key}` | {setting.type} | {default} | {meaning} |\n"


#: What is written from the entries, and how.
WRITTEN = {"Pulumi.yaml": schema, "docs/configuration.md": page}

if __name__ == "__main__":
    for name, write in WRITTEN.items():
        path = PROJECT / name
        path.write_text(write(path.read_text()))
