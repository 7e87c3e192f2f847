"""The commands of the page on homes set a volume driver, and the settings take it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.components.stack_config import DEMO, read
from tests.docs.commands import as_typed, runs
from tests.engine.stack import Stack
from tests.toolchain.conftest import require_toolchain

pytestmark = pytest.mark.slow


def test_a_volume_driver_is_set_as_the_page_prints_it(tmp_path: Path) -> None:
    require_toolchain()
    stack = Stack("e2e-driver", tmp_path)
    stack.init({})
    commands = runs("docs/homes.md", "Homes of a volume driver", "pulumi config")
    stack.shell(as_typed(commands, stack.name, stack.config_file))
    found = yaml.safe_load(stack.config_file.read_text())["config"]
    typed = {"zhub:homesOptions": json.dumps(found["zhub:homesOptions"])}
    settings, config = read(DEMO | typed | {"zhub:homesDriver": found["zhub:homesDriver"]})
    assert not config.problems
    assert settings.users.homes.driver == "local"
    assert len(settings.users.homes.options) == len(commands) - 1
