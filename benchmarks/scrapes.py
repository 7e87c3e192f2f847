"""The part of `make bench` about the metrics: what a scrape costs with many real servers."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, cast

from benchmarks import guarded, images, processes, rush
from benchmarks.growth import AT_A_TIME
from benchmarks.running import PATIENCE
from tests.hubclient import User

if TYPE_CHECKING:
    from benchmarks.__main__ import Bench

#: Servers that run, of the real notebook image; nobody works in them.
SERVERS = 20

#: Seconds after a scrape that are counted with it: the guard asks the engine for the numbers of the
#: next one, and then not again for ten.
WINDOW = 12

#: What is counted; the machine may do other work.
PARTS = ("hub", "proxy", "guard", "engine", "shims", "servers")


def measure(bench: Bench, subject: str, platform: str) -> None:
    """Start the servers and scrape; as often, nobody scrapes for as long, which does not count."""
    bench.built(subject, platform)
    images.build(images.packet_filter(platform), cached=True, limit=bench.limit)
    notebook = str(bench.engine.images.get(images.tag("notebook", subject, platform)).id)
    names = rush.users(SERVERS)
    with bench.site(names) as site, guarded.running_hub(site, platform, notebook) as (hub, guard):

        def started(name: str) -> User:
            user = User(hub.url, site.authority, timeout=PATIENCE)
            user.log_in(name, site.password)
            rush.wait_for_server(user)
            return user

        with ThreadPoolExecutor(AT_A_TIME) as threads:
            user, *_ = threads.map(started, names)
        printed = cast("bytes", hub.container.exec_run(["zhub", "metrics-token"]).output)
        headers = {"Authorization": f"Bearer {printed.decode().strip()}"}
        seconds: list[float] = []
        sizes: list[float] = []

        def scrape() -> None:
            begin = time.monotonic()
            answer = user.request("GET", "hub/metrics", headers=headers)
            answer.raise_for_status()
            seconds.append(time.monotonic() - begin)
            sizes.append(len(answer.content) / 1000)

        def used(work: Callable[[], object]) -> float:
            watch = processes.Watch()
            work()
            time.sleep(WINDOW)
            found = watch.seconds(guarded.of_containers(hub, guard, site))
            return sum(found[part] for part in PARTS)

        # The first one has no numbers of servers yet.
        used(scrape)
        del seconds[:], sizes[:]
        costs = [used(scrape) - used(lambda: None) for _ in range(bench.repeats)]
    bench.keep("scrape", subject, platform, seconds)
    bench.keep("scrape-size", subject, platform, sizes)
    bench.keep("scrape-seconds", subject, platform, costs)
