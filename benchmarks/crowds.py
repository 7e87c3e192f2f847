"""The parts of `make bench` with many users: a rush, and what grows with their number."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import growth, guarded, images, own_engine, processes, running, rush
from benchmarks.measured import GROWTH, RUNS, RUSH
from toolchain.console import say

if TYPE_CHECKING:
    from benchmarks.__main__ import Bench


class Time:
    """What is left of the time that a part may take, for one number of users after the other."""

    def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._minutes = minutes
        self._clock = clock
        self._began = self._last = clock()
        self._each = 0.0

    def done(self, users: int) -> None:
        """Note that so many users more have been measured."""
        now = self._clock()
        self._each, self._last = (now - self._last) / users, now

    def too_short(self, users: int) -> str:
        """Why so many users more would take too long; empty if they would not."""
        needed = self._clock() - self._began + self._each * users
        if needed <= self._minutes * 60:
            return ""
        return f"it would have taken more than {self._minutes:.0f} minutes"


def come(bench: Bench, subject: str, platform: str) -> None:
    """Let many users log in at once, and start as many bare containers."""
    bench.built(subject, platform)
    if subject == "project":
        images.build(images.packet_filter(platform), cached=True, limit=bench.limit)
    left = Time(bench.minutes / len(bench.subjects_of(RUSH.part)))
    for number in RUSH.numbers:

        def keep(row: str, values: Sequence[float], not_run: str = "", of: int = number) -> None:
            bench.keep(RUSH.key(row, of), subject, platform, values, not_run)

        memory = number * rush.EACH[subject]
        missing = processes.available() < memory
        need = f"{number} servers need {memory} MiB of free memory" if missing else ""
        if why := need or left.too_short(number):
            keep("ready", [], why)
            continue
        bare = rush.best(bench.engine, subject, platform, number)
        keep("bare", bare.ready)
        keep("bare-seconds", [bare.seconds])
        names = rush.users(number)
        for end, within in rush.WITHIN.items():
            with bench.site(names) as site, _crowd(bench, site, subject, platform) as (hub, parts):
                found = rush.rush(hub, site, names, parts, within)
            keep(f"login{end}", found.login, "" if found.login else "no login succeeded")
            keep(f"ready{end}", found.ready, "" if found.ready else "no server started")
            keep(f"health{end}", found.health)
            keep(f"failed{end}", [len(found.failed)])
            for failure in found.failed:
                say("bench", failure)
            if end:
                continue
            keep("taken", [found.taken / number])
            for run in (*RUNS, "browsers"):
                keep(f"seconds-{run}", [found.seconds[run] / number])
            for run in RUNS:
                keep(f"memory-{run}", [found.memory[run]])
        left.done(number)


def grow(bench: Bench, subject: str, platform: str) -> None:
    """Start more and more tiny servers, and measure what one more costs."""
    if why := own_engine.unable():
        raise RuntimeError(why)
    bench.built(subject, platform)
    for recipe in (images.packet_filter(platform), images.directory(platform)):
        images.build(recipe, cached=True, limit=bench.limit)
    left = Time(bench.minutes)
    with _grown(subject, platform) as stack:
        running_ = 0
        for number in GROWTH.numbers:
            missing = processes.available() < (number - running_) * growth.EACH
            need = f"{number} stand-ins need {number * growth.EACH} MiB of free memory"
            if why := (need if missing else "") or left.too_short(number - running_):
                bench.keep(GROWTH.key("start", number), subject, platform, [], why)
                continue
            names = rush.users(number + growth.STARTS)
            stack.fill(names[running_:number])
            found = stack.measure(names[number:])
            left.done(number - running_)
            running_ = number
            for row, _, _ in GROWTH.rows:
                bench.keep(GROWTH.key(row, number), subject, platform, found.rows.get(row, [0.0]))


@contextmanager
def _grown(subject: str, platform: str) -> Iterator[growth.Stack]:
    """A hub with its guard on an engine of its own, for stand-ins."""
    notebook = images.tag("notebook", subject, platform)
    others = [images.tag(image, "project", platform) for image in ("directory", "filter")]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in ("engine", "site"):
            (folder / name).mkdir()
        own = stack.enter_context(
            own_engine.own_engine(
                folder / "engine", [notebook, images.tag("hub", subject, platform), *others]
            )
        )
        engine = own.engine.client
        tiny = growth.stand_in(engine.api, notebook)
        names = rush.users(max(GROWTH.numbers) + growth.STARTS)
        site = running.begin_site(engine, folder / "site", platform, names)
        hub, guard = guarded.begin_hub(site, platform, tiny)
        parts = partial(guarded.of_containers, hub, guard, site)
        # Nothing is removed one by one: the engine ends with all that it has.
        yield growth.Stack(own, hub, site, parts)


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
