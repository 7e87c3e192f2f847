"""Whose passphrase encrypts a stack's secrets, where it is, and whether it is the right one.

Pulumi takes one passphrase from its environment, whatever the stack, and encrypts a stack that has
no salt yet with whichever that is. So it is found anew for each command, by the stack it means.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
import sys
from pathlib import Path

from toolchain.console import Problem, say
from toolchain.places import ROOT, STATE

STEP = "pulumi"

TEXT = "PULUMI_CONFIG_PASSPHRASE"
FILE = "PULUMI_CONFIG_PASSPHRASE_FILE"

#: The dev stack's salt is in the repository, so its passphrase is public as well. What it guards
#: is a demo on this machine's loopback.
DEV = "dev"
PUBLIC = "zhub-dev"

#: Iterations of PBKDF2, as Pulumi has them (pkg/secrets/passphrase/manager.go).
ITERATIONS = 1_000_000

Variables = dict[str, str | None]


def place(stack: str) -> Path:
    """Where this clone keeps a stack's own passphrase."""
    return STATE / f"passphrase-{stack}"


def stack_file(stack: str) -> Path:
    """The file with a stack's settings and its salt."""
    return ROOT / f"Pulumi.{stack}.yaml"


def entry(file: Path, key: str) -> str:
    """The value of a key at the top level of a stack file; empty where there is none."""
    text = file.read_text() if file.exists() else ""
    found = re.search(rf"^{key}:\s*['\"]?([^\s'\"#]+)", text, re.MULTILINE)
    return found[1] if found else ""


def of_the_shell(stack: str) -> bool:
    """Whether the shell has a passphrase of its own, which is not this clone's business.

    The public one is the shell's own for the demo only. A file in `.state` was put there by a
    `make env` of an earlier release, for whichever stack.
    """
    text, file = os.environ.get(TEXT), os.environ.get(FILE)
    if text is not None:
        return text != PUBLIC or stack == DEV
    return bool(file) and Path(file or "").parent != STATE


def make(stack: str) -> None:
    """Make a passphrase for a stack that has none, and say so aloud."""
    STATE.mkdir(mode=0o700, exist_ok=True)
    file = place(stack)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:  # another command was faster
        return
    with os.fdopen(descriptor, "w") as new:
        new.write(secrets.token_urlsafe(32))
    say(STEP, f"the secrets of stack {stack} are encrypted with a new passphrase in {file}")
    say(STEP, "keep a copy of that file elsewhere: without it they cannot be read again")


def opens(salt: str, text: str) -> bool:
    """Whether a passphrase is the one that a stack file's `encryptionsalt` was made with."""
    # Not at the top: the commands that only ask where a stack's engine is run without it.
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
    """The same of a file in `.state`; what was found is kept, for it takes half a second."""
    text = file.read_text().strip()
    known = STATE / f"opens-{stack}"
    seen = hashlib.sha256(f"{salt}\n{text}".encode()).hexdigest()
    if known.exists() and known.read_text() == seen:
        return True
    if not opens(salt, text):
        return False
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
    why = f"in {file} is not the one that opens its secrets" if file.exists() else "is not here"
    raise Problem(
        f"the passphrase of stack {stack} {why}. {name} has an encryptionsalt, so the stack has a "
        f"passphrase already, and no second one was made.\nAsk who made the stack (git log -- "
        f"{name}), and put the passphrase into {file} (chmod 600),\nor name another file with it: "
        f"export {FILE}=/path/of/file"
    )


def _public(stack: str) -> Problem:
    if not place(stack).exists():
        make(stack)
    name = stack_file(stack).name
    return Problem(
        f"the secrets of stack {stack} are encrypted with the demo's passphrase, which is public: "
        f"anybody who has {name} can read them. Give the stack its own:\n"
        f"  pulumi stack change-secrets-provider passphrase --stack {stack} < {place(stack)}\n"
        f"If others have seen {name}, change the passwords and keys in it as well. If the stack "
        f"has no secret and nothing is up, delete the line encryptionsalt in {name} instead."
    )


def _of_another(stack: str, salt: str) -> Path | None:
    """The file of another stack's passphrase that opens this one's secrets."""
    files = (file for file in sorted(STATE.glob("passphrase-*")) if file != place(stack))
    return next((file for file in files if _opens(stack, salt, file)), None)


def _borrowed(stack: str, file: Path) -> Path:
    """A passphrase of another name: the stack was renamed, or wrongly encrypted, which is told."""
    other, own = file.name.removeprefix("passphrase-"), place(stack)
    if not own.exists() and not stack_file(other).exists():
        own.touch(0o600)
        own.write_text(file.read_text())
        say(STEP, f"stack {other} is now {stack}: its passphrase is in {own} as well")
        return own
    if not own.exists():
        make(stack)
    say(STEP, f"the secrets of stack {stack} are encrypted with the passphrase of {other}. For its")
    say(STEP, "own: pulumi stack change-secrets-provider passphrase --stack")
    say(STEP, f"     {stack} < {own}")
    return file


def _matching(stack: str, salt: str) -> Variables:
    """The passphrase that a stack with a salt was encrypted with.

    Raises:
        Problem: it is the public one, or nobody here has it.
    """
    own = place(stack)
    if own.exists() and _opens(stack, salt, own):
        return {TEXT: None, FILE: str(own)}
    if opens(salt, PUBLIC):
        raise _public(stack)
    if other := _of_another(stack, salt):
        return {TEXT: None, FILE: str(_borrowed(stack, other))}
    return _unknown(stack)


def variables(stack: str, file: Path | None = None, *, new: bool = False) -> Variables:
    """The variables that give Pulumi a stack's passphrase; None for one that must be away.

    Args:
        stack: its name.
        file: its stack file, where that is not the usual one.
        new: make a passphrase where the stack has none, instead of leaving it to Pulumi.

    Raises:
        Problem: the stack has one that is not here, or it is the demo's.
    """
    if of_the_shell(stack):
        return {}
    if stack == DEV:
        return {TEXT: PUBLIC, FILE: None}
    file = file or stack_file(stack)
    if entry(file, "secretsprovider") not in ("", "passphrase", "default"):
        return {TEXT: None, FILE: None}
    if salt := entry(file, "encryptionsalt"):
        return _matching(stack, salt)
    if new and not place(stack).exists():
        make(stack)
    return unchecked(stack)


def to_change(stack: str) -> Variables:
    """The variables for a command that gives a stack another passphrase."""
    if of_the_shell(stack):
        return {}
    salt = entry(stack_file(stack), "encryptionsalt")
    if stack != DEV and salt and opens(salt, PUBLIC):
        return {TEXT: PUBLIC, FILE: None}
    return variables(stack)


def unchecked(stack: str) -> Variables:
    """The variables for a command that handles no secret of the stack."""
    if of_the_shell(stack):
        return {}
    if stack == DEV:
        return {TEXT: PUBLIC, FILE: None}
    return {TEXT: None, FILE: str(place(stack)) if place(stack).exists() else None}
