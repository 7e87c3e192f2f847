"""Runs the operator's check of why a user cannot log in."""

from __future__ import annotations

import subprocess

from toolchain.places import ROOT


def doctor(stack: str, user: str) -> subprocess.CompletedProcess[str]:
    """Check a user as `make doctor` does, in the hub of a stack."""
    return subprocess.run(
        ["make", "doctor", f"STACK={stack}", f"LDAP={user}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
