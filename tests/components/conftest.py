"""What tests of the program start from."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from components.settings import routes
from tests.components.recorder import Recording, run
from tests.components.stacks import DEMO, REGISTRY_PASSWORD, SITE
from tests.pki import Identity, quick_key


@pytest.fixture(autouse=True, scope="module")
def event_loop() -> Iterator[None]:
    """Give the main thread an event loop: Pulumi's mocks take the one that is there.

    `asyncio.run`, in whatever test came before, leaves none.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture(autouse=True)
def no_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever routes this machine has, there are none, so that they warn of nothing."""
    monkeypatch.setattr(routes, "FIB_TRIE", Path("/nonexistent"))


@cache
def recorded(stack: str) -> Recording:
    return run({"demo": DEMO, "site": SITE}[stack])


@pytest.fixture(scope="module")
def demo() -> Recording:
    return recorded("demo")


@pytest.fixture(scope="module")
def site() -> Recording:
    return recorded("site")


@pytest.fixture
def brought(tmp_path: Path) -> dict[str, str]:
    """Config of a stack with a certificate of its own, and a registry."""
    Identity.create("hub.example.com", key=quick_key()).write(tmp_path, "hub")
    Identity.create("ldap.example.com", key=quick_key()).write(tmp_path, "ldap-ca")
    return SITE | {
        "zhub:tlsCertFile": str(tmp_path / "hub.crt"),
        "zhub:tlsKeyFile": str(tmp_path / "hub.key"),
        "zhub:ldapCaFile": str(tmp_path / "ldap-ca.crt"),
        "zhub:registry": "registry.example.com:5000/jupyter",
        "zhub:registryUsername": "builder",
        "zhub:registryPassword": REGISTRY_PASSWORD,
    }
