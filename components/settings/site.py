"""Settings of what a site says to its users on the hub's pages."""

from __future__ import annotations

import json
from collections.abc import Callable

from components.settings.config import Config
from components.settings.parsing import RefusedError
from components.settings.setting import Setting


def _text(most: int, *, lines: bool = False) -> Callable[[str], str]:
    """Texts of so many characters, perhaps of several lines."""

    def parse(text: str) -> str:
        if len(text) > most:
            raise RefusedError(f"has {len(text)} characters; the page has room for {most}")
        if not (text.replace("\n", "") if lines else text).isprintable():
            raise RefusedError(
                "has characters that cannot be shown" + ("" if lines else ", or several lines")
            )
        return text.strip()

    return parse


SITE_NAME = Setting(
    "siteName", "", "Name of the hub on its pages, such as that of the institute", _text(100)
)
CONTACT = Setting(
    "contact",
    "",
    "Whom users ask who cannot log in: a mail address, a web address or a text",
    _text(200),
)
ANNOUNCEMENT = Setting(
    "announcement",
    "",
    "Text on top of all pages of the hub; a change of it does not restart the hub",
    _text(2000, lines=True),
)
TERMS = Setting(
    "terms",
    "",
    "Terms of use, which the login page shows and users accept by logging in",
    _text(20000, lines=True),
)


def read(config: Config) -> str:
    """The texts as the hub reads them."""
    texts = {
        "name": config.value(SITE_NAME),
        "contact": config.value(CONTACT),
        "announcement": config.value(ANNOUNCEMENT),
        "terms": config.value(TERMS),
    }
    return json.dumps(texts, ensure_ascii=False)
