"""Secrets are secrets to Pulumi from where they are read, not only where somebody thinks of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pulumi
import pytest

from tests.components.stack_config import SITE, read
from tests.pki import Identity, quick_key


async def opened(value: object) -> tuple[object, bool]:
    assert isinstance(value, pulumi.Output)
    return await value.future(), await value.is_secret()


@pytest.mark.parametrize("key", ["tlsKeyFile", "tlsKey"])
def test_settings_mark_what_is_secret(tmp_path: Path, key: str) -> None:
    Identity.create("hub.example.com", key=quick_key()).write(tmp_path, "hub")
    file = tmp_path / "hub.key"
    config = SITE | {
        "zhub:ldapBindDn": "cn=hub,dc=example,dc=com",
        "zhub:ldapBindPassword": "grün & blau",
        "zhub:tlsCertFile": str(tmp_path / "hub.crt"),
        f"zhub:{key}": str(file) if key == "tlsKeyFile" else file.read_text(),
        "zhub:registry": "registry.example.com/jupyter",
        "zhub:registryUsername": "builder",
        "zhub:registryPassword": "correct horse",
    }
    encrypted = ("zhub:ldapBindPassword", "zhub:registryPassword", "zhub:tlsKey")
    settings, declared = read(config, secret=encrypted)
    assert declared.problems == []
    assert settings.ldap
    assert settings.key_pair
    assert settings.build.registry
    run = asyncio.get_event_loop().run_until_complete
    assert run(opened(settings.ldap.bind_password)) == ("grün & blau", True)
    assert run(opened(settings.key_pair.key_pem)) == (file.read_text(), True)
    assert run(opened(settings.build.registry.password)) == ("correct horse", True)
