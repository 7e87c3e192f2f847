"""The command of the page on networks sets the pool, and what messages offer is such a command."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.settings.networks import offered
from tests.components.stack_config import DEMO, read
from tests.docs.commands import runs
from tests.toolchain.conftest import config_as_typed

pytestmark = pytest.mark.slow


def test_a_pool_is_set_as_the_page_and_messages_print_it(tmp_path: Path) -> None:
    on_the_page = runs("docs/networks.md", "Choose a pool", "pulumi config")
    for number, commands in enumerate((on_the_page, [offered([])])):
        folder = tmp_path / str(number)
        folder.mkdir()
        found = config_as_typed(folder, commands)
        pool = found["zhub:userNetworkPool"]
        assert pool in "".join(commands)
        settings, config = read(DEMO | {"zhub:userNetworkPool": pool})
        assert not config.problems
        assert settings.users.network_pool == pool
