"""Paths: this clone's own, and those shared between clones."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: This clone's own; git ignores them.
VENV = ROOT / ".venv"
TOOLCHAIN = ROOT / ".toolchain"
BIN = TOOLCHAIN / "bin"
CLI = TOOLCHAIN / "cli"
LOGS = TOOLCHAIN / "logs"
PULUMI_HOME = TOOLCHAIN / "home"
STATE = ROOT / ".state"

#: Shared between clones: what takes minutes to make and does not depend on the clone.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "zhub"
