"""What looks like a secret, in settings that others can read."""

from __future__ import annotations

import re

_NAME = re.compile(
    r"(^|_)(PASSWORD|PASSWD|PASSPHRASE|PWD|SECRETS?|TOKENS?|CREDENTIALS?|API_?KEY|ACCESS_KEY"
    r"|PRIVATE_KEY)(_|$)|(_AUTH|_KEY|_PAT|PASSWORD)$",
    re.IGNORECASE,
)
# These name the place of a secret, and are none.
_PLACE = re.compile(r"_(FILE|PATH|DIR)$", re.IGNORECASE)
_VALUE = re.compile(
    r"://[^/\s?#]*@"  # a name or password in a URL
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|\b(gh[opsu]_|github_pat_|glpat-|xox[abp]-|hf_|pypi-)[A-Za-z0-9_-]{16}"
    r"|\bAKIA[0-9A-Z]{16}\b"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\."  # a JSON Web Token
)


def names_a_secret(name: str) -> bool:
    """Whether the value of a variable with this name is a secret."""
    return bool(_NAME.search(name)) and not _PLACE.search(name)


def holds_a_secret(value: str) -> bool:
    """Whether a text holds what looks like a secret, such as a password in a URL."""
    return bool(_VALUE.search(value))
