"""Files that other processes may read, or change, at any moment."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
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


def test_who_changes_a_file_after_a_look_at_it_is_alone(tmp_path: Path) -> None:
    count = tmp_path / "count"
    count.write_text("0")

    def one_more(_: int) -> None:
        with files.alone(count):
            found = int(count.read_text())
            time.sleep(0.001)
            files.write(count, str(found + 1), 0o644)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one_more, range(40)))
    assert count.read_text() == "40"
    assert list(tmp_path.iterdir()) == [count]
