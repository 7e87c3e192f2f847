"""What all tests share: their tiers, what may run beside what, and that CI skips nothing."""

from __future__ import annotations

import gc
import math
import os
import re
from collections.abc import Generator, Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings

#: Fixtures of the images and of containers, for the tests of images, toolchain and engine.
pytest_plugins = ["tests.built"]

#: Skips that CI accepts, by the start of their reason: CI cannot have what they need.
ACCEPTED_IN_CI = (
    "users' servers need engine 25 on a swarm",
    "Pulumi's own plugins are not to be had here",
    "the CLI for s390x takes long to build",
    "a second engine needs root",
)

#: A test with none of these needs nothing but `.venv`, and is quick: `make test TESTS=unit`.
NOT_UNIT = {"engine", "long", "slow"}

#: Rooms whose tests with these markers run one after another, but beside those of whole stacks and
#: images: the plugins' have containers of their own, the toolchain's share its logs.
ROOMS_OF_THEIR_OWN = {"plugins": {"engine"}, "toolchain": {"engine", "slow", "unit"}}

#: The room of the hub's package.
HUB = "images/hub/zhub/"

#: Groups that take long, the longest first: one that begins last ends alone, minutes after all
#: others. pytest-xdist keeps this order with --no-loadscope-reorder; by itself it begins with the
#: group of most tests, which is none of those that take longest.
BEGIN_WITH = ("native", "engine", "images", "toolchain", "plugins", "proxy", HUB)

#: Seconds that a group takes whose time is shown.
SHOWN = 60

#: The line of a file that gives all its tests markers.
FILE_MARKS = re.compile(r"^pytestmark = (.*)$", re.MULTILINE)

# Python looks through all objects for garbage again and again, by default after each 700 new ones.
# That was a third of the unit tests' time.
gc.set_threshold(100_000)

# On a machine with much other work, Hypothesis' own limits of time fail tests that are right.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
#: All examples run with `make test`.
settings.register_profile("unit", settings.get_profile("busy"), max_examples=25)


def pytest_configure(config: pytest.Config) -> None:
    """Try fewer examples when only unit tests run."""
    if only_unit_tests(config):
        settings.load_profile("unit")


def only_unit_tests(config: pytest.Config) -> bool:
    """Whether this is `make test TESTS=unit`."""
    return bool(config.getoption("markexpr") == "unit")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files without unit tests when only those run: to import them all takes seconds.

    Of a folder that has no other files, pytest then does not import the `conftest.py` either.
    `None` leaves the decision to pytest.
    """
    if not only_unit_tests(config):
        return None
    if collection_path.is_dir():
        return not any(map(may_have_unit_tests, collection_path.rglob("test_*.py"))) or None
    return (collection_path.match("test_*.py") and not may_have_unit_tests(collection_path)) or None


@cache
def may_have_unit_tests(file: Path) -> bool:
    """Return whether a file's tests have not all a marker of another tier."""
    return not marks_of_all(file.read_text()) & NOT_UNIT


def marks_of_all(code: str) -> set[str]:
    """Return the markers that all tests of a file have, as a line of its code says."""
    found = FILE_MARKS.search(code)
    return set(re.findall(r"pytest\.mark\.(\w+)", found[1])) if found else set()


def group(path: str, marks: set[str], fixtures: list[str]) -> str:
    """Name what a test belongs to: tests of one group run one after another, in one process.

    Files may name another one by `xdist_group`. Those of `native` have stacks and images of their
    own, for which nothing is emulated, or an engine of their own: they run beside `engine`.

    Args:
        path: of its file, below `tests/`.
        marks: the markers it has.
        fixtures: those it uses. Who builds the images must be one process.
    """
    room = path.partition("/")[0]
    if "images" not in fixtures and marks & ROOMS_OF_THEIR_OWN.get(room, set()):
        return room
    if "engine" in marks:
        return "images" if room == "images" or "images" in fixtures else "engine"
    # Each process that runs one of these imports JupyterHub, for a second and a half.
    return HUB if path.startswith(HUB) else path


def pytest_collection_finish() -> None:
    """Leave the modules of all tests, which stay until the end, out of the search for garbage."""
    gc.freeze()


@pytest.hookimpl(tryfirst=True)  # before `-m` selects, and before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is a unit test, and what runs one after another where two processes run tests."""
    for item in items:
        if not {mark.name for mark in item.iter_markers()} & NOT_UNIT:
            item.add_marker(pytest.mark.unit)
        marks = {mark.name for mark in item.iter_markers()}
        if "xdist_group" not in marks:
            path = item.path.relative_to(Path(__file__).parent).as_posix()
            fixtures = item.fixturenames if isinstance(item, pytest.Function) else []
            item.add_marker(pytest.mark.xdist_group(group(path, marks, fixtures)))
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=turn)


def turn(item: pytest.Item) -> int:
    """When the group of a test begins, where two processes run tests."""
    names = [mark.args[0] for mark in item.iter_markers("xdist_group")]
    return BEGIN_WITH.index(names[0]) if names[0] in BEGIN_WITH else len(BEGIN_WITH)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how long the groups took, and when the last test of each ended: none should end alone."""
    took: dict[str, float] = {}
    ended: dict[str, float] = {}
    begin = math.inf
    for report in chain.from_iterable(terminalreporter.stats.values()):
        _, at, name = getattr(report, "nodeid", "").rpartition("@")
        # An `@` of a parameter is in brackets.
        if isinstance(report, pytest.TestReport) and at and "]" not in name:
            took[name] = took.get(name, 0) + report.duration
            ended[name] = max(ended.get(name, 0), report.stop)
            begin = min(begin, report.start)
    for name in sorted(took, key=lambda name: -took[name]):
        if took[name] >= SHOWN:
            terminalreporter.write_line(
                f"{took[name]:6.0f} s of {name}, until {(ended[name] - begin) / 60:.0f} min"
            )


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a short path, for sockets: their paths may have 104 characters.

    Those of `tmp_path` have more in the hundredth run of two tests at a time.
    """
    with TemporaryDirectory(prefix="zhub-") as folder:
        yield Path(folder)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where `CI` is set: nobody would notice that CI skips a test."""
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not reason.removeprefix("Skipped: ").startswith(ACCEPTED_IN_CI):
            report.outcome = "failed"
            report.longrepr = f"skipped in CI, which counts as a failure: {reason}"
    return report
