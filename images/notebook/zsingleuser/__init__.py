"""Starts JupyterHub's single-user server without modules that it imports but does not use.

jupyterhub.singleuser imports the hub's request handlers, and with them its database models,
SQLAlchemy and Alembic: 300 of 1100 modules, and a third of the time until a server answers. A
server needs them for one `isinstance`, one `except` and functions that only a hub calls. Other
modules that it may need later are imported then.
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
    """Return a module that has only these classes; any other attribute is an AttributeError."""
    module = ModuleType(name)
    for each in classes:
        # An exception class, because one of them is used in `except`: it has no instances.
        setattr(module, each, type(each, (Exception,), {"__module__": name}))
    return module


def later(name: str, *calls: str, **known: type) -> ModuleType:
    """Return a module that imports the real one when it is first used.

    The real one can be imported only after `standing_in` has ended. Until then, this module has
    `calls`, functions and classes to be called later, and the classes in `known`.
    importlib.util.LazyLoader would not work: `import` itself reads attributes of the module it
    finds, which would load it.
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
    # JupyterHub's own, and SQLAlchemy: used in its log.py, metrics.py, scopes.py and utils.py.
    stand_in("jupyterhub.handlers.pages", "HealthCheckHandler"),
    stand_in("jupyterhub.orm"),
    stand_in("jupyterhub.roles"),
    stand_in("sqlalchemy"),
    stand_in("sqlalchemy.exc", "SQLAlchemyError"),
    # For lists of allowed extensions and for extensions from PyPI: this image uses neither.
    later("requests"),
    later("jupyterlab.extensions.pypi", "PyPIExtensionManager"),
    # For formats that few JSON schemas use; DurationParsingException is a ValueError.
    later("isoduration", DurationParsingException=ValueError),
    later("rfc3986_validator", "validate_rfc3986"),
)

#: What JupyterLab shows as the name of its extension manager.
EXTENSIONS = (
    "read-only: extensions come with the image, those in a home are not loaded; ask your"
    " administrator to add one (notebookRequirements)"
)

#: Modules that imports find while a server is imported; None makes an import fail. Without aiodns,
#: aiohttp resolves names with the system's resolver.
STAND_INS: Mapping[str, ModuleType | None] = {
    **{module.__name__: module for module in _MODULES},
    "aiodns": None,
}


@contextmanager
def standing_in(modules: Mapping[str, ModuleType | None]) -> Iterator[None]:
    """Make imports find these modules; afterwards imports, as by extensions, find the real ones.

    Raises:
        RuntimeError: when one of the real modules is imported already.
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
    """Turn garbage collection off; at the end, exclude all existing objects from it.

    Imported modules stay, and scanning them again and again takes a tenth of the import time.
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
        auth: Any = import_module("jupyterhub.services.auth")
        from jupyterhub.singleuser import main
    # Not before: it imports Tornado, which the first process does without.
    patience: Any = import_module("zsingleuser.patience")
    patience.be_patient(auth.HubAuth)
    handlers.get_exporter = partial(_get_exporter, handlers.get_exporter)
    readonly: Any = import_module("jupyterlab.extensions.readonly")
    manager: Any = import_module("jupyterlab.extensions.manager")
    readonly.ReadOnlyExtensionManager.metadata = manager.ExtensionManagerMetadata(
        EXTENSIONS, install_path=sys.prefix
    )
    start: Callable[[], None] = main
    return start


def _get_exporter(get_exporter: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Return an exporter of notebooks that imports nothing that a notebook names.

    The "script" exporter takes the name of another exporter from the notebook's metadata. It would
    import and call any name with a dot in it, such as IPython.embed, in the server's process.
    Exporters that are registered as entry points of nbconvert still work.
    """
    base: Any = import_module("nbconvert.exporters.base")
    base.import_item = _import_nothing
    return get_exporter(*arguments, **options)


def _import_nothing(name: str) -> Any:
    raise ImportError(f"{name} is not imported: a notebook must not choose what its server runs")


def wait_for(url: str, seconds: float = 600) -> None:
    """Wait until the URL's port accepts connections, or the seconds have passed.

    A server may have loaded before it has a network: on a machine with too much to do, minutes
    before. JupyterHub would try once, log a traceback and sleep for two seconds. When nothing ever
    listens, JupyterHub's own error reports it, unless the hub has removed the server by then.
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
