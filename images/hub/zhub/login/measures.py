"""What the hub counts of logins and of the directory."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from prometheus_client import Counter, Histogram

BOUNDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)
"""Upper bounds of the time a server of the directory takes, in seconds."""


class Outcome(StrEnum):
    """How a login ends."""

    SUCCESS = "success"
    REFUSED = "refused"
    """The directory has said no: most often a wrong password."""
    INVALID = "invalid"
    """No valid name, or the password is too long: the directory was not asked."""
    NOT_ALLOWED = "not_allowed"
    """The password is right, but the user is in no allowed group."""
    TOO_MANY_FAILURES = "too_many_failures"
    BUSY = "busy"
    """Too many at once."""
    NO_ANSWER = "no_answer"
    """No server of the directory gives a usable answer."""
    ANOTHER_PERSON = "another_person"
    """The password is right, but the name was another person's, whose home is kept; or the
    directory does not show any more whose it is."""


LOGINS = Counter("zhub_logins", "Logins with name and password by outcome", ["outcome"])
SERVERS = Counter(
    "zhub_directory_asked",
    "Logins and look-ups by server of the directory: answered, failed, or skipped because it has"
    " failed a moment ago",
    ["server", "outcome"],
)
SECONDS = Histogram(
    "zhub_directory_seconds",
    "How long a server of the directory takes for a login or a look-up, failures included",
    ["server"],
    buckets=BOUNDS,
)

# From the start on, so that an alert sees the first of a kind as an increase.
for _outcome in Outcome:
    LOGINS.labels(_outcome)


def count_from_now(servers: Sequence[str]) -> None:
    """Make the counters of the directory's servers, at zero."""
    for server in servers:
        SECONDS.labels(server)
        for outcome in ("answered", "failed", "skipped"):
            SERVERS.labels(server, outcome)


def ended(outcome: Outcome) -> None:
    """Count a login."""
    LOGINS.labels(outcome).inc()


def asked(server: str, outcome: str, seconds: float) -> None:
    """Count that a server was asked, or skipped."""
    SERVERS.labels(server, outcome).inc()
    if outcome != "skipped":
        SECONDS.labels(server).observe(seconds)
