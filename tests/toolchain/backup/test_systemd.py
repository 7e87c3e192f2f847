"""The units for a schedule."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from toolchain.places import ROOT

UNITS = ROOT / "toolchain" / "backup" / "systemd"


def test_systemd_takes_them(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze here")
    for unit in UNITS.iterdir():
        text = unit.read_text().replace("/srv/zhub", str(tmp_path))
        (tmp_path / unit.name.replace("@.", "@site.")).write_text(text)
    units = sorted(str(path) for path in tmp_path.iterdir())
    assert len(units) == 2
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        capture_output=True,
        text=True,
        check=False,
    )
    # It also complains of the machine's own units, and of machines that systemd does not run.
    own = [line for line in checked.stderr.splitlines() if "zhub-backup" in line]
    assert own == []


def test_the_options_are_those_of_make() -> None:
    text = (UNITS / "zhub-backup@.service").read_text()
    [line] = re.findall(r"^ExecStart=/usr/bin/(.*)$", text, re.MULTILINE)
    [names] = re.findall(r"^Environment=(.*)$", text, re.MULTILINE)
    values = {"TO": "/mnt", "RECIPIENT": "key.asc", "KEEP": "14"}
    assert {name.partition("=")[0] for name in names.split()} == set(values)
    for name, value in values.items():
        line = line.replace(f"${{{name}}}", value)
    words = line.replace("%i", "site").split()
    shown = subprocess.run(
        [*words, "--dry-run", "PYTHON=python3"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "python3 -m toolchain backup 'site' '/mnt' 'key.asc' '14'\n"
