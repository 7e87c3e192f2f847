"""The commands of the page on shared folders make the stack that it describes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.components.stack_config import DEMO, read
from tests.docs.commands import runs
from tests.toolchain.conftest import config_as_typed

pytestmark = pytest.mark.slow


def test_a_folder_is_set_as_the_page_prints_it(tmp_path: Path) -> None:
    team = runs("docs/shared-folders.md", "A folder for a team", "pulumi config")
    root = runs("docs/shared-folders.md", "A folder of the engine's machine", "pulumi config")
    found = config_as_typed(tmp_path, [*team, *root])
    assert found.pop("zhub:sharedRoot") == "/srv/shared"
    folders = found["zhub:sharedFolders"]
    settings, config = read(DEMO | {"zhub:sharedFolders": json.dumps(folders)})
    assert not config.problems
    [folder] = settings.users.folders.folders
    assert (folder.name, folder.mode) == ("research", "read-write")
    assert folder.groups == ("cn=research,ou=groups,dc=example,dc=org",)
