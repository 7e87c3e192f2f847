"""What a server makes in the home before kernels start."""

from __future__ import annotations

import site
from pathlib import Path

import pytest
from zsingleuser import home


def test_the_folder_of_users_packages_exists_before_the_first_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "lib" / "site-packages"
    monkeypatch.setattr(site, "USER_SITE", str(folder))
    home.prepare()
    home.prepare()
    assert folder.is_dir()


def test_a_home_that_cannot_be_written_keeps_no_server_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lib").write_text("a file where a folder must be")
    monkeypatch.setattr(site, "USER_SITE", str(tmp_path / "lib" / "site-packages"))
    home.prepare()
