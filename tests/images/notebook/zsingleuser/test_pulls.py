"""In which folders a link may open a repository."""

from __future__ import annotations

from pathlib import Path

import pytest
from zsingleuser.pulls import refuse_outside


@pytest.mark.parametrize("folder", ["repo", "a/b/repo", "a/../repo", "missing/repo"])
def test_folders_of_the_home_are_fine(tmp_path: Path, folder: str) -> None:
    (tmp_path / "a").mkdir()
    refuse_outside(str(tmp_path / folder), tmp_path)


@pytest.mark.parametrize("folder", ["shared/team/repo", "../repo", "/shared/team", "shared/../x"])
def test_others_are_refused_wherever_links_lead(tmp_path: Path, folder: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (home / "shared").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError, match="not in your home"):
        refuse_outside(str(home / folder), home)
