"""Settings of the logs: where the engine puts them, and what is in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from components.settings import parsing
from components.settings.config import Config
from components.settings.disclosure import holds_a_secret
from components.settings.parsing import RefusedError
from components.settings.setting import Setting


class Driver(StrEnum):
    """The engine's log drivers that a stack may use."""

    JSON_FILE = "json-file"
    LOCAL = "local"
    JOURNALD = "journald"
    SYSLOG = "syslog"
    FLUENTD = "fluentd"


class Level(StrEnum):
    """The least important lines that are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Form(StrEnum):
    """What a line of a log is."""

    TEXT = "text"
    JSON = "json"


_ROTATION = {"max-size", "max-file", "compress"}
_DELIVERY = {"mode", "max-buffer-size"}
_NAMING = {"tag", "labels", "labels-regex"}
# The engine keeps a copy, for `docker logs`, of what a driver only sends away.
_COPY = {"cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"}

#: The options of each driver that a stack may set; Docker 20.10 knows them all.
#: https://docs.docker.com/engine/logging/configure/
OPTIONS: Mapping[Driver, set[str]] = {
    Driver.JSON_FILE: _ROTATION | _DELIVERY | _NAMING,
    Driver.LOCAL: _ROTATION | _DELIVERY,
    Driver.JOURNALD: _DELIVERY | _NAMING,
    Driver.SYSLOG: {
        *("syslog-address", "syslog-facility", "syslog-format", "syslog-tls-ca-cert"),
        *("syslog-tls-cert", "syslog-tls-key", "syslog-tls-skip-verify"),
        *(_DELIVERY | _NAMING | _COPY),
    },
    Driver.FLUENTD: {
        *("fluentd-address", "fluentd-async", "fluentd-buffer-limit", "fluentd-max-retries"),
        *("fluentd-request-ack", "fluentd-retry-wait", "fluentd-sub-second-precision"),
        *(_DELIVERY | _NAMING | _COPY),
    },
}

_KEPT = {"max-size": "10m", "max-file": "3"}
_WHOSE = {"tag": "{{.Name}}", "labels": "zhub.stack,zhub.role,zhub.user"}
# With the engine's own default, hub, guard and users' servers stand still behind a log service that
# hangs. In both modes, a container ends only when the service takes its last lines.
_DROPPED = {"mode": "non-blocking"}

#: What is set where a stack does not say otherwise: no log grows without end, each line says whose
#: it is, and no program waits for a log server.
DEFAULTS: Mapping[Driver, Mapping[str, str]] = {
    Driver.JSON_FILE: _KEPT,
    Driver.LOCAL: _KEPT,
    Driver.JOURNALD: {**_WHOSE, **_DROPPED},
    Driver.SYSLOG: {"tag": "{{.Name}}", **_DROPPED},
    Driver.FLUENTD: {**_WHOSE, "fluentd-async": "true"},
}

_OPTION = re.compile(r"([a-z][a-z-]{0,63})=(.+)", re.DOTALL)
_AMOUNT = r"[1-9][0-9]{0,5}[kmg]?", "a number from 1 up, or one with k, m or g"
_BYTES = r"[1-9][0-9]{0,9}[kmgKMG]?[bB]?", "a number of bytes from 1 up, or one with k, m or g"
_COUNT = r"[1-9][0-9]{0,5}", "a number from 1 up"
_FLAG = r"true|false", "true or false"
_HOST = r"([^\s/:\[\]]+|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?"
_SOCKET = r"unix(gram)?://(/[^\s/]+)+"
_FACILITY = r"kern|user|mail|daemon|auth|syslog|lpr|news|uucp|cron|authpriv|ftp|local[0-7]"

#: What the engine takes as an option's value, and how a message says it. With any other, a
#: container is not made or does not start, and the one that it was to replace is gone by then.
#: https://github.com/moby/moby/tree/v20.10.24/daemon/logger
_VALUES: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(("max-size", "max-buffer-size"), _AMOUNT),
    **dict.fromkeys(("cache-max-size", "fluentd-buffer-limit"), _BYTES),
    **dict.fromkeys(("max-file", "cache-max-file"), _COUNT),
    **dict.fromkeys(("compress", "cache-disabled", "cache-compress", "fluentd-async"), _FLAG),
    **dict.fromkeys(("fluentd-request-ack", "fluentd-sub-second-precision"), _FLAG),
    "fluentd-address": (rf"((tcp|tls)://)?{_HOST}|{_SOCKET}", "HOST:PORT or unix:///PATH"),
    "fluentd-max-retries": (r"[0-9]{1,9}", "a whole number"),
    "fluentd-retry-wait": (r"([0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h))+", "a time such as 500ms or 2s"),
    "mode": (r"blocking|non-blocking", "blocking or non-blocking"),
    "syslog-address": (
        rf"(udp|tcp|tcp\+tls)://{_HOST}|{_SOCKET}",
        "udp://HOST:PORT, tcp://HOST:PORT, tcp+tls://HOST:PORT or unixgram:///PATH",
    ),
    "syslog-facility": (rf"{_FACILITY}|1?[0-9]|2[0-3]", "a facility such as daemon or local0"),
    "syslog-format": (r"rfc5424|rfc5424micro|rfc3164", "rfc5424, rfc5424micro or rfc3164"),
    # The engine only looks whether there is such an option (parseTLSConfig in syslog.go).
    "syslog-tls-skip-verify": (r"true", "true; where the option is left out, it is verified"),
}
_VARIABLES = {"env", "env-regex"}

#: Of an option's value.
LONGEST = 1024

#: Where journald listens. Without it, the engine starts no container that logs to journald.
JOURNAL = Path("/run/systemd/journal/socket")


def option(text: str) -> str:
    """Options as NAME=VALUE, but for those that would write secrets into logs, or are secrets."""
    match = _OPTION.fullmatch(text)
    if not match:
        raise RefusedError("not an option, such as max-size=20m", secret=holds_a_secret(text))
    name, value = match.groups()
    if name in _VARIABLES:
        raise RefusedError(
            f"{name} puts variables into each line, and a user's server has its token in one",
            superfluous=True,
        )
    if not any(name in known for known in OPTIONS.values()):
        raise RefusedError(
            f"{name} is no option that a stack may set", superfluous=True, secret=True
        )
    if holds_a_secret(value):
        raise RefusedError(
            f"{name} holds what looks like a secret, which whoever may inspect containers can read",
            secret=True,
            superfluous=True,
        )
    if not value.isprintable() or len(value) > LONGEST:
        raise RefusedError(f"{name} is not one line of at most {LONGEST} printable characters")
    pattern, words = _VALUES.get(name, (".*", ""))
    if not re.fullmatch(pattern, value):
        raise RefusedError(f"{name} is not {words}", superfluous=True)
    return text


LOG_DRIVER = Setting(
    "logDriver",
    Driver.JSON_FILE.value,
    "Where the engine puts the logs of the stack's containers and of users' servers:"
    f" {', '.join(Driver)}",
    parsing.one_of(Driver),
)
LOG_OPTIONS = Setting(
    "logOptions",
    (),
    "Options of logDriver, each NAME=VALUE, in addition to the stack's own; no secrets",
    parsing.assignments_of(option),
    example="max-size=20m",
)
LOG_LEVEL = Setting(
    "logLevel",
    Level.INFO.value,
    f"Least important lines that hub, guard and proxy log: {', '.join(Level)}",
    parsing.one_of(Level),
)
LOG_FORMAT = Setting(
    "logFormat",
    Form.TEXT.value,
    "What hub, guard and proxy log: text, or json, an object in each line",
    parsing.one_of(Form),
)


@dataclass(frozen=True, kw_only=True)
class Logs:
    """Where all logs of a stack go, and what the stack's own are like."""

    driver: Driver = Driver.JSON_FILE
    options: Mapping[str, str]
    """All that the driver gets."""
    level: Level = Level.INFO
    form: Form = Form.TEXT

    def warnings(self) -> Iterator[str]:
        """What is allowed but not advised, a sentence each."""
        for name in ("syslog-address", "fluentd-address"):
            yield from _of_address(name, self.options.get(name, ""))
        if "syslog-tls-skip-verify" in self.options:
            yield (
                "logOptions has syslog-tls-skip-verify: whoever is between engine and log server"
                " can read all logs; syslog-tls-ca-cert names the CA that verifies it"
            )
        if self.level is Level.DEBUG:
            yield "logLevel is debug: logs name what users do in detail; info is for operation"


