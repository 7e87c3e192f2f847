"""Encryption for a public key in a file, with the real GnuPG."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests import terminal
from toolchain.backup import encryption
from toolchain.backup.helper import JobFailed
from toolchain.console import Problem
from toolchain.places import ROOT

pytestmark = pytest.mark.slow


@contextmanager
def keyring_with(passphrase: str) -> Iterator[Path]:
    """A keyring with a private key, and the public key in a file beside it."""
    if not shutil.which("gpg"):
        pytest.skip("no gpg here: apt-get install gpg gpg-agent")
    # The path of its agent's socket must be short.
    with tempfile.TemporaryDirectory(prefix="zhub-gpg-") as folder:
        gpg = ["gpg", f"--homedir={folder}", "--batch", "--quiet", "--pinentry-mode=loopback"]
        generate = ["--passphrase", passphrase, "--quick-generate-key", "of tests"]
        subprocess.run(
            [*gpg, *generate, "default", "default", "never"], check=True, capture_output=True
        )
        exported = subprocess.run(
            [*gpg, "--export", "--armor"], check=True, capture_output=True
        ).stdout
        (Path(folder) / "public.asc").write_bytes(exported)
        end = ["gpgconf", f"--homedir={folder}", "--kill", "all"]
        # So that the agent has no passphrase any more.
        subprocess.run(end, check=True)
        yield Path(folder)
        subprocess.run(end, check=True)


@pytest.fixture(scope="module")
def keyring() -> Iterator[Path]:
    """The keyring of whoever restores."""
    with keyring_with("") as folder:
        yield folder


@pytest.fixture
def encrypted(keyring: Path, tmp_path: Path) -> Path:
    """A file, encrypted by somebody without a keyring."""
    key = encryption.checked(str(keyring / "public.asc"))
    file = tmp_path / "file.gpg"
    with encryption.writing(file, key) as out:
        out.write(b"secret " * 1000)
    return file


def test_only_who_has_the_key_reads_it(
    encrypted: Path, keyring: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert b"secret" not in encrypted.read_bytes()
    (tmp_path / "empty").mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(tmp_path / "empty"))
    with pytest.raises(Problem, match=r"could not decrypt .*\n(?s:.*)No secret key"):
        list(encryption.decrypted(encrypted))
    monkeypatch.setenv("GNUPGHOME", str(keyring))
    assert b"".join(encryption.decrypted(encrypted)) == b"secret " * 1000


def test_a_damaged_file_is_noticed(
    encrypted: Path, keyring: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GNUPGHOME", str(keyring))
    content = encrypted.read_bytes()
    encrypted.write_bytes(content[:-20])
    with pytest.raises(Problem, match="could not decrypt"):
        list(encryption.decrypted(encrypted))


def test_what_fails_while_it_is_encrypted_is_what_is_raised(
    keyring: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not that gpg, which was ended, reads no more: a home that cannot be read is left out."""
    key = encryption.checked(str(keyring / "public.asc"))

    def kill(process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        process.wait()  # as on a machine with other work

    monkeypatch.setattr(subprocess.Popen, "kill", kill)

    def fail(out: IO[bytes]) -> None:
        out.write(b"so little that it is not written at once")
        raise JobFailed("of tests")

    file = tmp_path / "file.gpg"
    with pytest.raises(JobFailed, match="of tests"), encryption.writing(file, key) as out:
        fail(out)


def test_what_is_no_public_key_is_refused(tmp_path: Path) -> None:
    assert encryption.checked("") is None
    with pytest.raises(Problem, match="does not exist"):
        encryption.checked(str(tmp_path / "missing"))
    (tmp_path / "text").write_text("no key")
    with pytest.raises(Problem, match=r"RECIPIENT=.*text: (?s:.*)must be a file with a public key"):
        encryption.checked(str(tmp_path / "text"))


def test_a_file_is_never_overwritten(tmp_path: Path) -> None:
    with encryption.writing(tmp_path / "file", None) as out:
        out.write(b"first")
    with pytest.raises(FileExistsError), encryption.writing(tmp_path / "file", None):
        pass
    assert (tmp_path / "file").read_bytes() == b"first"


#: Asks at the terminal that gpg names, as the real ones do; none is named where gpg has found none.
PINENTRY = """#!/bin/sh
echo OK
while read -r word rest; do
    case "$word $rest" in
        "OPTION ttyname="*) terminal=${rest#ttyname=} ;;
        GETPIN*)
            if [ -z "$terminal" ]; then
                echo "ERR 83886340 no terminal"
                continue
            fi
            printf 'Passphrase: ' >"$terminal"
            read -r answer <"$terminal"
            echo "D $answer"
            ;;
    esac
    echo OK
done
"""

#: Prints how much it has read.
READ = """
import sys
from pathlib import Path
from toolchain.backup import encryption
print("read:", sum(map(len, encryption.decrypted(Path(sys.argv[1])))))
"""


def test_the_passphrase_is_asked_at_the_terminal(tmp_path: Path) -> None:
    """As over ssh, where no variable names the terminal."""
    with keyring_with("of tests") as folder:
        pinentry = folder / "pinentry"
        pinentry.write_text(PINENTRY)
        pinentry.chmod(0o755)
        (folder / "gpg-agent.conf").write_text(f"pinentry-program {pinentry}\n")
        key = encryption.checked(str(folder / "public.asc"))
        file = tmp_path / "file.gpg"
        with encryption.writing(file, key) as out:
            out.write(b"secret " * 1000)
        variables = {key: text for key, text in os.environ.items() if key != "GPG_TTY"}
        variables |= {"GNUPGHOME": str(folder), "READ": READ, "PYTHON": sys.executable}
        code, shown = terminal.run(
            f'$PYTHON -c "$READ" {file}', ROOT, variables, "Passphrase: ", "of tests"
        )
    assert (code, "read: 7000" in shown) == (0, True), shown
