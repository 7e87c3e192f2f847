"""What all tests share: their tiers, what may run beside what, and that CI skips nothing."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

#: Fixtures of the images and of containers, for the tests of images, toolchain and engine.
pytest_plugins = ["tests.built"]

#: Skips CI accepts, by the start of their reason. Each names something CI has no way to have.
ACCEPTED_IN_CI = (
    "Pulumi's own plugins are not to be had here",
    "the CLI for s390x takes long to build",
)

#: A test with none of these needs nothing but `.venv`, and is quick: `make test TESTS=unit`.
NOT_UNIT = {"engine", "long", "slow"}

#: The plugins' tests have containers of their own, and get along with whatever else runs.
PLUGINS = Path(__file__).parent / "plugins"


def group(path: Path, marks: set[str]) -> str:
    """What a test belongs to: tests of one group run one after another, in one process.

    Tests with an engine share stacks and images, and what the machine has of processors.
    """
    if "engine" in marks:
        return "plugins" if path.is_relative_to(PLUGINS) else "engine"
    return str(path.relative_to(Path(__file__).parent))


@pytest.hookimpl(tryfirst=True)  # before `-m` selects, and before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is a unit test, and what runs one after another where two processes run tests."""
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        if not marks & NOT_UNIT:
            item.add_marker(pytest.mark.unit)
        if "xdist_group" not in marks:
            item.add_marker(pytest.mark.xdist_group(group(item.path, marks)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where `CI` is set: what CI skips, nobody has seen working."""
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not reason.removeprefix("Skipped: ").startswith(ACCEPTED_IN_CI):
            report.outcome = "failed"
            report.longrepr = f"skipped in CI, which counts as a failure: {reason}"
    return report
