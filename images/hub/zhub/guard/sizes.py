"""How much users' homes take, counted while people work; only for a stack with a limit of homes.

What can have changed is counted: homes whose servers run, or have ended since. One short-lived
container after the other does it, for a few homes each, and yields to all other work on processor
and disk. The guard rests for as long as it has counted, so that half of the time nothing is read.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from queue import Empty, Full, Queue
from typing import Any

import docker
import requests.exceptions
from docker.errors import DockerException
from docker.types import Mount
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from zhub.contract import NO_NETWORK, USER, Role, labelled
from zhub.guard import homes
from zhub.guard.driven import driven
from zhub.guard.helpers import Helpers
from zhub.settings import GuardSettings

PERIOD = 600
"""Seconds between two counts of the homes whose servers run."""

AT_A_TIME = 8
"""Homes that one container counts, one after the other: making it takes longer than most counts."""

MOST_ASKED = 1000
"""Homes that wait to be counted before their turn; the hub could ask without end."""

LONGEST = 300
"""Seconds that one home may take; then it is left as it was known before."""

GIB = 1 << 30

SEEN = "/homes"
"""Where the container has them, by numbers."""

#: Prints for each home the bytes that it takes on the disk, and its number: holes in files do not
#: count, and a file with several names counts once. Nothing is mounted below a home here, so du may
#: leave its file system, into subvolumes of btrfs: the home's quota does not count what is there.
#: du complains of files that are removed meanwhile, and still prints the sum. It remembers each
#: file with several names: with more than a million of them, the helper's memory ends, and du with
#: it (SIGKILL). Then each name counts.
COUNT = f"""
count() {{ timeout {LONGEST} nice -n 19 ionice -c 3 du -s --block-size=1 "$@" 2>/dev/null; }}
for number; do
    count {SEEN}/"$number" || [ $? != 137 ] || count --count-links {SEEN}/"$number"
