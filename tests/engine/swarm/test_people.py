"""What operators do with users whose servers run on other machines than the hub."""

from __future__ import annotations

import time

import pytest

from tests.engine.people import Entrance
from tests.engine.stack import Stack
from tests.engine.swarm.conftest import started_on
from tests.engine.swarm.engines import SwarmEngines

pytestmark = [pytest.mark.engine, pytest.mark.long]

#: Writes into the home for as long as the server runs, also when it is asked to end.
WRITES = """
import subprocess
loop = "trap '' TERM; while :; do mkdir -p $HOME/kept; date >$HOME/kept/$$; sleep 0.05; done"
_ = subprocess.Popen(["sh", "-c", loop], start_new_session=True)
"""


def test_one_who_works_on_another_machine_is_forgotten(
    engines: SwarmEngines, stack: Stack, entrance: Entrance
) -> None:
    node = engines.nodes[1]
    user = started_on(node, engines, stack, entrance, "grace").user
    user.save("secret.txt", "of the first grace")
    kernel = user.start_kernel()
    kernel.run(WRITES)
    home = engines.homes / f"{stack.prefix}-home-grace"
    assert (home / "secret.txt").exists()

    stack.environment["ZHUB_YES"] = "1"
    try:
        done = stack.make("users", DO="forget", USER="grace")
    finally:
        del stack.environment["ZHUB_YES"]
    assert done.returncode == 0, done.stdout
    assert not home.exists()
    assert not node.client.containers.list(filters=stack.labelled("notebook", "grace"))
    time.sleep(2)
    assert not home.exists(), "something has written since"

    # That machine still has a volume of the name, and the next person gets nothing by it.
    again = started_on(node, engines, stack, entrance, "grace").user
    assert again.run("import os; print(os.path.exists('secret.txt'))").strip() == "False"
    again.save("new.txt", "of the next grace")
    assert (home / "new.txt").exists()
    again.stop_server()
