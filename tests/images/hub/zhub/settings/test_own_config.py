"""The site's own configuration of JupyterHub: read last, and one message when it fails."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from traitlets.config import Config
from zhub import own_config

from tests.images.hub.zhub.settings.conftest import LDAP, problems
from toolchain.places import ROOT

FIX = "Correct the file and run pulumi up; without it: pulumi config rm hubConfigFile"


@pytest.mark.slow
def test_it_is_read_after_all_that_the_hub_sets(config: Any, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "assert get_config() is c\n"
        "c.UserSpawner.debug = c.UserSpawner.disable_user_config\n"
        "c.JupyterHub.load_roles.append({'name': 'own', 'scopes': []})\n"
    )
    found = config(ZHUB_CONFIG_FILE=str(file))
    assert found.UserSpawner.debug is True
    assert found.JupyterHub.load_roles[-1]["name"] == "own"


@pytest.mark.slow
def test_services_of_the_hubs_own_that_it_takes_away_are_named(
    config: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "own.py"
    file.write_text("c.JupyterHub.services.append({'name': 'x'})\nc.JupyterHub.load_roles = []\n")
    config(ZHUB_CONFIG_FILE=str(file))
    [record] = [one for one in caplog.records if one.name == "zhub"]
    assert record.levelno == logging.WARNING
    assert "takes away the role idle-culler, the role metrics, the role people, the role rech" in (
        record.getMessage()
    )


def test_a_file_that_is_not_there_is_refused() -> None:
    [problem] = problems(LDAP | {"ZHUB_CONFIG_FILE": "/nowhere"})
    assert problem == "ZHUB_CONFIG_FILE is '/nowhere', but must be the path of a file"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a = 1\nb = d\n", "line 2: NameError: name 'd' is not defined"),
        ("def f():\n    raise ValueError('no\\nway')\n\nf()", "line 2: ValueError: no way"),
        ("import json\njson.loads('')", "line 2: JSONDecodeError: Expecting value"),
        ("c.A.b = (", "line 1: SyntaxError: '(' was never closed"),
        ("raise SystemExit('enough')", "line 1: SystemExit: enough"),
    ],
)
def test_a_file_that_fails_ends_the_hub_with_one_message(
    text: str, problem: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "own.py"
    file.write_text(text)
    with pytest.raises(SystemExit) as ended:
        own_config.read(file, Config())
    assert ended.value.code == 2
    [record] = caplog.records
    assert record.levelno == logging.CRITICAL
    assert record.getMessage().startswith(f"hubConfigFile: {problem}")
    assert record.getMessage().endswith(FIX)
    assert len(record.getMessage().splitlines()) == 1


@pytest.mark.slow
def test_a_value_that_jupyterhub_does_not_take_is_no_traceback(tmp_path: Path) -> None:
    """JupyterHub as it is run in the container, with nothing but such a file."""
    file = tmp_path / "config.py"
    file.write_text("c.JupyterHub.port = 'high'\n")
    program = (
        "import os, sys; from zhub import logs; from zhub.servers.hub import JupyterHub;"
        " logs.begin(os.environ); JupyterHub.launch_instance(['--config', sys.argv[1]])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(file)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "images" / "hub")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1, done.stderr
    [said] = done.stderr.splitlines()
    assert "Bad config encountered during initialization: The 'port' trait" in said
