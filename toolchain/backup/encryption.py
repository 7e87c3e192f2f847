"""Encrypts the files of a backup for whoever has a private key, with GnuPG.

The public key is a file, so nothing depends on a keyring or on whom it trusts, and the machine that
makes the backups cannot read them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from toolchain.backup.inside import BLOCK, pipe
from toolchain.console import Problem


def checked(recipient: str) -> Path | None:
    """The file with the public key; None if none is named.

    Raises:
        Problem: GnuPG is missing, or cannot encrypt for this key.
    """
    if not recipient:
        return None
    key = Path(recipient).resolve()
    if not shutil.which("gpg"):
        raise Problem("RECIPIENT needs GnuPG. On Debian, as root: apt-get install gpg")
    problem = "it does not exist" if not key.is_file() else ""
    if not problem:
        with tempfile.TemporaryDirectory() as folder, _gpg(key, folder, subprocess.PIPE) as gpg:
            _, error = gpg.communicate(b"")
            problem = error.decode(errors="replace").strip() if gpg.returncode else ""
    if problem:
        raise Problem(
            f"RECIPIENT={recipient}: {problem}. It must be a file with a public key, as "
            "`gpg --export --armor NAME` writes it"
        )
    return key


def _gpg(key: Path, folder: str, out: int | IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            *("gpg", "--batch", "--quiet", "--no-options", f"--homedir={folder}"),
            # Tar archives are compressed already. The key is named by its file: no trust to check.
            *("--compress-algo=none", "--trust-model=always", f"--recipient-file={key}"),
            "--encrypt",
        ],
        stdin=subprocess.PIPE,
        stdout=out,
        stderr=subprocess.PIPE,
    )


@contextmanager
def writing(file: Path, key: Path | None) -> Iterator[IO[bytes]]:
    """Write a file of a backup, to the disk; encrypted if there is a key.

    Raises:
        Problem: GnuPG failed.
    """
    with file.open("xb") as opened:
        if key is None:
            yield opened
            opened.flush()
        else:
            with tempfile.TemporaryDirectory() as folder, _gpg(key, folder, opened) as gpg:
                plain = pipe(gpg.stdin)
                try:
                    yield plain
                    plain.close()
                except BrokenPipeError:
                    pass  # gpg says why
                except BaseException:
                    gpg.kill()
                    with suppress(BrokenPipeError):  # it would be raised instead
                        plain.close()
                    raise
                said = pipe(gpg.stderr).read().decode(errors="replace").strip()
                if gpg.wait():
                    raise Problem(f"gpg could not encrypt {file}: {said}")
        os.fsync(opened.fileno())


def decrypted(file: Path) -> Iterator[bytes]:
    """The content of an encrypted file, in pieces; GnuPG may ask for the key's passphrase.

    Raises:
        Problem: this user has no key for it, or the file is damaged. Pieces may have come before.
    """
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            # It asks at the terminal that is its standard input, from which it reads nothing else.
            ["gpg", "--quiet", "--decrypt", file],
            stdout=subprocess.PIPE,
            stderr=said,
        ) as gpg,
    ):
        plain = pipe(gpg.stdout)
        try:
            while block := plain.read(BLOCK):
                yield block
        except BaseException:
            gpg.kill()
            raise
        if gpg.wait():
            said.seek(0)
            why = said.read().decode(errors="replace").strip()
            raise Problem(f"gpg could not decrypt {file}:\n{why}")
