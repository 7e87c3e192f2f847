"""Repairs of packages from PyPI: what they change, and when they stop a build."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from tests.images.notebook import programs


@pytest.fixture
def program() -> ModuleType:
    return programs.program("repair")


def test_each_repair_changes_one_place(program: ModuleType, tmp_path: Path) -> None:
    for name, (wrong, _) in program.REPAIRS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"before\n{wrong}\nafter\n")
    program.repair(tmp_path)
    for name, (_, right) in program.REPAIRS.items():
        assert (tmp_path / name).read_text() == f"before\n{right}\nafter\n"


def test_a_package_that_is_not_installed_needs_none(program: ModuleType, tmp_path: Path) -> None:
    program.repair(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("times", [0, 2])
def test_a_version_that_differs_stops_the_build(
    program: ModuleType, tmp_path: Path, times: int
) -> None:
    name, (wrong, _) = next(iter(program.REPAIRS.items()))
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(wrong * times)
    with pytest.raises(SystemExit, match=name):
        program.repair(tmp_path)
