"""The parts of `make bench` with many users: a rush, and what grows with their number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import growth, guarded, images, processes, running, rush
from benchmarks.measured import GROWTH, RUNS, RUSH
from toolchain.console import say

if TYPE_CHECKING:
    from benchmarks.__main__ import Bench


def come(bench: Bench, subject: str, platform: str) -> None:
    """Let many users log in at once, and start as many bare containers."""
    bench.built(subject, platform)
    if subject == "project":
        images.build(images.packet_filter(platform), cached=True, limit=bench.limit)
    for number in RUSH.numbers:

        def keep(row: str, values: Sequence[float], not_run: str = "", of: int = number) -> None:
            bench.keep(RUSH.key(row, of), subject, platform, values, not_run)

        if processes.available() < number * rush.EACH:
            keep("ready", [], f"{number} servers need {number * rush.EACH} MiB of free memory")
            continue
        bare = rush.best(bench.engine, subject, platform, number)
        names = rush.users(number)
        with bench.site(names) as site, _crowd(bench, site, subject, platform) as (hub, parts):
            found = rush.rush(hub, site, names, parts)
        keep("bare", bare.ready)
        keep("bare-seconds", [bare.seconds])
        keep("login", found.login, "no login succeeded")
        keep("ready", found.ready, "no server started")
        keep("health", found.health)
        keep("failed", [len(found.failed)])
        for failure in found.failed:
            say("bench", failure)
        keep("taken", [found.taken / number])
        for run in RUNS:
            keep(f"seconds-{run}", [found.seconds[run] / number])
            keep(f"memory-{run}", [found.memory[run]])


def grow(bench: Bench, subject: str, platform: str) -> None:
    """Start more and more tiny servers, and measure what one more costs."""
    bench.built(subject, platform)
    images.build(images.packet_filter(platform), cached=True, limit=bench.limit)
    notebook = images.tag("notebook", subject, platform)
    tiny = growth.stand_in(bench.engine.api, notebook)
    names = rush.users(max(GROWTH.numbers) + growth.STARTS)
    try:
        with (
            bench.site(names) as site,
            guarded.running_hub(site, platform, tiny) as (hub, guard),
        ):
            running_ = 0
            for number in GROWTH.numbers:
                growth.fill(hub, site, names[running_:number])
                further = names[number : number + growth.STARTS]
                found = growth.measure(
                    hub, site, further, partial(guarded.of_containers, hub, guard, site)
                )
                running_ = number + growth.STARTS
                _keep(bench, found, number, subject, platform)
    finally:
        bench.engine.images.remove(tiny, force=True)


def _keep(bench: Bench, found: growth.Growth, number: int, subject: str, platform: str) -> None:
    """Save what was measured with a number of servers."""
    rows: dict[str, Sequence[float]] = {
        "start": found.start,
        "users": found.users,
        "restart": [found.restart],
        "routed": [found.routed],
        "restart-seconds": [found.restart_seconds],
        **{f"seconds-{run}": [found.seconds.get(run, 0.0)] for run in RUNS},
        **{f"memory-{run}": [found.memory[run]] for run in RUNS},
    }
    for row, values in rows.items():
        bench.keep(GROWTH.key(row, number), subject, platform, values)


@contextmanager
def _crowd(
    bench: Bench, site: running.Site, subject: str, platform: str
) -> Iterator[tuple[running.Hub, Callable[[], Mapping[str, str]]]]:
    """A hub for a rush, and its containers by part: this project's has its guard."""
    if subject == "project":
        notebook = str(bench.engine.images.get(images.tag("notebook", subject, platform)).id)
        with guarded.running_hub(site, platform, notebook) as (hub, guard):
            yield hub, partial(guarded.of_containers, hub, guard, site)
    else:
        with running.running_hub(site, subject, platform) as hub:
            yield hub, partial(guarded.of_containers, hub, None, site)
