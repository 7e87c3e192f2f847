"""Files that another process may read at any moment."""

from __future__ import annotations

from pathlib import Path

from zhub import files


def test_a_file_is_replaced_as_a_whole_and_has_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "token"
    files.write(file, "one", 0o600)
    with file.open() as reader:
        files.write(file, "two", 0o600)
        assert reader.read() == "one"
    assert file.read_text() == "two"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_what_an_interrupted_write_has_left_is_in_no_ones_way(tmp_path: Path) -> None:
    (tmp_path / ".token.part").write_text("half")
    files.write(tmp_path / "token", "whole", 0o600)
    assert (tmp_path / "token").read_text() == "whole"
