"""The container's first process; it protects the server from its user's programs.

They have the same user ID, so the kernel would let any of them read and write the server's memory
(it asks Yama, if present, and otherwise checks only whether a process is dumpable: ptrace(2),
"Ptrace access mode checking"), stop the server, or listen in its place once it is gone. Whatever
listens on the server's port is on the hub's origin for every visitor's browser, logged in or not.
So:

- Server and first process are not dumpable. Kernels and terminals are, since exec resets it.
- The first process owns the port, and it ends with the server. From inside the container it can be
  neither killed nor stopped (pid_namespaces(7)), so the port is never free while the container
  exists.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from zsingleuser.lease import Lease

_PR_SET_DUMPABLE = 4
"""From linux/prctl.h."""

FORWARDED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
"""Signals to the container that are passed on to the server."""


def hide() -> None:
    """Hide this process's memory, environment and open files from the user's other processes.

    Forked processes inherit this; exec resets it.

    Raises:
        OSError: when the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE) failed")


def leave_no_dumps() -> None:
    """Have no program here leave a dump of its memory when it crashes.

    That of a kernel would fill the home with a file as large as the kernel's data, or go to what
    collects dumps on the engine's machine. Who wants one raises the limit again: `ulimit -c`.
    """
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))


def bound(url: str) -> socket.socket:
    """Return a socket bound to the port of a URL, on all addresses, that does not listen yet.

    It is without SO_REUSEADDR, with which other programs could bind the port until it listens.
    """
    own = socket.socket()
    own.bind(("", urlsplit(url).port or 80))
    return own


def become_server(url: str, lease: Lease | None = None) -> socket.socket:
    """Continue as the server, in a child of this process; return the socket for it to listen on.

    Returns only in the child. The first process stays in this function and ends with the server.

    Args:
        url: JUPYTERHUB_SERVICE_URL, where the server must listen.
        lease: for how long the server may be without its hub; None for as long as it likes.

    Raises:
        OSError: when the port is taken, or the kernel refuses to hide the memory.
    """
    hide()
    leave_no_dumps()
    own = bound(url)
    server = os.fork()
    if server:
        sys.exit(watch(server, lease))
    return own


def watch(server: int, lease: Lease | None = None) -> int:
    """Act as init until the server has ended; return the exit status for this process.

    Forwards signals and reaps processes. At the end it kills all other processes at once: none may
    be running when the port becomes free.
    """

    def forward(number: int, _: Any) -> None:
        with suppress(ProcessLookupError):
            os.kill(server, number)

    # All others are ignored: with their default action, QEMU would try to end itself, in vain.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        signal.signal(number, forward if number in FORWARDED else signal.SIG_IGN)
    if lease:
        lease.watch(server)
    ended = 0
    while ended != server:
        ended, status = os.wait()
    if lease:
        lease.unwatch()
    # Outside of a container, this would kill all of the user's processes.
    if os.getpid() == 1:
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(status)
    # The convention of shells.
    return code if code >= 0 else 128 - code


def listen_on(own: socket.socket) -> None:
    """Make Jupyter's server listen on an existing socket instead of a new one.

    Jupyter has no option for this: Tornado's HTTPServer.add_socket would do it, but Jupyter calls
    it only for Unix sockets.
    """
    serverapp: Any = import_module("jupyter_server.serverapp")
    tcpserver: Any = import_module("tornado.tcpserver")
    port = own.getsockname()[1]
    make = tcpserver.bind_sockets

    def bind_sockets(wanted: int, *arguments: Any, **options: Any) -> list[socket.socket]:
        if wanted != port:
            others: list[socket.socket] = make(wanted, *arguments, **options)
            return others
        own.setblocking(False)
        own.listen(128)
        return [own]

    tcpserver.bind_sockets = bind_sockets
    # Jupyter uses this to test whether the port is free.
    serverapp.bind_sockets = lambda *_, **__: []
