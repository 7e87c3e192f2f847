"""A real SSH server on loopback, and a client that knows it."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.plugins.docker_tools import debian_tool, server
from tests.ports import free_port


@dataclass(frozen=True)
class Ssh:
    """The server, which lets in whoever runs the tests."""

    port: int
    folder: Path

    @property
    def host(self) -> str:
        """The address of this machine's engine behind it."""
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"

    @property
    def options(self) -> list[str]:
        """The client's, with its key."""
        known = f"UserKnownHostsFile={self.folder}/known"
        key = ["-i", f"{self.folder}/client", "-o", "IdentitiesOnly=yes"]
        port = ["-o", f"Port={self.port}"]
        return [*key, *port, "-o", known, "-o", "StrictHostKeyChecking=accept-new"]

    def client(self, folder: Path) -> Path:
        """Make an `ssh` that has these options, as an operator's ~/.ssh has; return its folder.

        ssh reads that file from the home in the list of users, wherever HOME points.
        """
        folder.mkdir()
        real = shutil.which("ssh")
        (folder / "ssh").write_text(
            f'#!/bin/sh\necho x >>{self.folder}/calls\nexec {real} {" ".join(self.options)} "$@"\n'
        )
        (folder / "ssh").chmod(0o755)
        return folder

    @property
    def calls(self) -> int:
        """How often that client was called."""
        file = self.folder / "calls"
        return len(file.read_text()) // 2 if file.exists() else 0


@contextmanager
def running(folder: Path) -> Iterator[Ssh]:
    """Run the server, with keys in this folder."""
    program = debian_tool("openssh-server", "usr/sbin/sshd")
    for key in ("host", "client"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True
        )
    shutil.copy(folder / "client.pub", folder / "authorized")
    found = Ssh(free_port(), folder)
    (folder / "config").write_text(
        f"Port {found.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n"
        "Subsystem sftp internal-sftp\n"
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    with server([program, "-D", "-e", "-f", folder / "config"], found.port):
        yield found
