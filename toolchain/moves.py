"""Show which pins moved between two versions of the files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from toolchain import pins, snapshot

NONE = "-"


def _of_go(file: Path) -> dict[str, str]:
    go = re.findall(r"^(go) (\S+)$", file.read_text(), re.MULTILINE)
    return {**dict(go), **pins.required(file)}


def _of_npm(file: Path) -> dict[str, str]:
    name, _, version = json.loads(file.read_text())["packageManager"].partition("@")
    return {name: version.partition("+")[0]}


def _of_packages(file: Path) -> dict[str, str]:
    packages = json.loads(file.read_text())["packages"]
    return {
        name.removeprefix("node_modules/"): package["version"]
        for name, package in packages.items()
        if name
    }


def _of_debian(file: Path) -> dict[str, str]:
    moments = filter(None, map(snapshot.moment, file.read_text().split()))
    return {"Debian": next(moments, NONE)}


def _of_releases(file: Path) -> dict[str, str]:
    return dict.fromkeys(pins.sums_in(file.read_text()), "pinned")


def _of_earlier_plugins(file: Path) -> dict[str, str]:
    return {f"{name} {version}": "kept" for name, version in pins.earlier_plugins(file)}


def _of_nothing(_: Path) -> dict[str, str]:
    return {}


#: How to find the versions in a file, by its name.
READERS: dict[str, Callable[[Path], dict[str, str]]] = {
    "go.mod": _of_go,
    "go.sum": _of_nothing,
    "package.json": _of_npm,
    "package-lock.json": _of_packages,
    snapshot.FILE.name: _of_debian,
    pins.CLI_SUMS.name: _of_releases,
    pins.EARLIER_PLUGINS.name: _of_earlier_plugins,
}


def versions(file: Path) -> dict[str, str]:
    """The versions that a file pins, by package; empty for a list of sums."""
    return READERS.get(file.name, pins.locked)(file)


def _rows(before: Path, after: Path, files: list[Path]) -> Iterator[tuple[str, str, str]]:
    """For each changed file, a heading and the pins that moved."""
    for file in files:
        if (before / file).read_bytes() == (after / file).read_bytes():
            continue
        old, new = versions(before / file), versions(after / file)
        moved = sorted(name for name in old | new if old.get(name) != new.get(name))
        # The CLI needs some hundred modules: their number is enough.
        brought = moved if file.name == "go.mod" else []
        shown = [name for name in moved if name not in brought or name in ("go", pins.CLI_MODULE)]
        yield str(file), "", ""
        for name in shown:
            yield f"  {name}", old.get(name, NONE), new.get(name, NONE)
        if rest := len(moved) - len(shown):
            yield f"  and {rest} other modules", "", ""
        if not moved:
            yield "  sums only", "", ""


def table(before: Path, after: Path, files: list[Path]) -> str:
    """A table of what moved: under each file's name, package, version before, version after.

    Args:
        before: the folder with the old files.
        after: the folder with the new files.
        files: relative to both.
    """
    rows = [("", "before", "after"), *_rows(before, after, files)]
    if len(rows) == 1:
        return "nothing moved"
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join(f"{name:{first}}  {old:{second}}  {new}".rstrip() for name, old, new in rows)
