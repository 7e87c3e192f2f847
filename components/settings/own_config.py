"""The site's own configuration of JupyterHub: the last resort, where no setting does."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass

from components.settings import disclosure, parsing
from components.settings.parsing import RefusedError
from components.settings.setting import Setting, remove_command

KEY = "hubConfigFile"

#: Bytes. More than this is a program of its own, which belongs into a service.
MOST = 64 << 10

#: The stack's output that says so to `make doctor`. Those that end with Digest are images.
OUTPUT = "hubConfigSha256"


@dataclass(frozen=True)
class OwnConfig:
    """A file that JupyterHub reads after the hub's own configuration."""

    path: str
    """As in the setting."""
    text: str

    @property
    def digest(self) -> str:
        """What `sha256sum` prints."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def warnings_of(own: OwnConfig | None) -> list[str]:
    """What such a file means for the stack, a sentence."""
    if own is None:
        return []
    return [
        (
            f"{KEY} is {own.path} (sha256 {own.digest}): the hub runs it last, so it can undo what"
            " keeps users apart and out of each other's servers; nobody has tried it with this or"
            f" the next release; without it: {remove_command(KEY)}"
        )
    ]


def _parse(path: str) -> OwnConfig:
    content = parsing.content(path)
    if len(content) > MOST:
        raise RefusedError(f"has {len(content)} bytes; {MOST} is the most")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise RefusedError("not a text in UTF-8") from None
    if disclosure.holds_a_secret(text):
        raise RefusedError(
            "holds what looks like a secret, such as a password in an address; read it from a file"
            " of the hub's, or go without it",
            fix=remove_command(KEY),
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(text, path, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise RefusedError(
            f"line {error.lineno}: {error.msg}; correct the file, or go without it",
            fix=remove_command(KEY),
        ) from None
    except ValueError as error:
        raise RefusedError(
            f"{error}; correct the file, or go without it", fix=remove_command(KEY)
        ) from None
    return OwnConfig(path, text)


HUB_CONFIG_FILE = Setting(
    KEY,
    "",
    (
        "File with configuration of JupyterHub of your own, in Python, read last; the last resort,"
        " and unsupported; empty for none; docs/own-configuration.md"
    ),
    parsing.or_none(_parse),
    example="hub_config.py",
)
