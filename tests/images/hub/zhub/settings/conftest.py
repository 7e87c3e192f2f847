"""Settings of a hub, read as the container reads them."""

from __future__ import annotations

import os
from typing import Any

import pytest
from jupyterhub import roles
from traitlets.config.loader import PyFileConfigLoader
from zhub import settings
from zhub.settings import SettingsError

from toolchain.places import ROOT

CONFIG = ROOT / "images/hub/zhub/jupyterhub_config.py"
LDAP = {"ZHUB_LDAP_SERVERS": "ldap.example.org"}


def problems(environment: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        settings.read(environment)
    return caught.value.problems


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Loads JupyterHub's configuration as JupyterHub does, with additional variables."""

    def load(**variables: str) -> Any:
        for name in [name for name in os.environ if name.startswith("ZHUB_")]:
            monkeypatch.delenv(name)
        for name, value in (LDAP | variables).items():
            monkeypatch.setenv(name, value)
        # The config keeps administrators out in the whole process: here, until the test ends.
        monkeypatch.setattr(roles, "get_default_roles", roles.get_default_roles)
        return PyFileConfigLoader(str(CONFIG)).load_config()

    return load
