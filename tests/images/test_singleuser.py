"""The start of a user's server: what is imported for it, and what whoever comes later finds."""

from __future__ import annotations

import importlib
import sys

import docker
import pytest
from zsingleuser import stand_in, standing_in

from tests.images.conftest import Images

NAME = "zsingleuser_nowhere"

IN_THE_IMAGE = """
import sys, zsingleuser
hub = ["sqlalchemy", "alembic", "jupyterhub.orm", "jupyterhub.roles", "jupyterhub.handlers"]
start = zsingleuser.singleuser()
print("imported:", [name for name in hub if name in sys.modules])
import jupyterhub.singleuser, jupyterhub.orm, jupyterhub.handlers.pages, sqlalchemy.exc
print("the same entry point:", start == jupyterhub.singleuser.main)
print("afterwards:", jupyterhub.orm.User.__tablename__, sqlalchemy.exc.NoResultFound.__name__)
print(jupyterhub.handlers.pages.HealthCheckHandler.__mro__[1].__name__)
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
        "the same entry point: True",
        "afterwards: users NoResultFound",
        "BaseHandler",
    ]


def test_a_stand_in_has_what_it_is_given_and_nothing_else() -> None:
    module = stand_in(NAME, "Error")
    assert issubclass(module.Error, Exception)
    with pytest.raises(AttributeError, match=f"{NAME}.*User"):
        module.User  # noqa: B018


def test_a_stand_in_goes_also_when_an_import_fails() -> None:
    module = stand_in(NAME)
    with standing_in([module]):
        assert importlib.import_module(NAME) is module
    assert NAME not in sys.modules
    with pytest.raises(ImportError), standing_in([module]):
        importlib.import_module(f"{NAME}_else")
    assert NAME not in sys.modules


def test_what_is_imported_already_is_not_replaced() -> None:
    with (
        pytest.raises(RuntimeError, match="json is imported already"),
        standing_in([stand_in(NAME), stand_in("json")]),
    ):
        pass
    assert NAME not in sys.modules
