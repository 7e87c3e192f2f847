"""Starts JupyterHub's single-user server without the hub's own code.

jupyterhub.singleuser imports the hub's request handlers, and with them its database models,
SQLAlchemy and Alembic: 300 of 1100 modules, and a third of the time until a server answers. A
server needs them for one `isinstance`, one `except` and functions that only a hub calls.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType


def stand_in(name: str, *classes: str) -> ModuleType:
    """Return a module that has nothing but some classes; whoever looks for more gets an error."""
    module = ModuleType(name)
    for each in classes:
        # An exception, as one of them has to be: nothing is an instance, nobody raises it.
        setattr(module, each, type(each, (Exception,), {"__module__": name}))
    return module


#: What the modules that a server needs name where they are imported (JupyterHub 6.1: log.py,
#: metrics.py, scopes.py and utils.py).
STAND_INS = (
    stand_in("jupyterhub.handlers.pages", "HealthCheckHandler"),
    stand_in("jupyterhub.orm"),
    stand_in("jupyterhub.roles"),
    stand_in("sqlalchemy"),
    stand_in("sqlalchemy.exc", "SQLAlchemyError"),
)


@contextmanager
def standing_in(modules: Sequence[ModuleType]) -> Iterator[None]:
    """Have imports find these modules; afterwards they find the real ones, as extensions may.

    Raises:
        RuntimeError: when one of the real ones is imported already.
    """
    for module in modules:
        if module.__name__ in sys.modules:
            raise RuntimeError(f"{module.__name__} is imported already")
    sys.modules.update({module.__name__: module for module in modules})
    try:
        yield
    finally:
        for module in modules:
            del sys.modules[module.__name__]


def singleuser() -> Callable[[], None]:
    """Return JupyterHub's entry point of a user's server."""
    with standing_in(STAND_INS):
        from jupyterhub.singleuser import main
    start: Callable[[], None] = main
    return start
