"""While no log server answers, containers with the stack's own options run and end all the same."""

from __future__ import annotations

import time
from collections.abc import Iterator

import docker
import pytest
from docker.models.containers import Container
from docker.types import LogConfig

from components.settings.logs import DEFAULTS, Driver
from tests.built import wait_until
from tests.engine.conftest import CONFIG
from tests.ports import free_port

pytestmark = pytest.mark.engine

NAME = "zhub-e2e-log-server"
PROGRAM = "trap 'exit 0' TERM; while :; do echo a line; sleep 0.1; done"
SECONDS = 15
"""Twice what an engine takes that is busy with other tests."""


@pytest.fixture(
    params=[(Driver.FLUENTD, "fluentd-address", ""), (Driver.SYSLOG, "syslog-address", "udp://")]
)
def logging(engine: docker.DockerClient, request: pytest.FixtureRequest) -> Iterator[Container]:
    driver, option, scheme = request.param
    options = {**DEFAULTS[driver], option: f"{scheme}127.0.0.1:{free_port()}"}
    made = engine.containers.run(
        CONFIG["buildImage"],
        ["sh", "-c", PROGRAM],
        name=NAME,
        detach=True,
        network_mode="none",
        log_config=LogConfig(type=driver, config=options),
    )
    yield made
    made.remove(force=True)


def test_it_holds_nobody_up(logging: Container) -> None:
    wait_until(lambda: logging.logs().count(b"a line") > 10, seconds=SECONDS)
    began = time.monotonic()
    logging.stop(timeout=2 * SECONDS)
    assert time.monotonic() - began < SECONDS
    logging.reload()
    assert logging.attrs["State"]["ExitCode"] == 0, "it has ended by itself"
    assert logging.logs(tail=1) == b"a line\n"
