"""A home of a stack on a swarm comes back from a backup, also while its user works elsewhere."""

from __future__ import annotations

import pytest

from tests.engine.people import Entrance
from tests.engine.stack import Stack
from tests.engine.swarm.conftest import started_on
from tests.engine.swarm.engines import SwarmEngines

pytestmark = [pytest.mark.engine, pytest.mark.long]


def test_files_of_a_backup_come_into_a_home_that_is_used_on_a_worker(
    engines: SwarmEngines, stack: Stack, entrance: Entrance
) -> None:
    _, one, other = engines.nodes
    user = started_on(one, engines, stack, entrance, "grace").user
    user.save("kept.txt", "of grace")
    saved = stack.make("backup")
    assert saved.returncode == 0, saved.stdout
    [backup] = (stack.project / "backups").iterdir()
    user.stop_server()

    user = started_on(other, engines, stack, entrance, "grace").user
    user.save("kept.txt", "spoilt")
    done = stack.make("restore", FROM=str(backup), USER="grace")
    assert done.returncode == 0, done.stdout
    made = backup.name.rpartition("-")[2]
    assert user.read(f"restored-{made}/kept.txt") == "of grace"
    assert user.read("kept.txt") == "spoilt"
    user.stop_server()
