"""Find and check the passphrase of a stack's secrets.

Pulumi reads one passphrase from its environment, whatever the stack, and encrypts a new stack with
it. So the passphrase is looked up for each command, by the stack that the command is about.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
import sys
import tempfile
from pathlib import Path

from toolchain.console import Problem, say
from toolchain.places import ROOT, STATE

STEP = "pulumi"

TEXT = "PULUMI_CONFIG_PASSPHRASE"
FILE = "PULUMI_CONFIG_PASSPHRASE_FILE"

#: The dev stack's salt is in the repository, so its passphrase is public as well. It protects only
#: a demo on this machine's loopback.
DEV = "dev"
PUBLIC = "zhub-dev"

#: Iterations of PBKDF2 (Pulumi's pkg/secrets/passphrase/manager.go).
ITERATIONS = 1_000_000

Variables = dict[str, str | None]


def place(stack: str) -> Path:
    """The file in which this clone keeps a stack's own passphrase."""
    return STATE / f"passphrase-{stack}"


def stack_file(stack: str) -> Path:
    """The file with a stack's settings and its salt."""
    return ROOT / f"Pulumi.{stack}.yaml"


def entry(file: Path, key: str) -> str:
    """The value of a top-level key of a stack file; empty if there is none."""
    text = file.read_text() if file.exists() else ""
    # Not over the end of the line, where the next entry is.
    found = re.search(rf"^{key}:[ \t]*['\"]?([^\s'\"#]+)", text, re.MULTILINE)
    return found[1] if found else ""


def of_the_shell(stack: str) -> bool:
    """Whether the operator has set a passphrase in the shell, which is then used as it is.

    The public passphrase counts for the demo only. A passphrase file in `.state` does not count: a
    `make env` of an earlier release set the variable, maybe for another stack.
    """
    text, file = os.environ.get(TEXT), os.environ.get(FILE)
    if text is not None:
        return text != PUBLIC or stack == DEV
    return bool(file) and Path(file or "").parent != STATE


def _keep(file: Path, text: str) -> bool:
    """Write a file that only this user can read; returns False if there is one already.

    It has its content from the first moment: a command that is killed leaves no empty one.
    """
    STATE.mkdir(mode=0o700, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=STATE, prefix="new-") as new:
        new.write(text)
        new.flush()
        os.fsync(new.fileno())
        try:
            os.link(new.name, file)
        except FileExistsError:
            return False
    return True


def make(stack: str) -> None:
    """Make a passphrase for a stack that has none, and print where it is."""
    file = place(stack)
    if not _keep(file, secrets.token_urlsafe(32)):  # another command was faster
        return
    say(STEP, f"the secrets of stack {stack} are encrypted with a new passphrase in {file}")
    say(STEP, "keep a copy of that file elsewhere: without it nobody can decrypt them")


def opens(salt: str, text: str) -> bool:
    """Whether a stack file's `encryptionsalt` was made with this passphrase."""
    # Imported here: `make` imports this module with a Python that may lack the package.
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    version, own, _, nonce, sealed = f"{salt}::::".split(":")[:5]
    if version != "v1":
        return False
    key = hashlib.pbkdf2_hmac("sha256", text.encode(), base64.b64decode(own), ITERATIONS)
    try:
        found = AESGCM(key).decrypt(base64.b64decode(nonce), base64.b64decode(sealed), None)
    except (InvalidTag, ValueError):
        return False
    return found == b"pulumi"


def _opens(stack: str, salt: str, file: Path) -> bool:
    """Like `opens`, for a file; remembers a success, since the check takes half a second.

    Only which file it was is remembered: a fast hash of the passphrase would let anybody try words.
    """
    found = file.stat()
    known = STATE / f"opens-{stack}"
    seen = f"{salt} {file.name} {found.st_ino} {found.st_size} {found.st_mtime_ns}"
    if known.exists() and known.read_text() == seen:
        return True
    text = file.read_text().strip()
    if not text or not opens(salt, text):
        return False
    known.touch(0o600)
    known.chmod(0o600)
    known.write_text(seen)
    return True


