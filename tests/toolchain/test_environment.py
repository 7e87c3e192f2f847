"""The Python environment, made by the real venv and pip from a package made here."""

from __future__ import annotations

import hashlib
import re
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.toolchain.conftest import Clone

pytestmark = pytest.mark.slow

ENSURE = """
import sys
from toolchain import environment
from toolchain.console import Problem
try:
    environment.ensure(development="development" in sys.argv)
except Problem as problem:
    sys.exit(str(problem))
"""


#: As when the machine goes down after pip has done its work.
INTERRUPTED = """
real = environment.run
def run(*arguments, **named):
    real(*arguments, **named)
    if "pip" in map(str, arguments[1]):
        raise KeyboardInterrupt
environment.run = run
"""


def wheel(folder: Path, version: str = "1.0") -> str:
    """Make a package `sample` in a folder of wheels; returns its SHA-256."""
    folder.mkdir(exist_ok=True)
    path = folder / f"sample-{version}-py3-none-any.whl"
    metadata = f"sample-{version}.dist-info/"
    with zipfile.ZipFile(path, "w") as archive:
        # Not with the current time: the same package has the same sum.
        def add(name: str, text: str) -> None:
            archive.writestr(zipfile.ZipInfo(name), text)

        add("sample.py", f"VERSION = {version!r}\n")
        add(metadata + "METADATA", f"Metadata-Version: 2.1\nName: sample\nVersion: {version}\n")
        tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        add(metadata + "WHEEL", tags)
        # What it has installed is removed with it.
        installed = ("sample.py", *(metadata + name for name in ("METADATA", "WHEEL", "RECORD")))
        add(metadata + "RECORD", "".join(f"{name},,\n" for name in installed))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def wheels(tmp_path: Path, clone: Clone, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone without a package index, whose locks name the one package in the folder."""
    folder = tmp_path / "wheels"
    check_out(clone, folder, "1.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def check_out(clone: Clone, folder: Path, version: str) -> None:
    """Make the locks those of a release that has this version of the package."""
    lock = f"sample=={version} --hash=sha256:{wheel(folder, version)}\n"
    for name in ("requirements.txt", "requirements-dev.txt"):
        (clone.root / name).write_text(lock)


def imports(clone: Clone, module: str) -> bool:
    python = clone.root / ".venv" / "bin" / "python"
    command = [str(python), "-P", "-c", f"import {module}"]
    return subprocess.run(command, cwd="/", check=False, capture_output=True).returncode == 0


def test_the_environment_is_made_again_only_if_broken_or_the_lock_changed(
    clone: Clone, wheels: Path
) -> None:
    first = clone.python(ENSURE)
    assert first.returncode == 0, first.stderr
    assert "installing requirements.txt into .venv: done" in first.stderr
    assert imports(clone, "sample")
    assert imports(clone, "toolchain.places"), "the clone's own packages, from any folder"

    assert clone.python(ENSURE).stderr == ""

    # As after an upgrade of the machine's Python.
    (clone.root / ".venv" / "bin" / "python").unlink()
    assert clone.python(ENSURE).returncode == 0
    assert imports(clone, "sample")

    lock = clone.root / "requirements.txt"
    lock.write_text(lock.read_text() + "# another lock\n")
    assert "installing" in clone.python(ENSURE).stderr


@pytest.mark.parametrize(("first", "second"), [("", "development"), ("development", "")])
def test_after_another_release_and_back_the_packages_are_those_of_the_lock(
    clone: Clone, wheels: Path, first: str, second: str
) -> None:
    """`make up` has one lock and `make test` the other, and both have the one `.venv`."""
    for version, kind in (("1.0", first), ("2.0", second), ("1.0", first)):
        check_out(clone, wheels, version)
        result = clone.python(f"import sys; sys.argv.append({kind!r})\n{ENSURE}")
        assert result.returncode == 0, result.stderr
        assert imports(clone, f"sample; assert sample.VERSION == {version!r}"), version


@pytest.mark.parametrize("kind", ["", "development"])
def test_an_installation_that_was_interrupted_is_made_again(
    clone: Clone, wheels: Path, kind: str
) -> None:
    chosen = f"import sys; sys.argv.append({kind!r})\n"
    assert clone.python(chosen + ENSURE).returncode == 0
    check_out(clone, wheels, "2.0")
    code = f"{chosen}from toolchain import environment\n{INTERRUPTED}{ENSURE}"
    assert "KeyboardInterrupt" in clone.python(code).stderr
    check_out(clone, wheels, "1.0")
    assert clone.python(chosen + ENSURE).returncode == 0
    assert imports(clone, "sample; assert sample.VERSION == '1.0'")


def test_a_package_with_another_hash_is_never_installed(clone: Clone, wheels: Path) -> None:
    (wheels / "sample-1.0-py3-none-any.whl").open("ab").write(b"tampered")
    result = clone.python(ENSURE)
    assert result.returncode == 1
    assert "HASHES" in result.stderr or "hashes" in result.stderr
    assert "somebody may have tampered with the package; it was not installed" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (clone.root / ".venv" / "program").exists()
    assert not imports(clone, "sample")


def test_the_makefile_says_which_python_it_needs(clone: Clone, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    for name in ("python3", "python3.13", "python3.12", "python3.11"):
        (old / name).write_text("#!/bin/sh\nexit 1\n")
        (old / name).chmod(0o755)
    (old / "sh").symlink_to("/bin/sh")
    (old / "make").symlink_to("/usr/bin/make")
    result = clone.make("env", PATH=str(old))
    assert result.returncode
    assert "Python 3.11 or newer is needed: make PYTHON=" in result.stderr


def test_make_alone_lists_the_commands(clone: Clone) -> None:
    printed = clone.make().stdout
    for command in ("up", "preview", "down", "env", "doctor", "test", "lint", "lock", "clean"):
        assert any(line.split()[0] == command for line in printed.splitlines()), command


def test_the_line_for_the_shell_can_be_copied(clone: Clone) -> None:
    assert 'eval "$(make -s env)"' in clone.make().stdout


def test_doctor_names_what_is_missing_and_changes_nothing(clone: Clone) -> None:
    before = {path.name for path in clone.root.iterdir()}
    result = clone.make("doctor")
    assert result.returncode
    assert "MISSING  Python" in result.stdout
    assert "MISSING  Pulumi CLI: missing" in result.stdout
    assert "→ make up installs it" in result.stdout
    assert "Traceback" not in result.stderr
    assert "→ make up STACK=site installs it" in clone.make("doctor", "STACK=site").stdout
    assert {path.name for path in clone.root.iterdir()} == before


def test_if_make_env_fails_its_eval_fails(clone: Clone) -> None:
    shown = subprocess.run(
        ["bash", "-c", 'eval "$(make -s env)" || echo "not set up"'],
        cwd=clone.root,
        env=clone.environment(PIP_INDEX_URL="http://127.0.0.1:9", ZHUB_TOOLCHAIN="none"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert shown.stdout == "not set up\n"
    assert "error: " in shown.stderr


def test_doctor_of_a_directory_needs_a_running_hub(clone: Clone) -> None:
    result = clone.make("doctor", "STACK=nowhere", "LDAP=alice")
    assert result.returncode
    assert "no container zhub-nowhere-hub runs on" in result.stderr
    assert "make up STACK=nowhere" in result.stderr


def test_doctor_takes_no_user_from_the_shell(clone: Clone) -> None:
    assert "MISSING  Python" in clone.make("doctor", LDAP="ldap.example.com").stdout


def test_no_value_of_a_command_is_taken_from_the_shell(clone: Clone, tmp_path: Path) -> None:
    """Where the name may mean something else; STACK and ARCH are meant to be taken from it."""
    quoted = set(re.findall(r"\$\(call quoted,(\w+)\)", (clone.root / "Makefile").read_text()))
    assert {"LDAP", "LIMIT", "TO", "STACK", "ARCH"} <= quoted
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nprintf "<%s>\\n" "$@"\n')
    python.chmod(0o755)
    shell = dict.fromkeys(quoted | {"USER"}, "of-the-shell") | {"STACK": "site", "ARCH": "arm64"}
    # `doctor` alone has its value in a condition; the test before is about that.
    for command in ("backup", "restore", "sizes", "users"):
        result = clone.make(command, f"PYTHON={python}", **shell)
        assert result.stdout.startswith(f"<-m>\n<toolchain>\n<{command}>\n<site>\n<>"), result
        assert "of-the-shell" not in result.stdout, command
    assert clone.make("cli", f"PYTHON={python}", **shell).stdout.endswith("<arm64>\n")
    text = (clone.root / "Makefile").read_text()
    own = set(re.findall(r"^(\w+) =$", text, re.MULTILINE)) | {"HOME_OF"}
    assert quoted - own == {"STACK", "ARCH"}


@pytest.mark.parametrize("user", ["o'brien", "a b", "pa$HOME", "$(id)", '"`id`"; id', "$$"])
def test_a_user_name_reaches_doctor_unchanged(clone: Clone, tmp_path: Path, user: str) -> None:
    """It passes through make and a shell, which both have special characters."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    result = clone.make("doctor", "STACK=site's", f"LDAP={user}", f"PYTHON={python}")
    assert result.stdout.splitlines() == ["-m", "toolchain", "directory", "site's", user]


@pytest.mark.parametrize("text", ["$(id", "5$, not ${6", "$(shell id) $$ 'x'"])
def test_a_message_reaches_users_unchanged(clone: Clone, tmp_path: Path, text: str) -> None:
    """Make must not expand it for the environment of its commands, and fail."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    wishes = (f"TEXT={text}", f"NOTICE={text}")
    result = clone.make("users", "STACK=site", "DO=message", *wishes, f"PYTHON={python}")
    assert result.stdout.splitlines()[4:] == ["message", "", "", text, "", text, ""]


def test_an_empty_stack_name_is_not_the_dev_stack(clone: Clone) -> None:
    """As from a script with an unset variable."""
    result = clone.make("down", "STACK=")
    assert result.returncode
    assert "STACK=: a stack name has letters" in result.stderr
