"""Starts JupyterHub's single-user server without what a server imports and does not use.

jupyterhub.singleuser imports the hub's request handlers, and with them its database models,
SQLAlchemy and Alembic: 300 of 1100 modules, and a third of the time until a server answers. A
server needs them for one `isinstance`, one `except` and functions that only a hub calls. What it
may need one day is imported then.
"""

from __future__ import annotations

import gc
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit


def stand_in(name: str, *classes: str) -> ModuleType:
    """Return a module that has nothing but some classes; whoever looks for more gets an error."""
    module = ModuleType(name)
    for each in classes:
        # An exception, as one of them has to be: nothing is an instance, nobody raises it.
        setattr(module, each, type(each, (Exception,), {"__module__": name}))
    return module


def later(name: str, *calls: str, **known: type) -> ModuleType:
    """Return a module that is imported when it is first asked for something.

    That is, once it no longer stands in: until then it has functions and classes that are called
    later, and what is known of it. importlib.util.LazyLoader would not do: `import` itself asks the
    module that it finds.
    """
    module = ModuleType(name)

    def ask(attribute: str) -> Any:
        if sys.modules.get(name) is module:
            raise AttributeError(f"{name} stands in for a module and has no {attribute}")
        return getattr(import_module(name), attribute)

    def call(function: str, /, *arguments: Any, **options: Any) -> Any:
        return ask(function)(*arguments, **options)

    module.__dict__.update({function: partial(call, function) for function in calls}, **known)
    module.__getattr__ = ask  # type: ignore[method-assign] # PEP 562
    return module


_MODULES = (
    # JupyterHub's own, and SQLAlchemy: named in its log.py, metrics.py, scopes.py and utils.py.
    stand_in("jupyterhub.handlers.pages", "HealthCheckHandler"),
    stand_in("jupyterhub.orm"),
    stand_in("jupyterhub.roles"),
    stand_in("sqlalchemy"),
    stand_in("sqlalchemy.exc", "SQLAlchemyError"),
    # For lists of allowed extensions and for PyPI's: this image has neither.
    later("requests"),
    later("jupyterlab.extensions.pypi", "PyPIExtensionManager"),
    # For formats that few of jsonschema's schemas have; DurationParsingException is a ValueError.
    later("isoduration", DurationParsingException=ValueError),
    later("rfc3986_validator", "validate_rfc3986"),
)

#: What imports find while a server is imported, None for nothing: without aiodns, aiohttp has the
#: system look up names.
STAND_INS: Mapping[str, ModuleType | None] = {
    **{module.__name__: module for module in _MODULES},
    "aiodns": None,
}


@contextmanager
def standing_in(modules: Mapping[str, ModuleType | None]) -> Iterator[None]:
    """Have imports find these modules, or none; afterwards the real ones, as extensions may.

    Raises:
        RuntimeError: when one of the real ones is imported already.
    """
    for name in modules:
        if name in sys.modules:
            raise RuntimeError(f"{name} is imported already")
    # None makes an import fail: https://docs.python.org/3/reference/import.html#the-module-cache
    sys.modules.update(modules)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]


@contextmanager
def without_collecting() -> Iterator[None]:
    """Collect no garbage for a while, and never look through what is there at its end.

    What is imported stays: to look through it again and again is a tenth of the time it takes.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def singleuser() -> Callable[[], None]:
    """Return JupyterHub's entry point of a user's server, with JupyterLab imported as well."""
    with without_collecting(), standing_in(STAND_INS):
        import_module("jupyterlab.labapp")
        handlers: Any = import_module("jupyter_server.nbconvert.handlers")
        from jupyterhub.singleuser import main
    handlers.get_exporter = partial(_get_exporter, handlers.get_exporter)
    start: Callable[[], None] = main
    return start


def _get_exporter(get_exporter: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Return what exports notebooks, which then imports nothing that a notebook names.

    The "script" exporter takes another exporter's name from the notebook's metadata, and would
    import and call anything with a dot in it, IPython.embed for one, in the server's process. Those
    with a name of their own (nbconvert's entry points) stay.
    """
    base: Any = import_module("nbconvert.exporters.base")
    base.import_item = _import_nothing
    return get_exporter(*arguments, **options)


def _import_nothing(name: str) -> Any:
    raise ImportError(f"{name} is not imported: a notebook does not choose what its server runs")


def wait_for(url: str, seconds: float = 30) -> None:
    """Wait until somebody listens there, but no longer than some seconds.

    A server may have loaded before it has a network. JupyterHub would ask once, log a traceback and
    sleep for two seconds; when nobody ever listens, it is left to say so.
    """
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            socket.create_connection((parts.hostname, port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
