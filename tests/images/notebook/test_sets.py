"""Which locked packages are installed from wheels, and which are left to be compiled."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.images.notebook import programs
from toolchain.places import ROOT

LOCK = """\
one==1.0 \\
    --hash=sha256:11 \\
    --hash=sha256:12
one-more==2.0 ; sys_platform != 'win32' \\
    --hash=sha256:21
plain==3.0 --hash=sha256:31
"""

#: Stands for pip: has no wheel of what the file `lacks` names, and says so one by one, as pip does.
PIP = """
import pathlib, sys
wanted = "".join(pathlib.Path(file).read_text() for file in sys.argv[2:])
for name in pathlib.Path(sys.argv[1]).read_text().split():
    if f"{name}==" in wanted:
        print(f"ERROR: Could not find a version that satisfies {name}", file=sys.stderr)
        sys.exit(f"ERROR: No matching distribution found for {name}==1.0")
"""


@pytest.fixture
def program() -> ModuleType:
    return programs.program("sets")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "site.txt").write_text(LOCK)
    (tmp_path / "other.txt").write_text("plain==3.0 --hash=sha256:31\n")
    (tmp_path / "pip.py").write_text(PIP)
    return tmp_path


def pip(folder: Path, lacks: str) -> list[str]:
    (folder / "lacks").write_text(lacks)
    return [sys.executable, str(folder / "pip.py"), str(folder / "lacks")]


def test_a_lock_is_split_at_a_package(program: ModuleType) -> None:
    first, _, rest = LOCK.partition("one-more")
    assert program.without(LOCK, "one") == (f"one-more{rest}", first)
    assert program.without(LOCK, "plain")[1] == "plain==3.0 --hash=sha256:31\n"
    assert program.without(LOCK, "on") == (LOCK, "")


def test_nothing_is_compiled_of_which_there_are_wheels(program: ModuleType, folder: Path) -> None:
    sets = program.Sets(folder, ["site"])
    sets.install(pip(folder, ""))
    assert (sets.missing, sets.tools()) == ({}, [])
    assert (folder / "site.txt").read_text() == LOCK


def test_what_has_no_wheel_is_left_out_with_its_hashes(program: ModuleType, folder: Path) -> None:
    sets = program.Sets(folder, ["site", "other"])
    sets.install(pip(folder, "one plain"))
    assert list(sets.missing) == ["one", "plain"]
    assert "".join(sets.missing.values()) == LOCK.partition("one-more")[0] + LOCK[-28:]
    assert (folder / "site.txt").read_text().startswith("one-more==2.0 ;")
    assert (folder / "other.txt").read_text() == ""
    assert "build-essential" in sets.tools()


def test_a_set_names_what_it_needs_of_debian_to_compile(program: ModuleType, folder: Path) -> None:
    (folder / "site.debian").write_text("# its headers\nlibldap-dev libsasl2-dev # two\n")
    sets = program.Sets(folder, ["site", "other"])
    sets.install(pip(folder, "one"))
    assert set(sets.tools()) == {*program.TOOLS, "libldap-dev", "libsasl2-dev"}


@pytest.mark.parametrize(
    "said",
    [
        "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES",
        "WARNING: Retrying (Retry(total=4))\\nERROR: No matching distribution found for one==1.0",
    ],
)
def test_another_error_of_pip_stops_the_build(
    program: ModuleType, folder: Path, capfd: pytest.CaptureFixture[str], said: str
) -> None:
    """An index that does not answer, for example, which for pip has no wheel of anything."""
    sets = program.Sets(folder, ["site"])
    with pytest.raises(SystemExit) as stopped:
        sets.install(
            [sys.executable, "-c", f"import sys; print('{said}', file=sys.stderr); sys.exit(3)"]
        )
    assert stopped.value.code == 3
    assert said.partition("\\n")[0] in capfd.readouterr().err


def test_what_is_compiled_cannot_write_to_the_cache_of_other_builds() -> None:
    """A package that is compiled runs its own code, as root of the build.

    pip checks no hash of a wheel in its cache, only the one that a file beside it names. Whoever
    can write there chooses what goes into the hub's image, and into those of other stacks.
    """
    caches: dict[bool, set[str]] = {True: set(), False: set()}
    for file in ROOT.glob("images/*/Dockerfile"):
        for command in re.findall(r"^RUN (?:.*\\\n)*.*", file.read_text(), re.MULTILINE):
            of_others = "compile.sh" in command
            caches[of_others] |= set(re.findall(r"type=cache,id=([\w-]+)", command))
    assert caches[True]
    assert caches[True].isdisjoint(caches[False])
