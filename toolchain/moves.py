"""What moved between two states of the files that have pins."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from toolchain import pins, snapshot

NONE = "-"


def versions(file: Path) -> dict[str, str]:
    """The versions that a file pins, by what they are of; empty for sums and for what pins none."""
    if not file.exists():
        return {}
    if file.suffix == ".txt" and file.name != snapshot.FILE.name:
        return pins.locked(file)
    if file.name == snapshot.FILE.name:
        return {"Debian": next(filter(None, map(snapshot.moment, file.read_text().split())), NONE)}
    if file.name == "go.mod":
        go = re.findall(r"^(go) (\S+)$", file.read_text(), re.MULTILINE)
        return {**dict(go), **pins.required(file)}
    if file.name == "package.json":
        return dict([json.loads(file.read_text())["packageManager"].partition("+")[0].split("@")])
    if file.name == "package-lock.json":
        packages = json.loads(file.read_text())["packages"]
        return {
            name.removeprefix("node_modules/"): package["version"]
            for name, package in packages.items()
            if name
        }
    if file == file.with_name(pins.CLI_SUMS.name):
        return dict.fromkeys(pins.sums_in(file.read_text()), "pinned")
    return {}


def _rows(before: Path, after: Path, files: list[Path]) -> Iterator[tuple[str, str, str]]:
    """A heading for each file that changed, with what moved in it."""
    for file in files:
        old, new = versions(before / file), versions(after / file)
        moved = sorted(name for name in old | new if old.get(name) != new.get(name))
        # Some hundred modules that the CLI brings along: how many is enough.
        brought = moved if file.name == "go.mod" else []
        shown = [name for name in moved if name not in brought or name in ("go", pins.CLI_MODULE)]
        content = [(root / file).read_bytes() for root in (before, after)]
        if content[0] == content[1]:
            continue
        yield str(file), "", ""
        for name in shown:
            yield f"  {name}", old.get(name, NONE), new.get(name, NONE)
        if rest := len(moved) - len(shown):
            yield f"  and {rest} modules of these", "", ""
        if not moved:
            yield "  sums only", "", ""


def table(before: Path, after: Path, files: list[Path]) -> str:
    """What moved, a line each: name, version before, version after, under the file's name.

    Args:
        before: the folder with the files as they were.
        after: the folder with the files as they are.
        files: relative to both.
    """
    rows = [("", "before", "after"), *_rows(before, after, files)]
    if len(rows) == 1:
        return "nothing moved"
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join(f"{name:{first}}  {old:{second}}  {new}".rstrip() for name, old, new in rows)
