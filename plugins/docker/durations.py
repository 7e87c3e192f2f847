"""Durations in Go's format, in which the official plugin reads and stores them."""

from __future__ import annotations

import re
from decimal import Decimal

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = r"(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|ms|s|m|h)"

#: Matches a duration that is not negative.
PATTERN = rf"0|(?:{_PART})+"


def parse(text: str) -> int:
    """Return a duration that matches `PATTERN`, in nanoseconds."""
    parts = re.findall(r"([\d.]+)(ns|us|µs|ms|s|m|h)", text)
    return int(sum(Decimal(value) * _NANOSECONDS[unit] for value, unit in parts))


def written(nanoseconds: int) -> str:
    """Return a duration as Go prints it: `1m30s` for 90 seconds."""
    if nanoseconds < _NANOSECONDS["s"]:
        for unit in ("ms", "µs"):
            if nanoseconds >= _NANOSECONDS[unit]:
                return _decimal(nanoseconds, unit) + unit
        return f"{nanoseconds}ns" if nanoseconds else "0s"
    hours, rest = divmod(nanoseconds, _NANOSECONDS["h"])
    minutes, rest = divmod(rest, _NANOSECONDS["m"])
    seconds = _decimal(rest, "s") + "s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def short(nanoseconds: int) -> str:
    """Return a duration as services' are stored: `1m` for 60 seconds, `1h` for an hour.

    `shortDur` in resource_docker_service_structures.go of kreuzwerker/terraform-provider-docker.
    """
    text = written(nanoseconds)
    for zero, rest in (("m0s", "m"), ("h0m", "h")):
        if text.endswith(zero):
            text = text.removesuffix(zero) + rest
    return text


def _decimal(nanoseconds: int, unit: str) -> str:
    value = f"{Decimal(nanoseconds) / _NANOSECONDS[unit]:f}"
    return value.rstrip("0").rstrip(".") if "." in value else value