def _asks() -> bool:
    """Whether Pulumi can ask for a passphrase."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def _unknown(stack: str) -> Variables:
    file = place(stack)
    if _asks():
        return {TEXT: None, FILE: None}
    name = stack_file(stack).name
    why = f"in {file} does not decrypt its secrets" if file.exists() else f"is missing: no {file}"
    raise Problem(
        f"the passphrase of stack {stack} {why}. {name} has an encryptionsalt, so the stack has a "
        f"passphrase already; no second one was made.\nAsk whoever made the stack (git log -- "
        f"{name}), and put the passphrase into {file} (chmod 600),\nor name another file that has "
        f"it: export {FILE}=/path/of/file"
    )


def _empty_in_shell() -> str:
    """The variable in which the shell gives Pulumi an empty passphrase; empty if it does not."""
    text, file = os.environ.get(TEXT), os.environ.get(FILE)
    if text is not None:
        return "" if text else TEXT
    return FILE if file and Path(file).is_file() and not Path(file).read_text().strip() else ""


def _empty(stack: str, variable: str) -> Problem:
    name = stack_file(stack).name
    return Problem(
        f"{variable} has an empty passphrase: anybody who has {name} could read the secrets of "
        f"stack {stack}. In a pipeline, the secret of that name is missing, or this job may not "
        f"use it. In a shell: unset {variable}"
    )


def _weak(salt: str) -> str | None:
    """The passphrase that a stack was made with, if anybody can guess it; else None."""
    return next((text for text in (PUBLIC, "") if opens(salt, text)), None)


def _public(stack: str, text: str) -> Problem:
    if not place(stack).exists():
        make(stack)
    name = stack_file(stack).name
    which = "the demo's passphrase, which is public" if text else "an empty passphrase"
    return Problem(
        f"the secrets of stack {stack} are encrypted with {which}: "
        f"anybody who has {name} can read them. Give the stack its own:\n"
        f"  pulumi stack change-secrets-provider passphrase --stack {stack} < {place(stack)}\n"
        f"If others have seen {name}, change the passwords and keys in it as well. If the stack "
        f"has no secret and nothing is up, delete the line encryptionsalt in {name} instead."
    )


def _of_another(stack: str, salt: str) -> Path | None:
    """The file of another stack's passphrase that decrypts this stack's secrets."""
    files = (file for file in sorted(STATE.glob("passphrase-*")) if file != place(stack))
    return next((file for file in files if _opens(stack, salt, file)), None)


def _borrowed(stack: str, file: Path) -> Path:
    """The passphrase of a stack that has another one's: it was renamed, or encrypted wrongly."""
    other, own = file.name.removeprefix("passphrase-"), place(stack)
    if not own.exists() and not stack_file(other).exists():
        _keep(own, file.read_text())
        say(STEP, f"stack {other} is now {stack}: copied its passphrase to {own}")
        return own
    if not own.exists():
        make(stack)
    say(STEP, f"the secrets of stack {stack} are encrypted with the passphrase of {other}.")
    say(STEP, "To give the stack its own:")
    say(STEP, f"pulumi stack change-secrets-provider passphrase --stack {stack} < {own}")
    return file


def _matching(stack: str, salt: str) -> Variables:
    """The variables for a stack that has a salt, with the passphrase that it was made with.

    Raises:
        Problem: it is the public passphrase or empty, or this clone does not have it.
    """
    own = place(stack)
    if own.exists() and _opens(stack, salt, own):
        return {TEXT: None, FILE: str(own)}
    if (text := _weak(salt)) is not None:
        raise _public(stack, text)
    if other := _of_another(stack, salt):
        return {TEXT: None, FILE: str(_borrowed(stack, other))}
    return _unknown(stack)


def variables(stack: str, file: Path | None = None, *, new: bool = False) -> Variables:
    """The variables that give Pulumi a stack's passphrase; None for one to unset.

    Args:
        stack: its name.
        file: its stack file, if that is not the usual one.
        new: make a passphrase if the stack has none, instead of leaving that to Pulumi.

    Raises:
        Problem: this clone does not have the stack's passphrase, or it is public or empty.
    """
    empty = _empty_in_shell() if stack != DEV else ""
    if of_the_shell(stack) and not empty:
        return {}
    if stack == DEV:
        return {TEXT: PUBLIC, FILE: None}
    file = file or stack_file(stack)
    if entry(file, "secretsprovider") not in ("", "passphrase", "default"):
        return {TEXT: None, FILE: None}
    salt = entry(file, "encryptionsalt")
    if empty and salt and opens(salt, ""):
        raise _public(stack, "")
    if empty and (salt or new):
        raise _empty(stack, empty)
    if empty:  # a key service may encrypt the stack
        return {TEXT: None, FILE: None}
    own = place(stack)
    if own.exists() and not own.read_text().strip():
        raise Problem(
            f"{own} is empty, maybe because a disk was full. If stack {stack} has a passphrase "
            f"already, put it there; if not, type: rm {own}"
        )
    if salt:
        return _matching(stack, salt)
    if new and not own.exists():
        make(stack)
    return unchecked(stack)


def to_change(stack: str) -> Variables:
    """The variables for a command that changes a stack's passphrase."""
    if stack == DEV or (of_the_shell(stack) and not _empty_in_shell()):
        return variables(stack)
    salt = entry(stack_file(stack), "encryptionsalt")
    if salt and (text := _weak(salt)) is not None:
        return {TEXT: text, FILE: None}
    return variables(stack)


def unchecked(stack: str) -> Variables:
    """The variables for a command that handles no secret of the stack."""
    if of_the_shell(stack):
        return {}
    if stack == DEV:
        return {TEXT: PUBLIC, FILE: None}
    return {TEXT: None, FILE: str(place(stack)) if place(stack).exists() else None}
