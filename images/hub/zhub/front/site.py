"""What the site says to its users on the hub's pages.

The texts are in a file that may change while the hub runs. They are shown as they are: the
templates escape them, and make links of addresses only.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

FILE = Path("/certs/site.json")
"""An object in JSON with any of the texts."""

TEMPLATES = Path(__file__).parents[1] / "templates"
"""Folder of the pages that differ from JupyterHub's."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Site:
    """The texts; empty for none."""

    name: str = ""
    """Of the hub."""
    contact: str = ""
    """Whom to ask: a mail address, a web address or a text."""
    announcement: str = ""
    """On top of all pages."""
    terms: str = ""
    """On the login page; users accept them by logging in."""


def read(_: object = None) -> Site:
    """Read the texts anew; takes the user whom JupyterHub shows a page to, which does not matter.

    Nobody is kept out because of a file that cannot be read.
    """
    try:
        found = json.loads(FILE.read_text())
        return Site(**{name: str(text) for name, text in found.items()})
    except FileNotFoundError:
        return Site()
    except (OSError, ValueError, TypeError, AttributeError) as error:
        log.warning("%s is not shown: %s", FILE, error)
        return Site()


def not_allowed() -> str:
    """Return what users are told who may not use the hub."""
    return f"Your account is not allowed to use this hub.{whom_to_ask('you should be')}"


def another_person(name: str) -> str:
    """Return what users are told whose name was another person's."""
    return (
        f"The name {name} belonged to another person before, whose files are kept. Your"
        " administrator has to decide about them before you can log in."
        + whom_to_ask("you are the same person")
    )


def not_recognized(name: str) -> str:
    """Return what users are told of whom nobody can tell whether the name was another person's."""
    return (
        f"The directory does not say any more whether the name {name} is still the same person's,"
        " whose files are kept. Your administrator has to decide before you can log in."
        + whom_to_ask("you are the same person")
    )


def whom_to_ask(why: str) -> str:
    """Return the last words of a refusal: whom users ask, if the site says so, and why."""
    contact = read().contact
    return f" If you think that {why}, ask: {contact}" if contact else ""
