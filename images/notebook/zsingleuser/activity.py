"""Says when a server was last in use: its hub stops servers that nobody uses.

Jupyter's own answer is wrong in both directions. A cell that computes for hours and prints nothing
does not count. Requests that an open page repeats every few seconds, for its lists of files and
kernels, count as if somebody was there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

INTERVAL = 60
"""Seconds between two reports to the hub; JupyterHub spreads them by a tenth."""

PERSON = "person_last_activity"
"""Name of the server's setting with the time of a person's last request."""

REPEATED = "api_last_activity"
"""Name of Jupyter's own, which counts requests that open pages repeat as well."""

_CHANGED_BY_PEOPLE = ("api/contents", "api/kernels", "api/sessions", "api/terminals")
"""Where a request that changes something comes from a person, or from a program that works for one.
Extensions repeat such requests elsewhere, as jupyterlab-git does."""


def by_person(method: str, uri: str, accept: str) -> bool:
    """Return whether somebody made a request, rather than a page that is merely open.

    Args:
        method: of the request.
        uri: behind the server's own path.
        accept: what the browser says that it takes.
    """
    parts = urlsplit(uri)
    if method not in {"GET", "HEAD", "OPTIONS"}:
        return parts.path.startswith(_CHANGED_BY_PEOPLE)
    if "text/html" in accept:
        # A page or a download, opened in the browser itself.
        return True
    wanted = parse_qs(parts.query)
    opened = wanted.get("type") in (["file"], ["notebook"]) and wanted.get("content") == ["1"]
    return opened and parts.path.startswith("api/contents/")


def runs_programs(shells: Iterable[int], processes: Path = Path("/proc")) -> bool:
    """Return whether a program runs in one of these terminals, in the foreground or not.

    Args:
        shells: process IDs of the terminals' shells, each of which leads a session of its own.
        processes: where the system lists them, proc(5).
    """
    leaders = set(shells)
    for file in processes.glob("[0-9]*/stat"):
        try:
            text = file.read_text(errors="replace")
        except OSError:
            continue  # ended meanwhile
        # Behind the name, which may contain anything.
        state, _, _, session = text.rpartition(")")[2].split()[:4]
        working = state not in {"T", "t", "Z", "X"}  # neither stopped nor ended
        if working and int(session) in leaders and int(file.parent.name) not in leaders:
            return True
    return False


def last_activity(settings: Mapping[str, Any]) -> datetime:
    """Return when a server with these settings was last in use; now, while something is computed.

    As Jupyter's own it counts what kernels print and what is typed into terminals.
    """
    kernels = settings["kernel_manager"]
    busy = any(
        getattr(kernels.get_kernel(one), "execution_state", "") == "busy"
        for one in kernels.list_kernel_ids()
    )
    terminals = getattr(settings.get("terminal_manager"), "terminals", {})
    if busy or runs_programs([one.ptyproc.pid for one in list(terminals.values())]):
        return datetime.now(UTC)
    times: list[datetime] = [
        settings["started"],
        kernels.last_kernel_activity,
        *settings["last_activity_times"].values(),
    ]
    for name, value in settings.items():
        if name.endswith("_last_activity") and name != REPEATED:
            times.append(value)
    return max(times)


def install() -> None:
    """Make Jupyter's server use the above; after it is imported."""
    application: Any = import_module("jupyter_server.serverapp").ServerWebApplication
    application.last_activity = lambda self: last_activity(self.settings)
    application.log_request = _noting(application.log_request)
    kernel: Any = import_module("jupyter_server.services.kernels.kernelmanager").ServerKernelManager
    # While a kernel starts, it has no time yet, and the list of kernels would be an error 500.
    kernel._last_activity_default = lambda _: datetime.now(UTC)  # noqa: SLF001


def _noting(log_request: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    def noting(application: Any, handler: Any) -> None:
        request = handler.request
        uri = request.uri.removeprefix(application.settings["base_url"])
        if by_person(request.method, uri, request.headers.get("Accept", "")):
            application.settings[PERSON] = datetime.now(UTC)
        log_request(application, handler)

    return noting


def options(environment: Mapping[str, str]) -> list[str]:
    """Return the server's options for when it ends kernels that nobody uses."""
    seconds = int(environment.get("ZHUB_KERNEL_IDLE_TIMEOUT") or 0)
    if not seconds:
        return []
    manager = "--MappingKernelManager"
    return [
        f"{manager}.cull_idle_timeout={seconds}",
        f"{manager}.cull_interval={min(seconds // 4, 300)}",
        # A page that is open does not use it.
        f"{manager}.cull_connected=True",
    ]
