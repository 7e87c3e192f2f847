"""Rules for where containers log to: no secrets in the options, no variables in the lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rules import UNKNOWN, Rule, fields, matching, maybe, only

_AMOUNT = matching(r"[1-9][0-9]{0,5}[kmg]?", "a number above 0, perhaps with k, m or g")
_TEXT = matching(r"[^\0]+", "a text")
_FLAG = only("true", "false")
_ALL = {"mode": only("blocking", "non-blocking"), "max-buffer-size": _AMOUNT}
_KEPT = {"max-size": _AMOUNT, "max-file": _AMOUNT}
_NAMING = dict.fromkeys(("tag", "labels", "labels-regex"), _TEXT)
_COPY = dict.fromkeys(
    ("cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"), _TEXT
)

#: Rules for the options that a driver may have. `env` and `env-regex` are none of them: a user's
#: server, which logs as the stack does, has its token in a variable.
OPTIONS: dict[str, dict[str, Rule]] = {
    "json-file": _ALL | _KEPT | _NAMING | {"compress": _FLAG},
    "local": _ALL | _KEPT | {"compress": _FLAG},
    "journald": _ALL | _NAMING,
    "syslog": {
        **dict.fromkeys(
            (
                *("syslog-address", "syslog-facility", "syslog-format", "syslog-tls-ca-cert"),
                *("syslog-tls-cert", "syslog-tls-key", "syslog-tls-skip-verify"),
            ),
            _TEXT,
        ),
        **_ALL,
        **_NAMING,
        **_COPY,
    },
    "fluentd": {
        **dict.fromkeys(
            (
                *("fluentd-address", "fluentd-async", "fluentd-buffer-limit"),
                *("fluentd-max-retries", "fluentd-request-ack", "fluentd-retry-wait"),
                "fluentd-sub-second-precision",
            ),
            _TEXT,
        ),
        **_ALL,
        **_NAMING,
        **_COPY,
    },
}

#: Without these, a log grows until the engine's disk is full.
_REQUIRED: dict[str, dict[str, Rule]] = {"json-file": _KEPT, "local": _KEPT}


def _no_secret(options: Any) -> Iterator[str]:
    for name, value in options.items():
        if re.search(r"://[^/\s]*@|PRIVATE KEY-----", str(value)):
            yield f".{name} holds a secret, which whoever may inspect containers can read"


def _options(container: Any) -> Iterator[str]:
    driver, options = container.get("logDriver"), container.get("logOpts") or {}
    if options is UNKNOWN:
        yield ".logOpts is not known before `pulumi up`"
        return
    required = _REQUIRED.get(driver, {})
    table = {
        name: rule if name in required else maybe(rule)
        for name, rule in OPTIONS.get(driver, {}).items()
    }
    for problem in (*fields(table)(options), *_no_secret(options)):
        yield f".logOpts{problem}"


DRIVER = only(*OPTIONS)
LOGS = Rule(_options)
"""Of a whole container: the options that its driver may have."""
