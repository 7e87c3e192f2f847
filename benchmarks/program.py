"""Measure `pulumi up` and `pulumi preview` of a stack where nothing has changed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import docker

from tests.engine.conftest import CONFIG, running_stack
from tests.ports import free_port
from toolchain import base


def unchanged(
    engine: docker.DockerClient, platform: str, repeats: int
) -> tuple[list[float], list[float]]:
    """Seconds of each `up` and each `preview` on a throw-away stack for a platform.

    Raises:
        PulumiError: when one of them fails, or finds a change.
    """
    config = CONFIG | {"port": free_port(), "platform": platform}
    if platform != f"linux/{base.TARGET_ARCHITECTURE}":
        config["baseImage"] = base.BUILD
    with (
        tempfile.TemporaryDirectory() as folder,
        contextmanager(running_stack)(engine, "bench", Path(folder), config) as stack,
    ):

        def seconds(run: Callable[[], object]) -> float:
            begin = time.monotonic()
            run()
            return time.monotonic() - begin

        ups = [seconds(lambda: stack.up("--expect-no-changes")) for _ in range(repeats)]
        preview = ("preview", "--expect-no-changes")
        previews = [seconds(lambda: stack.on_stack(*preview)) for _ in range(repeats)]
    return ups, previews
