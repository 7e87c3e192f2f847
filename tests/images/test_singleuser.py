"""The start of a user's server: what is imported for it, and what whoever comes later finds."""

from __future__ import annotations

import gc
import importlib
import sys
from pathlib import Path

import docker
import pytest
from zsingleuser import later, stand_in, standing_in, without_collecting

from tests.images.conftest import Images

NAME = "zsingleuser_nowhere"

IN_THE_IMAGE = """
import gc, sys, zsingleuser
named = ["sqlalchemy", "alembic", "jupyterhub.orm", "jupyterhub.roles", "jupyterhub.handlers"]
named += ["requests", "urllib3", "aiodns", "pycares", "httpx", "arrow", "rfc3986_validator"]
start = zsingleuser.singleuser()
print("imported:", [name for name in named if name in sys.modules])
print("collecting:", gc.isenabled(), gc.get_freeze_count() > 100_000)
import jupyterhub.singleuser, jupyterhub.orm, jupyterhub.handlers.pages, sqlalchemy.exc
print("the same entry point:", start == jupyterhub.singleuser.main)
print("afterwards:", jupyterhub.orm.User.__tablename__, sqlalchemy.exc.NoResultFound.__name__)
print(jupyterhub.handlers.pages.HealthCheckHandler.__mro__[1].__name__)
import jupyterlab_server.listings_handler as listings, requests, aiodns
print("requests:", listings.requests.request is requests.request)
from jsonschema import FormatChecker
formats = {"uri": ["https://a.b/c", "a b"], "duration": ["P1DT2H", "1 day"]}
print([FormatChecker().conforms(text, kind) for kind in formats for text in formats[kind]])
from jupyterlab.extensions import get_pypi_manager
print(type(get_pypi_manager({}, {})).__mro__[1].__name__)
"""


@pytest.mark.engine
def test_a_server_imports_nothing_of_the_hub_and_an_extension_may(
    engine: docker.DockerClient, images: Images
) -> None:
    command = ["/opt/jupyter/bin/python3", "-I", "-c", IN_THE_IMAGE]
    printed = engine.containers.run(
        images.notebook, command, platform="linux/s390x", network_mode="none", remove=True
    )
    assert printed.decode().splitlines() == [
        "imported: []",
        "collecting: True True",
        "the same entry point: True",
        "afterwards: users NoResultFound",
        "BaseHandler",
        "requests: True",
        "[True, False, True, False]",
        "ExtensionManager",
    ]


def test_a_stand_in_has_what_it_is_given_and_nothing_else() -> None:
    module = stand_in(NAME, "Error")
    assert issubclass(module.Error, Exception)
    with pytest.raises(AttributeError, match=f"{NAME}.*User"):
        module.User  # noqa: B018


def test_a_later_module_is_imported_when_it_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{NAME}.py").write_text("answer = 42\ndef double(number): return 2 * number")
    monkeypatch.syspath_prepend(tmp_path)
    with standing_in({NAME: later(NAME, "double", Error=ValueError)}):
        module = importlib.import_module(NAME)
        double, error = module.double, module.Error
        with pytest.raises(AttributeError, match=f"{NAME} stands in .* no answer"):
            module.answer  # noqa: B018
    assert NAME not in sys.modules
    assert error is ValueError
    try:
        assert double(number=21) == module.answer == 42
        assert sys.modules[NAME].answer == 42
        with pytest.raises(AttributeError, match=f"{NAME}.*question"):
            module.question  # noqa: B018
    finally:
        sys.modules.pop(NAME, None)


def test_a_stand_in_goes_also_when_an_import_fails() -> None:
    module = stand_in(NAME)
    with standing_in({NAME: module}):
        assert importlib.import_module(NAME) is module
    assert NAME not in sys.modules
    with pytest.raises(ImportError), standing_in({NAME: module}):
        importlib.import_module(f"{NAME}_else")
    assert NAME not in sys.modules


def test_what_is_left_out_cannot_be_imported_meanwhile() -> None:
    sys.modules.pop("this", None)
    with standing_in({"this": None}), pytest.raises(ModuleNotFoundError):
        importlib.import_module("this")
    assert "this" not in sys.modules


def test_what_is_imported_already_is_not_replaced() -> None:
    real = sys.modules["json"]
    with (
        pytest.raises(RuntimeError, match="json is imported already"),
        standing_in({NAME: stand_in(NAME), "json": stand_in("json")}),
    ):
        pass
    assert NAME not in sys.modules
    assert sys.modules["json"] is real


def test_garbage_is_collected_again_also_after_a_failure() -> None:
    def imports() -> None:
        assert not gc.isenabled()
        raise ImportError

    frozen = gc.get_freeze_count()
    try:
        with pytest.raises(ImportError), without_collecting():
            imports()
        assert gc.isenabled()
        assert gc.get_freeze_count() > frozen
    finally:
        gc.unfreeze()
