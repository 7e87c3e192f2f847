"""Many users, and a machine with too much to do, on an engine whose calls and time are counted."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import docker
import pytest

from benchmarks import growth, guarded, images, own_engine, running, rush

pytestmark = [pytest.mark.engine, pytest.mark.long]

#: Of these images; the ones with the scientific stack are no different here.
SUBJECT = "bare"

#: Share of one processor that a slow engine has. A start takes half a second of it, on a processor
#: of its own.
SLOW = 0.04

#: Users who come at once to the slow engine.
CROWD = 12


@dataclass(frozen=True)
class Place:
    """An engine with images of a platform, by what they are for."""

    engine: own_engine.OwnEngine
    folder: Path
    platform: str
    tags: dict[str, str]

    def stack(self, names: list[str], notebook: str) -> growth.Stack:
        """Begin a hub with its guard."""
        site = running.begin_site(
            self.engine.engine.client, self.folder / "site", self.platform, names
        )
        hub, guard = guarded.begin_hub(site, self.platform, notebook, subject=SUBJECT)
        parts = partial(guarded.of_containers, hub, guard, site)
        return growth.Stack(self.engine, hub, site, parts)


@contextmanager
def place() -> Iterator[Place]:
    """Run one."""
    if why := own_engine.unable():
        pytest.skip(why)
    with closing(docker.from_env()) as engine:
        platform = f"linux/{engine.version()['Arch']}"
    recipes = (
        *images.recipes(SUBJECT, platform),
        images.directory(platform),
        images.packet_filter(platform),
    )
    for recipe in recipes:
        images.build(recipe, cached=True, limit=1800)
    tags = dict(
        zip(("notebook", "hub", "directory", "filter"), (one.tag for one in recipes), strict=True)
    )
    # Not pytest's folder: paths of sockets are short.
    with tempfile.TemporaryDirectory(prefix="zhub-") as temporary:
        folder = Path(temporary)
        for name in ("engine", "site"):
            (folder / name).mkdir()
        with own_engine.own_engine(folder / "engine", list(tags.values())) as engine:
            yield Place(engine, folder, platform, tags)


def test_with_an_engine_that_is_far_too_slow_everybody_gets_a_server() -> None:
    """Later, but they get one: two of 24 did."""
    names = rush.users(CROWD)
    with place() as here:
        client = here.engine.engine.client
        stack = here.stack(names, str(client.images.get(here.tags["notebook"]).id))
        here.engine.slow_down(SLOW)
        found = rush.rush(stack.hub, stack.site, names, stack.containers)
        print("seconds:", *(round(seconds) for seconds in sorted(found.ready)))
        log = stack.hub.container.logs().decode()
    assert not found.failed, found.failed
    assert len(found.ready) == CROWD
    assert "Traceback" not in log


def test_one_more_server_takes_as_many_calls_where_many_run() -> None:
    few, many = 3, 15
    names = rush.users(many + 2 * growth.STARTS)
    with place() as here:
        tiny = growth.stand_in(here.engine.engine.client.api, here.tags["notebook"])
        stack = here.stack(names, tiny)
        stack.fill(names[:few])
        first = stack.measure(names[few : few + growth.STARTS])
        stack.fill(names[few + growth.STARTS : many + growth.STARTS])
        last = stack.measure(names[many + growth.STARTS :])
    print({row: (first.rows[row], last.rows[row]) for row in first.rows})
    # Looks at all servers, once a minute or so, come in between, and at one that takes long.
    assert abs(min(last.rows["calls"]) - min(first.rows["calls"])) < 3
    assert set(first.rows) == set(last.rows)
