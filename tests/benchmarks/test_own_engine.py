"""Many users, and a machine with too much to do, on an engine whose calls and time are counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
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


@contextmanager
def own(folder: Path) -> Iterator[tuple[own_engine.OwnEngine, str, dict[str, str]]]:
    """An engine with the images of a platform, and their names."""
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
    names = dict(zip(("notebook", "hub", "directory", "filter"), recipes, strict=True))
    (folder / "engine").mkdir()
    (folder / "site").mkdir()
    with own_engine.own_engine(folder / "engine", [one.tag for one in recipes]) as made:
        yield made, platform, {name: one.tag for name, one in names.items()}


def begun(
    made: own_engine.OwnEngine, folder: Path, platform: str, names: list[str], notebook: str
) -> growth.Stack:
    """A hub with its guard on the engine."""
    site = running.begin_site(made.engine.client, folder / "site", platform, names)
    hub, guard = guarded.begin_hub(site, platform, notebook, subject=SUBJECT)
    return growth.Stack(made, hub, site, partial(guarded.of_containers, hub, guard, site))


def test_with_an_engine_that_is_far_too_slow_everybody_gets_a_server(tmp_path: Path) -> None:
    """Later, but they get one: two of 24 did."""
    names = rush.users(CROWD)
    with own(tmp_path) as (made, platform, tags):
        notebook = str(made.engine.client.images.get(tags["notebook"]).id)
        stack = begun(made, tmp_path, platform, names, notebook)
        made.slow_down(SLOW)
        found = rush.rush(stack.hub, stack.site, names, stack.containers)
        print("seconds:", *(round(seconds) for seconds in sorted(found.ready)))
        log = stack.hub.container.logs().decode()
    assert not found.failed, found.failed
    assert len(found.ready) == CROWD
    assert "Traceback" not in log


def test_one_more_server_takes_as_many_calls_where_many_run(tmp_path: Path) -> None:
    few, many = 3, 15
    names = rush.users(many + 2 * growth.STARTS)
    with own(tmp_path) as (made, platform, tags):
        tiny = growth.stand_in(made.engine.client.api, tags["notebook"])
        stack = begun(made, tmp_path, platform, names, tiny)
        stack.fill(names[:few])
        first = stack.measure(names[few : few + growth.STARTS])
        stack.fill(names[few + growth.STARTS : many + growth.STARTS])
        last = stack.measure(names[many + growth.STARTS :])
    print({row: (first.rows[row], last.rows[row]) for row in first.rows})
    # Looks at all servers, once a minute or so, come in between.
    assert abs(last.rows["calls"][0] - first.rows["calls"][0]) < 3
    assert set(first.rows) == set(last.rows)
