"""The commands of the page on homes set a volume driver, and the settings take it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.components.stack_config import DEMO, read
from tests.docs.commands import runs
from tests.toolchain.conftest import config_as_typed

pytestmark = pytest.mark.slow


def test_a_volume_driver_is_set_as_the_page_prints_it(tmp_path: Path) -> None:
    commands = runs("docs/homes.md", "Homes of a volume driver", "pulumi config")
    found = config_as_typed(tmp_path, commands)
    typed = {"zhub:homesOptions": json.dumps(found["zhub:homesOptions"])}
    settings, config = read(DEMO | typed | {"zhub:homesDriver": found["zhub:homesDriver"]})
    assert not config.problems
    assert settings.users.homes.driver == "local"
    assert len(settings.users.homes.options) == len(commands) - 1
