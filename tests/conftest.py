"""For all tests: an engine test that cannot run says why, and in CI that is a failure."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

#: Fixtures of the images and of containers, for the tests of images, toolchain and engine.
pytest_plugins = ["tests.built"]

#: Skips that CI accepts, by the start of their reason: CI cannot have what they need.
ACCEPTED_IN_CI = (
    "Pulumi's own plugins are not to be had here",
    "the CLI for s390x takes long to build",
    "no S3 server here",
    "no actionlint here",
)


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
