"""Alert rules with shorter durations: a test need not wait for a quarter of an hour."""

from __future__ import annotations

import re

FACTOR = 5
"""How much shorter: a busy machine takes seconds for a scrape, which must still come in time."""

SECONDS = {"s": 1, "m": 60, "h": 3600}

#: A duration of a rule, of a range or of the configuration, with what is before it.
DURATION = re.compile(r"(\bfor: |evaluation_interval: |\[|\boffset )(\d+)([smh])\b")


def quicker(text: str) -> str:
    """Divide each duration, and leave all else as it is."""
    return DURATION.sub(
        lambda found: f"{found[1]}{int(found[2]) * SECONDS[found[3]] * 1000 // FACTOR}ms", text
    )
