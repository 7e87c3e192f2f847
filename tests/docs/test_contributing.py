"""CONTRIBUTING.md, the pre-commit hook and .editorconfig match the project."""

from __future__ import annotations

import ast
import difflib
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from toolchain.places import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def tracked() -> list[str]:
    command = ["git", "ls-files"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def paths(page: str) -> set[str]:
    """Code and links in a page that look like paths of this repository."""
    words = set(re.findall(r"`([^`\s]+)`", page)) | set(re.findall(r"\]\(([^)#]+)\)", page))
    # Arguments in its examples.
    words |= set(re.findall(r"(?:pytest |TESTS=\"?)([\w./-]+)", page))
    known = r"\.(?:in|json|md|mjs|py|sh|toml|txt|ya?ml)$"
    return {word for word in words if "/" in word or re.search(known, word)}


def test_every_path_exists() -> None:
    found = paths(PAGE)
    assert len(found) > 30
    missing = sorted(path for path in found if not (ROOT / path).exists())
    assert not missing, f"CONTRIBUTING.md names what is not there: {missing}"


def anchors(page: str) -> set[str]:
    """The anchors that GitHub makes from a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [file for file in tracked() if file.endswith(".md")])
def test_every_link_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / page).read_text())
    for link in links:
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target.read_text()), link


def test_the_map_has_every_folder() -> None:
    rooms = set(re.findall(r"^\| `([^`]+)/` \|", PAGE, re.MULTILINE))
    folders = {Path(file).parts[0] for file in tracked() if "/" in file}
    # CI has a section of its own.
    assert {folder for folder in folders if not folder.startswith(".")} <= rooms


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"`make ([a-z-]+)|^\$ make ([a-z-]+)", PAGE, re.MULTILINE))
    named = {one or other for one, other in targets}
    assert {"lint", "test", "test-long", "up", "lock"} <= named
    assert named <= set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def test_the_way_of_a_setting_matches_idle_timeout() -> None:
    """The page follows this one setting from file to file."""
    for file, written in (
        ("Pulumi.yaml", "  idleTimeout:"),
        ("components/settings/users.py", "IDLE_TIMEOUT = Setting("),
        ("components/settings/users.py", "config.value(IDLE_TIMEOUT)"),
        ("components/hub.py", '"ZHUB_IDLE_TIMEOUT"'),
        ("images/hub/zhub/settings/__init__.py", '"IDLE_TIMEOUT"'),
        ("images/hub/zhub/jupyterhub_config.py", "idle_timeout"),
    ):
        assert f"`{file}`" in PAGE
        assert written in (ROOT / file).read_text(), file


@pytest.mark.slow
def test_one_entry_is_enough_for_a_setting(tmp_path: Path) -> None:
    """The page's diff, applied to a copy, gives schema, docs row, check and example."""
    # The second are names that one of the settings takes.
    for folder in ("components", "images/notebook/requirements"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    (tmp_path / "docs").mkdir()
    written = ("Pulumi.yaml", "docs/configuration.md")
    for name in written:
        shutil.copy(ROOT / name, tmp_path / name)
    [diff] = re.findall(r"^ *```diff\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL)

    def run(*command: str, text: str | None = None) -> str:
        return subprocess.run(
            command, cwd=tmp_path, input=text, capture_output=True, text=True, check=True
        ).stdout

    run("git", "apply", "-", text=textwrap.dedent(diff))
    run(sys.executable, "-m", "components.settings")
    added = {}
    for name in written:
        before, after = ((folder / name).read_text() for folder in (ROOT, tmp_path))
        lines = list(difflib.ndiff(before.splitlines(), after.splitlines()))
        assert not [line for line in lines if line.startswith("- ")]
        added[name] = [line[2:] for line in lines if line.startswith("+ ")]
    assert added == {
        "Pulumi.yaml": [
            "  helpPage:",
            "    type: string",
            '    default: ""',
            "    description: Web page where users find help; empty for none",
        ],
        "docs/configuration.md": [
            "| `helpPage` | string |  | Web page where users find help; empty for none |"
        ],
    }
    checks = """
from datetime import UTC, datetime
from components.settings import stack
for value in ("wiki", "https://wiki.example.com"):
    config = stack.declared({"zhub:demoDirectory": "true", "zhub:helpPage": value}, ())
    stack.read(config, "test", datetime.now(UTC))
    print(*config.problems, "-", sep="\\n")
"""
    wrong = 'helpPage is "wiki": not an http:// or https:// address'
    fix = "pulumi config set helpPage https://help.example.com"
    assert run(sys.executable, "-c", checks) == f"{wrong}\n    {fix}\n-\n-\n"
    assert f"`{wrong}`" in PAGE
    assert f"`{fix}`" in PAGE


def test_the_hook_is_make_lint_and_downloads_nothing() -> None:
    [repository] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    [hook] = repository["hooks"]
    assert hook["entry"] == "make lint"
    assert hook["language"] == "system"
    assert hook["always_run"] is True
    assert hook["pass_filenames"] is False


def test_the_program_imports_nothing_of_the_other_rooms() -> None:
    others = {"benchmarks", "images", "plugins", "policy", "tests", "toolchain"}
    # Packages in images/ and modules in policy/, by their names at run time.
    others |= {path.parent.name for path in (ROOT / "images").glob("*/*/__init__.py")}
    others |= {path.stem for path in (ROOT / "policy").glob("*.py")} - {"__main__"}
    for path in [ROOT / "__main__.py", *(ROOT / "components").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            rooms = {name.partition(".")[0] for name in names} & others
            assert not rooms, f"{path.relative_to(ROOT)} imports from {rooms}"


def test_files_follow_the_editorconfig() -> None:
    # Files that .editorconfig exempts.
    made = re.compile(r"\.(png|svg|sum)$|package-lock\.json$")
    with_tabs = {"Makefile", "go.mod"}
    for file in filter(lambda file: not made.search(file), tracked()):
        text = (ROOT / file).read_bytes().decode()
        assert "\r" not in text, file
        assert not text or text.endswith("\n"), file
        assert not re.search(r"[ \t]$", text, re.MULTILINE), file
        assert Path(file).name in with_tabs or not re.search(r"^\t", text, re.MULTILINE), file
