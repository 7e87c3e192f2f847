"""docs/configuration.md says of every setting what Pulumi.yaml says."""

from __future__ import annotations

import json

import yaml

from toolchain.places import ROOT


def test_the_page_has_a_row_for_every_setting_and_no_other() -> None:
    schema = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    expected = []
    for key, entry in schema.items():
        if "type" not in entry:  # the provider's own, such as pulumi:disable-default-providers
            continue
        default = entry["default"]
        text = default if isinstance(default, str) else json.dumps(default)
        shown = f"`{text}`" if text else ""
        expected.append(f"| `{key}` | {entry['type']} | {shown} | {entry['description']} |")
    page = (ROOT / "docs" / "configuration.md").read_text().splitlines()
    assert [line for line in page if line.startswith("| `")] == expected
