"""Measure `make backup` and `make restore` of a stack whose users have much in their homes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker

from tests.engine.conftest import CONFIG, stack_in_checkout
from tests.engine.counting import Count, Work
from tests.engine.people import logged_in
from tests.engine.stack import Stack
from tests.ports import free_port
from toolchain import base
from toolchain.backup.engine import Engine
from toolchain.engine import client

MB = 1_000_000

#: MB in each user's home.
HOMES = {**{f"user{number}": 100 for number in range(20)}, "large": 2000}

#: Fills a home with files of 10 MB: half of them numbers as text, half of what nothing compresses.
FILL = """
cd /home/jovyan
for number in $(seq {files}); do
    if [ $((number % 2)) = 0 ]; then seq -f %.3f 1 0.007 99999999; else cat /dev/urandom; fi \
    | head -c 10000000 > data-$number
done
chown -R 1000:100 .
"""


@dataclass(frozen=True)
class Measured:
    """One backup, made while somebody was at work, and its restore."""

    size: float
    """MB."""
    backup: float
    """Seconds."""
    slowest: float
    """Seconds: the slowest request to a user's server while the backup was made."""
    restore: float
    """Seconds."""


def measure(engine: docker.DockerClient, platform: str) -> Measured:
    """Back up one throw-away stack, and restore it into another.

    Raises:
        RuntimeError: when either fails, or somebody at work lost a request or a kernel's line.
    """
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "backups"
        with _stack(engine, "bench-backup", Path(folder) / "first", platform) as stack:
            for user, size in HOMES.items():
                _fill(engine, stack, user, size)
            alice = logged_in(stack, "alice")
            alice.start_server()
            with Work(alice).counted() as count:
                backup = _seconds(stack, "backup", TO=str(kept))
            _check(count)
            [made] = kept.iterdir()
        size = sum(file.stat().st_size for file in made.rglob("*") if file.is_file())
        with _stack(engine, "bench-restored", Path(folder) / "second", platform) as stack:
            restore = _seconds(stack, "restore", FROM=str(made))
            found = engine.volumes.list(filters=stack.labelled("home"))
            if len(found) != len(HOMES) + 1:
                raise RuntimeError(f"{len(found)} homes were restored")
    return Measured(size / MB, backup, count.slowest, restore)


@contextmanager
def _stack(engine: docker.DockerClient, name: str, folder: Path, platform: str) -> Iterator[Stack]:
    config = CONFIG | {"port": free_port(), "platform": platform}
    if platform != f"linux/{base.TARGET_ARCHITECTURE}":
        config["baseImage"] = base.BUILD
    folder.mkdir()
    yield from stack_in_checkout(engine, name, folder, config)


def _fill(engine: docker.DockerClient, stack: Stack, user: str, size: int) -> None:
    volume = f"{stack.prefix}-home-{user}"
    Engine((client(),), stack.prefix).make_home(volume, user, mounted=True)
    engine.containers.run(
        base.BUILD,
        ["-c", FILL.format(files=size // 10)],
        entrypoint="sh",
        volumes={volume: {"bind": "/home/jovyan", "mode": "rw"}},
        network_mode="none",
        remove=True,
    )


def _seconds(stack: Stack, command: str, **variables: str) -> float:
    begin = time.monotonic()
    done = stack.make(command, **variables)
    if done.returncode:
        raise RuntimeError(f"make {command} failed:\n{done.stdout}")
    return time.monotonic() - begin


def _check(count: Count) -> None:
    if count.failed or count.closed or not count.complete:
        raise RuntimeError(f"somebody at work noticed the backup: {count}")
