"""A command at a terminal, with somebody who answers its question."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path


def run(
    line: str, folder: Path, environment: Mapping[str, str], question: str, answer: str
) -> tuple[int, str]:
    """Run a line of shell, and answer once when it asks; returns exit code and output."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["bash", "-c", line],
        cwd=folder,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown, end, answered = "", time.monotonic() + 120, False
    try:
        while time.monotonic() < end:
            ready, _, _ = select.select([ours], [], [], 1)
            if not ready and process.poll() is not None:
                break  # what it has started may keep the terminal open
            try:
                shown += os.read(ours, 4096).decode(errors="replace") if ready else ""
            except OSError:  # the terminal's other end is closed
                break
            if question in shown and not answered:
                answered = True
                os.write(ours, f"{answer}\r".encode())
        return process.wait(timeout=60), re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
