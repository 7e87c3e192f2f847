"""`make sizes`: how much homes, servers and shared folders take, while people work."""

from __future__ import annotations

import re

from toolchain import stack
from toolchain.backup import jobs
from toolchain.backup.engine import Engine
from toolchain.backup.helper import Helpers, Report
from toolchain.console import Problem, say

STEP = "sizes"

#: Seconds that one volume may take. What is counted until then is the least that it has.
MOST = 60

#: Percent of the limit from which a home is named.
NEARLY = 80

GIB = 1 << 30

_LIMIT = re.compile(r"([1-9][0-9]{0,5})([MGT])")


def show(name: str, docker: str, limit: str) -> None:
    """Show the sizes of a stack's volumes with users' files, the largest first.

    Args:
        name: of the stack.
        docker: the client.
        limit: what a home should not have more than, such as 10G; empty for the stack's own.

    Raises:
        Problem: the limit is none, or a volume cannot be read.
    """
    most = _bytes(limit) if limit else 0
    engine = Engine((docker, *stack.docker_options(name)), stack.prefix(name))
    helpers = Helpers(engine, engine.image())
    most = most or engine.home_limit()
    homes = engine.homes()
    # One after the other: what people do on the same disk goes first.
    found = sorted(
        ((helpers.ask(jobs.size(volume, MOST)), user) for volume, user in homes.items()),
        key=lambda one: -one[0]["bytes"],
    )
    for report, user in found:
        say(STEP, f"home of {user}: {_text(report)}{_share(report['bytes'], most)}")
    for user, written in sorted(engine.written().items(), key=lambda one: -one[1]):
        say(STEP, f"server of {user}: {written / GIB:.2f} GiB outside the home, such as in /tmp")
    for folder, volume in engine.shared().items():
        say(STEP, f"shared folder {folder}: {_text(helpers.ask(jobs.size(volume, MOST)))}")
    total = sum(report["bytes"] for report, _ in found)
    say(STEP, f"{len(found)} homes, {total / GIB:.1f} GiB")
    over = [user for report, user in found if most and report["bytes"] >= most]
    if over:
        say(STEP, f"over {limit or f'{most / GIB:.1f} GiB'}: {', '.join(over)}")


def _bytes(limit: str) -> int:
    found = _LIMIT.fullmatch(limit)
    if not found:
        raise Problem(f"LIMIT={limit}: must be a size, as in LIMIT=10G")
    return int(found[1]) << 10 * (1 + "KMGT".index(found[2]))


def _text(report: Report) -> str:
    least = "" if report["whole"] else f"more than (not all could be counted, or in {MOST} s) "
    return f"{least}{report['bytes'] / GIB:.2f} GiB in {report['files']} files"


def _share(size: int, most: int) -> str:
    """What a size is of the limit, where that is worth a word."""
    percent = 100 * size // most if most else 0
    if percent < NEARLY:
        return ""
    return f", {percent} % of the limit" + (" - OVER IT" if percent >= 100 else "")
