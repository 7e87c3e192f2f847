"""While no log server answers, containers with the stack's own options run and end all the same.

One that answers and then takes nothing is another matter.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

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


def started(engine: docker.DockerClient, driver: Driver, program: str, **options: str) -> Container:
    """Run a program whose lines go to a log server, with what a stack sets for the driver."""
    return engine.containers.run(
        CONFIG["buildImage"],
        ["sh", "-c", program],
        name=NAME,
        detach=True,
        network_mode="none",
        log_config=LogConfig(type=driver, config={**DEFAULTS[driver], **options}),
    )


@pytest.fixture(
    params=[(Driver.FLUENTD, "fluentd-address", ""), (Driver.SYSLOG, "syslog-address", "udp://")]
)
def logging(engine: docker.DockerClient, request: pytest.FixtureRequest) -> Iterator[Container]:
    driver, option, scheme = request.param
    made = started(engine, driver, PROGRAM, **{option: f"{scheme}127.0.0.1:{free_port()}"})
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


#: Logs 20 MB, more than engine and connection keep, and says that it has.
CHATTERS = """
trap 'exit 0' TERM
for n in $(seq 20000); do printf '%0999d\\n' 0; done
: >/done
while :; do sleep 0.1; done
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("driver", "option", "scheme"),
    [(Driver.FLUENTD, "fluentd-address", ""), (Driver.SYSLOG, "syslog-address", "tcp://")],
)
def test_one_that_hangs_holds_up_who_ends_and_nobody_else(
    engine: docker.DockerClient, driver: Driver, option: str, scheme: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor() as threads:
        address = f"{scheme}127.0.0.1:{server.getsockname()[1]}"
        made = started(engine, driver, CHATTERS, **{option: address})
        try:
            done = ["test", "-e", "/done"]
            wait_until(lambda: made.exec_run(done).exit_code == 0, seconds=4 * SECONDS)
            stopped = threads.submit(made.stop, timeout=1)
            with pytest.raises(TimeoutError):
                # If it does not wait any more, correct docs/logs.md.
                stopped.result(timeout=SECONDS)
            assert NAME in {one["Names"][0][1:] for one in engine.api.containers()}
        finally:
            server.close()
            # As where the log server is restarted: its connections end.
            made.remove(force=True)
        stopped.exception(timeout=SECONDS)
