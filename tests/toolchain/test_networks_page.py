"""The command of the page on networks sets the pool, and what messages offer is such a command."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from components.settings.networks import offered
from tests.components.stack_config import DEMO, read
from tests.docs.commands import as_typed, runs
from tests.engine.stack import Stack
from tests.toolchain.conftest import require_toolchain

pytestmark = pytest.mark.slow


def test_a_pool_is_set_as_the_page_and_messages_print_it(tmp_path: Path) -> None:
    require_toolchain()
    stack = Stack("e2e-pool", tmp_path)
    stack.init({})
    for commands in (runs("docs/networks.md", "Choose a pool", "pulumi config"), [offered([])]):
        stack.shell(as_typed(commands, stack.name, stack.config_file))
        found = yaml.safe_load(stack.config_file.read_text())["config"]
        pool = found["zhub:userNetworkPool"]
        assert pool in "".join(commands)
        settings, config = read(DEMO | {"zhub:userNetworkPool": pool})
        assert not config.problems
        assert settings.users.network_pool == pool
