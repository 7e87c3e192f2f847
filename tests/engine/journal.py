"""Debian's systemd-journald, in a mount namespace of its own, for an engine in the same one."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.built import wait_until
from tests.engine.namespaces import own_mounts

PROGRAM = "/lib/systemd/systemd-journald"

#: The folders of sockets and of journals, none of which is the machine's.
MOUNTS = """
mount -t tmpfs tmpfs /run/systemd
mkdir -p /run/systemd/journal /run/log /var/log/journal
mount -t tmpfs tmpfs /run/log
mount -t tmpfs tmpfs /var/log/journal
"""


@dataclass(frozen=True)
class Journal:
    """One that runs."""

    mounts: Path
    """The file that stands for its mount namespace."""
    process: subprocess.Popen[bytes]

    def lines(self, **fields: str) -> list[dict[str, Any]]:
        """Return what was logged with fields of these values, which journald has by now."""
        wanted = [f"{name}={value}" for name, value in fields.items()]
        printed = self.shell(f"journalctl --output=json {shlex.join(wanted)}")
        return [json.loads(line) for line in printed.splitlines()]

    def shell(self, command: str) -> str:
        """Run a command on its machine; returns what it prints."""
        return subprocess.run(
            [*self._inside, "sh", "-c", command], stdout=subprocess.PIPE, text=True, check=True
        ).stdout

    @contextmanager
    def hangs(self) -> Iterator[None]:
        """Have it take nothing, though it is there."""
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            self.goes_on()

    def goes_on(self) -> None:
        """Have it take what waits."""
        os.kill(self.process.pid, signal.SIGCONT)

    @property
    def _inside(self) -> list[str]:
        return ["nsenter", f"--mount={self.mounts}"]


def able() -> bool:
    """Whether this machine has one."""
    return Path(PROGRAM).exists() and bool(shutil.which("journalctl"))


@contextmanager
def journal(folder: Path) -> Iterator[Journal]:
    """Run one; needs root.

    Args:
        folder: for the file of its mount namespace.
    """
    with own_mounts(folder, MOUNTS) as mounts:
        inside = ["nsenter", f"--mount={mounts}"]
        process = subprocess.Popen([*inside, PROGRAM], stderr=subprocess.DEVNULL)
        socket = [*inside, "test", "-S", "/run/systemd/journal/socket"]
        try:
            wait_until(lambda: not subprocess.run(socket, check=False).returncode, seconds=30)
            yield Journal(mounts, process)
        finally:
            process.terminate()
            process.wait(timeout=60)
