"""What operators have to say to one user, or to everybody.

In a file on the volume beside the plan, which a restarted hub finds again. It is a file of its own:
a release before does not carry out a plan with more in it. `zhub users` writes it, and whoever may
read a message asks the hub (`zhub.people.messages`).
"""

from __future__ import annotations

import json
import logging
import secrets
import time
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from zhub import files
from zhub.settings import STATE

FILE = STATE / "messages.json"
"""An object in JSON: messages by the users' names."""

EVERYBODY = ""
"""No user's name: the message is for all."""

LONGEST = 500
"""Characters of a message."""

_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode's categories of control characters, of halves of characters, which no file can hold, and
of separators of lines and paragraphs."""

_DIRECTIONS = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
"""Characters that change the order in which the others are shown (UAX #9): a text that has them can
be read as another one."""

log = logging.getLogger("zhub.messages")


@dataclass(frozen=True)
class Message:
    """What is said to one user, or to everybody."""

    text: str
    """As it is: no part of it is markup."""
    until: float | None
    """The end, in seconds since 1970; None for one that stays until it is removed."""
    id: str
    """Another one for each message, so that browsers remember which a user has dismissed."""

    def over(self) -> bool:
        """Return whether it is not shown any more."""
        return self.until is not None and time.time() >= self.until


def checked(text: str) -> str:
    """Return a text that can be a message, without blanks around it.

    Raises:
        ValueError: it cannot be one; the error says why.
    """
    text = text.strip(" ")
    if len(text) > LONGEST:
        raise ValueError(f"it has {len(text)} characters, and may have {LONGEST}")
    for place, character in enumerate(text, start=1):
        if (
            unicodedata.category(character) in _CONTROLS
            or unicodedata.bidirectional(character) in _DIRECTIONS
        ):
            # Not the character itself, which would do to a terminal what it does.
            raise ValueError(
                f"its character {place} is the control character U+{ord(character):04X}; a message"
                " is one line of plain text"
            )
    return text


def read() -> dict[str, Message]:
    """Return the messages by the users' names, without those that are over.

    None of a file that cannot be read, which is logged: nobody is kept out because of it.
    """
    try:
        found = {name: Message(**one) for name, one in json.loads(FILE.read_text()).items()}
        return {name: one for name, one in found.items() if not one.over()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        log.warning("%s is not shown: %s", FILE, error)
        return {}


def set_to(user: str, text: str, until: float | None) -> None:
    """Replace what is said to one user, or to everybody.

    Raises:
        ValueError: the text cannot be a message.
    """
    message = Message(checked(text), until, secrets.token_hex(8))
    # Another operator who writes meanwhile would lose a message.
    with files.alone(FILE):
        _write(read() | {user: message})


def remove(user: str) -> bool:
    """Remove what is said to one user, or to everybody; return whether there was anything."""
    with files.alone(FILE):
        messages = read()
        known = messages.pop(user, None) is not None
        if known:
            _write(messages)
    return known


def _write(messages: Mapping[str, Message]) -> None:
    kept = {name: asdict(message) for name, message in sorted(messages.items())}
    files.write(FILE, json.dumps(kept), 0o644)