done
exit 0
"""

log = logging.getLogger(__name__)

Failure = (RuntimeError, DockerException, requests.exceptions.RequestException)


class Sizes(Collector):
    """What is known of the sizes; what counts them runs in a thread of its own (`keep`)."""

    def __init__(
        self,
        client: docker.APIClient,
        settings: GuardSettings,
        *,
        enforced: bool,
        rest: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare to count.

        Args:
            client: of the engine.
            settings: the guard's.
            enforced: whether the kernel keeps new homes below the limit.
            rest: waits for so many seconds.
        """
        self._client = client
        self._settings = settings
        # Not the packet filter's image, which has hardly a program.
        self._helpers = Helpers(client, settings.notebook_image, settings.prefix)
        self._enforced = enforced
        self._rest = rest
        self._known: dict[str, tuple[str, int]] = {}
        self._ran: set[str] = set()
        self._asked: Queue[str] = Queue(MOST_ASKED)

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "guard_home_limit_bytes",
            "Size at which a home counts as full (homeLimit)",
            value=self._settings.home_limit,
        )
        yield GaugeMetricFamily(
            "guard_home_limit_enforced",
            "Whether the kernel keeps new homes below the limit",
            value=self._enforced,
        )
        taken = GaugeMetricFamily(
            "guard_home_bytes", "What a user's home takes on the disk", labels=["user"]
        )
        for user, size in self.of_users().items():
            taken.add_metric([user], size)
        yield taken

    def of_users(self) -> dict[str, int]:
        """Return what is known, by users."""
        return dict(self._known.copy().values())

    def of(self, volume: str) -> int | None:
        """Return the bytes of a home as they were last counted; None if they never were."""
        _, size = self._known.get(volume, ("", None))
        if size is None:
            self.soon(volume)
        return size

    def soon(self, volume: str) -> None:
        """Have a home counted before its turn, such as when its server has ended."""
        with suppress(Full):
            self._asked.put_nowait(volume)

    def keep(self) -> None:
        """Count for ever."""
        while True:
            self.count()
            end = time.monotonic() + PERIOD
            while (left := end - time.monotonic()) > 0:
                with suppress(Empty):
                    asked = {self._asked.get(timeout=left)}
                    while not self._asked.empty():
                        asked.add(self._asked.get())
                    self.count(asked)

    def count(self, only: Collection[str] = ()) -> None:
        """Count these homes, or, where none is named, all that may have changed.

        What cannot be counted is logged, and left as it was known before.
        """
        try:
            there = self._there()
            due = set(only)
            if not due:
                running = self._running()
                due = running | self._ran | (set(there) - set(self._known))
                self._ran = running
        except Failure as error:
            log.warning("homes are not counted: %s", error)
            return
        self._known = {name: one for name, one in self._known.items() if name in there}
        names = sorted(due & set(there))
        for first in range(0, len(names), AT_A_TIME):
            began = time.monotonic()
            self._count([there[name] for name in names[first : first + AT_A_TIME]])
            self._rest(time.monotonic() - began)

    def _count(self, found: Sequence[Mapping[str, Any]]) -> None:
        try:
            sizes = self._sizes(found)
        except Failure as error:
            if len(found) > 1:
                # One of them may be in a folder that is not mounted now.
                for one in found:
                    self._count([one])
                return
            log.warning("%s is not counted: %s", found[0]["Name"], error)
            return
        for number, one in enumerate(found):
            if number in sizes:
                self._note(one["Name"], one["Labels"][USER], sizes[number])
            else:
                log.warning("%s is not counted: du did not end in %d s", one["Name"], LONGEST)

    def _note(self, name: str, user: str, size: int) -> None:
        """Keep what a home takes; that it is full is logged once, not at each count."""
        limit = self._settings.home_limit
        _, before = self._known.get(name, ("", 0))
        if before < limit <= size:
            log.warning("the home of %s is full: %.1f of %.1f GiB", user, size / GIB, limit / GIB)
        self._known[name] = user, size

    def _sizes(self, found: Sequence[Mapping[str, Any]]) -> dict[int, int]:
        """Return the bytes in each of these homes, by its place in the list."""
        mounts = [self._mount(number, one) for number, one in enumerate(found)]
        printed = self._helpers.run(
            ["sh", "-c", COUNT, "sh", *map(str, range(len(found)))],
            network=NO_NETWORK,
            capabilities=["DAC_READ_SEARCH"],
            mounts=mounts,
            seconds=LONGEST * len(found) + 60,
        )
        lines = (line.split("\t") for line in printed.splitlines())
        return {int(path.removeprefix(f"{SEEN}/")): int(size) for size, path in lines}

    def _there(self) -> dict[str, Mapping[str, Any]]:
        """The stack's homes that are where homes may be, by their names."""
        found = self._client.volumes(filters=labelled(self._settings.prefix, Role.HOME))
        return {
            one["Name"]: one
            for one in found["Volumes"] or ()
            if USER in one["Labels"] and homes.known(one, self._settings)
        }

    def _mount(self, number: int, found: Mapping[str, Any]) -> Mount:
        by_driver = driven(self._settings)
        if by_driver and by_driver.made(found):
            # Where its files are, only the driver knows.
            place = f"{SEEN}/{number}"
            return Mount(place, found["Name"], type="volume", read_only=True, no_copy=True)
        return _mount(number, found)

    def _running(self) -> set[str]:
        """The names of the homes whose servers run."""
        filters = labelled(self._settings.prefix, Role.SERVER)
        return {
            self._settings.home_of(name.removeprefix("/"))
            for found in self._client.containers(filters=filters)
            for name in found["Names"]
        }


def _mount(number: int, found: Mapping[str, Any]) -> Mount:
    """Return the mount of a home for what counts it."""
    # By the path: as a volume it would be in use meanwhile, and could not be removed.
    mount = Mount(f"{SEEN}/{number}", homes.device(found), type="bind", read_only=True)
    # The engine wants mounts of its own folder to follow that folder's own. Elsewhere it refuses
    # those that are to follow a file system whose mounts are private, as without systemd.
    own = homes.plain(found)
    mount["BindOptions"] = {"NonRecursive": True, "Propagation": "rslave" if own else "rprivate"}
    return mount
