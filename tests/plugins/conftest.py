"""Fixtures of the docker plugin's tests. All but `tell` need a real engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.plugins.docker_tools import (
    IMAGE,
    TINY,
    engine_or_skip,
    new_name,
    remove_all,
    tiny_context,
)
from tests.plugins.plugin_driver import Plugin, running
from tests.plugins.told_engine import Answers, Tell, Told, api_of
from tests.unix_http import serving


@pytest.fixture(scope="session")
def engine() -> Any:
    """The real engine's API, asked beside the plugin to see what is really there."""
    return engine_or_skip()


@pytest.fixture(scope="module")
def docker(engine: Any) -> Iterator[Plugin]:
    """A running docker plugin on the default engine."""
    with running("plugins.docker", {}) as plugin:
        yield plugin


@pytest.fixture(scope="session")
def tiny(engine: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of an image with a shell and not much more, built by the plugin."""
    folder = tiny_context(tmp_path_factory.mktemp("tiny"))
    with running("plugins.docker", {}) as plugin:
        plugin.create(
            IMAGE, {"imageName": TINY, "skipPush": True, "build": {"context": str(folder)}}
        )
    return TINY


@pytest.fixture
def name(engine: Any) -> Iterator[str]:
    """A name of the test's own; all on the engine that is called so is gone afterwards."""
    name = new_name()
    yield name
    remove_all(engine, name)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """The build context of the tiny image."""
    return tiny_context(tmp_path / "context")


@pytest.fixture
def tell(short_folder: Path) -> Iterator[Tell]:
    """Engines that answer what they are told to."""
    with ExitStack() as servers:

        def start(answers: Answers) -> Told:
            socket = short_folder / "engine.sock"
            told = Told(socket, answers)
            servers.enter_context(serving(socket, api_of(told)))
            return told

        yield start