def _of_address(name: str, address: str) -> Iterator[str]:
    scheme, host = _parts(address)
    if scheme in {"udp", "tcp"} and not _is_loopback(host):
        yield (
            f"logOptions has {name}={address}, which sends all logs over the network in clear; a"
            " log service on the engine's machine can pass them on with TLS"
        )
    if name == "syslog-address" and scheme.startswith("tcp"):
        yield (
            f"logOptions has {name}={address}: while nothing answers there, neither the stack's"
            " containers nor users' servers start, and while it hangs, none ends; with a syslog on"
            " the engine's machine, they do"
        )


def _parts(address: str) -> tuple[str, str]:
    """Scheme and host of a log server's address."""
    if "://" not in address:
        # As fluentd's may be given.
        address = f"tcp://{address}" if address else ""
    try:
        split = urlsplit(address)
    except ValueError:
        return "tcp", ""
    return split.scheme, split.hostname or ""


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (parsing.is_address(host) and ip_address(host).is_loopback)


def without_journal(found: Logs) -> Iterator[str]:
    """What to know where the engine is on this machine, and this machine has no journal.

    It is no mistake for sure: this program may run in a container that has the engine's socket and
    nothing else of the machine.
    """
    if found.driver is Driver.JOURNALD and not JOURNAL.is_socket():
        yield (
            f"logDriver is journald, and this machine has no journal ({JOURNAL}): if the engine's"
            " has none either, containers do not start, and those that are replaced are gone by"
            " then"
        )


def read(config: Config) -> Logs:
    """Read the settings; note options that the driver does not have."""
    driver, given = config.value(LOG_DRIVER), config.value(LOG_OPTIONS)
    options = {**DEFAULTS[driver]}
    for number, text in enumerate(given):
        name, _, value = text.partition("=")
        if name not in OPTIONS[driver] and LOG_DRIVER not in config.refused:
            reason = f"{name} is no option of {LOG_DRIVER} {driver}"
            config.refuse(LOG_OPTIONS, RefusedError(reason, item=number, superfluous=True))
            break
        options[name] = value
    compressed = options.get("compress", "true" if driver is Driver.LOCAL else "false")
    if compressed == "true" and options.get("max-file") == "1":
        config.clash(
            LOG_OPTIONS,
            f"has max-file=1, and {LOG_DRIVER} {driver} compresses all files but the newest",
            LOG_OPTIONS.set_command("max-file=2", item=given.index("max-file=1")),
        )
    if "max-buffer-size" in options and options.get("mode") != "non-blocking":
        config.clash(
            LOG_OPTIONS,
            "has max-buffer-size, which the engine takes only with mode=non-blocking",
            LOG_OPTIONS.set_command("mode=non-blocking", item=len(given)),
        )
    return Logs(
        driver=driver,
        options=dict(sorted(options.items())),
        level=config.value(LOG_LEVEL),
        form=config.value(LOG_FORMAT),
    )
