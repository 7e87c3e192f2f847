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


def test_a_kernel_has_its_profile_in_the_home(tmp_path: Path) -> None:
    for _ in range(2):
        assert home.ipython(tmp_path) == {}
        assert list((tmp_path / home.PROFILE).iterdir()) == []


def test_where_the_home_cannot_be_written_it_has_the_profile_in_memory(tmp_path: Path) -> None:
    """A home that is really full is in tests/images/notebook/test_full.py."""
    (tmp_path / ".ipython").write_text("a file where a folder must be")
    assert home.ipython(tmp_path) == {"IPYTHONDIR": home.SPARE}


def test_shared_folders_are_found_in_the_home(tmp_path: Path) -> None:
    shared, link = tmp_path / "elsewhere", tmp_path / "shared"
    home.link_shared(tmp_path, shared)
    assert not link.is_symlink()
    shared.mkdir()
    for _ in range(2):
        home.link_shared(tmp_path, shared)
        assert link.readlink() == shared
    # The user is in no group any more.
    shared.rmdir()
    home.link_shared(tmp_path, shared)
    assert not link.is_symlink()


def test_what_a_user_has_under_that_name_stays(tmp_path: Path) -> None:
    shared = tmp_path / "elsewhere"
    shared.mkdir()
    link = tmp_path / "shared"
    link.symlink_to("nowhere")
    home.link_shared(tmp_path, shared)
    assert link.readlink() == Path("nowhere")
    link.unlink()
    link.mkdir()
    home.link_shared(tmp_path, shared)
    shared.rmdir()
    home.link_shared(tmp_path, shared)
    assert link.is_dir()
