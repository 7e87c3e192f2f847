"""What the log of hub, guard and services looks like: lines of text, or JSON.

In JSON, each line is an object with `time` (UTC), `level`, `logger` and `message`, and with
`error`, a traceback, where there is one. The proxy writes the same (`images/proxy/log.mjs`).
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from types import TracebackType
from typing import Any

TEXT = "[%(name)s] %(levelname)s: %(message)s"
"""A line of this package's own."""

APPLICATION = (
    "[%(levelname)1.1s %(asctime)s.%(msecs).03d %(name)s %(module)s:%(lineno)d] %(message)s"
)
"""A line of JupyterHub or one of its services; theirs, without colours."""

LONGEST = 200
"""Bytes of a text in the audit log, as JSON writes it; the rest is cut off."""

VERBOSE = ("oauthlib", "urllib3", "asyncio")
"""Loggers that never log below INFO: oauthlib's details are what a login is made of."""


# Also of an address that is itself a parameter, and so written with %3F and the like. Strangers
# choose the text, and the hub serves nobody meanwhile. So a name stops where another can begin, and
# matches in one way only: the time grows with the text and no faster.
_NAMES = "token|auth|key|code|state|_xsrf|password"
_PARAMETER = re.compile(
    rf"((?:[?&]|%(?:25)*(?:3F|26))(?:(?!{_NAMES})[^=?&\s%])*(?:{_NAMES})[^=?&\s%]*(?:=|%(?:25)*3D))"
    r"(?:(?!%(?:25)*26)[^&\s'\"])+",
    re.IGNORECASE,
)

# A login cookie is this, signed.
_COOKIE = re.compile(r"(xsrf cookie for )b?'[^']*'")


class Level(StrEnum):
    """The least important lines that are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    @property
    def number(self) -> int:
        """As the standard library has it."""
        return logging.getLevelNamesMapping()[self.upper()]


class Form(StrEnum):
    """What a line is."""

    TEXT = "text"
    JSON = "json"


def printable(text: str, instead: str = " ") -> str:
    """Return somebody else's text without characters by which it could forge lines of the log."""
    return "".join(c if c.isprintable() else instead for c in text)


class WithoutSecrets(logging.Filter):
    """Takes secrets out of lines, such as those in the addresses of requests.

    JupyterHub does that in its own line for each request, but Tornado logs another one for those
    that are refused.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record, and log it."""
        message = record.getMessage()
        clean = _COOKIE.sub(r"\1[secret]", _PARAMETER.sub(r"\1[secret]", message))
        if clean != message:
            record.msg, record.args = clean, None
        return True


class JsonLines(logging.Formatter):
    """Writes a record as one line of JSON, whatever its message holds."""

    def __init__(self, *_: Any, **__: Any) -> None:
        """Take the arguments of other formatters, which have nothing to say here."""
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": moment(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def moment(seconds: float) -> str:
    """Return a time since 1970 as ISO 8601 has it, in UTC with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def shortened(text: str) -> str:
    """Return as much of a text as a line of the audit log has room for."""
    text = text[:LONGEST]
    while len(json.dumps(text)) - len('""') > LONGEST:
        text = text[: len(text) * 3 // 4]
    return text


def chosen(environment: Mapping[str, str]) -> tuple[Level, Form]:
    """Return level and form; the defaults for values that the settings then refuse."""
    level, form = environment.get("ZHUB_LOG_LEVEL"), environment.get("ZHUB_LOG_FORMAT")
    return (
        Level(level) if level in list(Level) else Level.INFO,
        Form(form) if form in list(Form) else Form.TEXT,
    )


def begin(environment: Mapping[str, str]) -> None:
    """Log as the environment says, from now on and until the process ends."""
    level, form = chosen(environment)
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form is Form.JSON else logging.Formatter(TEXT))
    handler.addFilter(WithoutSecrets())
    logging.basicConfig(level=level.number, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    restrain(level)
    if form is Form.JSON:
        sys.excepthook = _one_line


def restrain(level: Level) -> None:
    """Keep the verbose loggers from saying more than INFO, whatever else has set their levels."""
    for name in VERBOSE:
        logging.getLogger(name).setLevel(max(level.number, logging.INFO))


def _one_line(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    logging.getLogger("zhub").critical("ended by an error", exc_info=(kind, error, traceback))


def of_application(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the same as traits of an application, such as JupyterHub: it has its own handlers."""
    level, form = chosen(environment)
    config: dict[str, Any] = {
        "filters": {"secrets": {"()": f"{__name__}.{WithoutSecrets.__name__}"}},
        "handlers": {"console": {"filters": ["secrets"]}},
    }
    if form is Form.JSON:
        config["formatters"] = {"console": {"class": f"{__name__}.{JsonLines.__name__}"}}
    return {"log_level": level.number, "log_format": APPLICATION, "logging_config": config}
