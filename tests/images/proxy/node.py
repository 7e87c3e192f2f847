"""Runs the proxy's modules in the machine's own Node."""

from __future__ import annotations

import shutil
import subprocess

import pytest


def printed(script: str, *, seconds: float = 60) -> str:
    """Return what a script prints, which may import modules; skip where there is no Node.

    Args:
        script: JavaScript, as a module.
        seconds: that it may take.
    """
    if not shutil.which("node"):
        pytest.skip("no node: apt-get install nodejs")
    done = subprocess.run(
        ["node", "--input-type=module", "-e", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
