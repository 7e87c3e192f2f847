"""Tests that must not run at the same time do not: pytest-xdist keeps to conftest.py's groups."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import conftest
from tests.conftest import group, marks_of_all, pytest_ignore_collect
from toolchain.places import ROOT

pytestmark = pytest.mark.slow

TESTS = """
import os, time
import pytest

@pytest.mark.xdist_group("engine")
@pytest.mark.parametrize("number", range(6))
def test_of_one_group(number):
    print("ran in", os.environ["PYTEST_XDIST_WORKER"])
    time.sleep(0.1)
"""


def test_tests_of_one_group_run_in_one_process(tmp_path: Path) -> None:
    (tmp_path / "test_group.py").write_text(TESTS)
    (tmp_path / "pytest.ini").touch()
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadgroup", "-rP", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    ran_in = [line for line in result.stdout.splitlines() if line.startswith("ran in ")]
    assert len(ran_in) == 6, result.stdout
    assert len(set(ran_in)) == 1, ran_in


def test_the_groups_that_take_long_begin_first_and_all_say_how_long(tmp_path: Path) -> None:
    """As `make test` runs them: with fewer tests than others have, they would begin last."""
    folder = tmp_path / "tests"
    folder.mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\nmarkers = unit\n")
    (folder / "built.py").touch()
    code = Path(conftest.__file__).read_text()
    (folder / "conftest.py").write_text(code.replace(f"SHOWN = {conftest.SHOWN}", "SHOWN = 0"))
    for name, count in (("many", 9), ("native", 2), ("engine", 2)):
        (folder / f"test_{name}.py").write_text(
            f"import pytest\npytestmark = pytest.mark.xdist_group({name!r})\n"
            f"@pytest.mark.parametrize('number', range({count}))\ndef test_it(number): ...\n"
        )
    [beside] = re.findall(r"^BESIDE = (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", *beside.split(), str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    ran = re.findall(r"^\[(gw\d)\] .* PASSED \S+@(\w+) ?$", result.stdout, re.MULTILINE)
    # Of each process: one may end its first two tests before the other has said anything.
    began = dict(reversed(ran))
    assert sorted(began.values()) == ["engine", "native"], result.stdout
    assert [name for _, name in ran].count("many") == 9
    shown = re.findall(r"^ +0 s of (\w+), until 0 min$", result.stdout, re.MULTILINE)
    assert sorted(shown) == ["engine", "many", "native"], result.stdout


def test_who_builds_the_images_is_one_process() -> None:
    assert group("engine/test_stack.py", {"engine"}, ["stack"]) == "engine"
    assert group("images/test_contents.py", {"engine"}, ["images"]) == "images"
    assert group("toolchain/test_sbom.py", {"engine"}, ["images"]) == "images"
    assert group("plugins/test_command.py", {"engine"}, []) == "plugins"
    assert group("components/test_names.py", set(), []) == "components/test_names.py"


def test_files_without_unit_tests_are_known_by_a_line() -> None:
    assert marks_of_all("import pytest\n\npytestmark = pytest.mark.slow\n") == {"slow"}
    several = 'pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("engine")]'
    assert marks_of_all(several) == {"slow", "xdist_group"}
    assert marks_of_all("@pytest.mark.slow\ndef test_one() -> None: ...") == set()


def test_a_folder_is_left_out_if_all_files_below_it_are(tmp_path: Path) -> None:
    def left_out(path: Path, only: str) -> bool | None:
        config: Any = SimpleNamespace(getoption=lambda _: only)
        return pytest_ignore_collect(path, config)

    (tmp_path / "inner").mkdir()
    slow, quick = tmp_path / "inner/test_slow.py", tmp_path / "test_quick.py"
    slow.write_text("pytestmark = pytest.mark.slow\n")
    quick.write_text("def test_one() -> None: ...\n")
    paths = (tmp_path, slow.parent, slow, quick, tmp_path / "inner/conftest.py")
    assert [left_out(path, "unit") for path in paths] == [None, True, True, None, None]
    assert [left_out(path, "not long") for path in paths] == [None] * 5
