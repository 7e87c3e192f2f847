"""What `make backup` and `make restore` hand over."""

from __future__ import annotations

import os
import subprocess

from toolchain.places import ROOT


def shown(*words: str) -> str:
    return subprocess.run(
        ["make", "--silent", "--dry-run", "PYTHON=python3", *words],
        cwd=ROOT,
        env={
            **os.environ,
            "USER": "somebody",
            "TO": "/elsewhere",
            "ONLY": "database",
            "REPLACE": "yes",
        },
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_only_what_is_typed_counts() -> None:
    """Every shell has a USER: it must not decide whose home is restored."""
    assert shown("backup") == "python3 -m toolchain backup 'dev' '' '' ''\n"
    assert shown("restore", "FROM=b") == "python3 -m toolchain restore 'dev' 'b' '' '' ''\n"


def test_names_with_odd_characters() -> None:
    printed = shown("restore", "STACK=site", "FROM=a b", "USER=o'brien$$x", "ONLY=database")
    assert printed == ("python3 -m toolchain restore 'site' 'a b' 'o'\\''brien$$x' 'database' ''\n")
