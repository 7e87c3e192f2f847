"""The container's first process, and what sets the server apart from its user's programs.

They have one user ID, so the kernel would let any of them read and write the server's memory (it
asks Yama, where there is one, and else only whether a process is dumpable: ptrace(2), "Ptrace
access mode checking"), stop it, or listen in its place once it is gone. What listens on the
server's port is on the hub's origin for every visitor's browser, logged in or not. So:

- Server and first process are not dumpable. Kernels and terminals are, as exec sets it anew.
- The first process owns the port, and it ends with the server. From inside the container it can be
  neither killed nor stopped (pid_namespaces(7)), so the port is never free while the container is
  there.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

_PR_SET_DUMPABLE = 4
"""Of linux/prctl.h."""

FORWARDED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
"""Signals that mean the server when they are sent to the container."""


def hide() -> None:
    """Close this process's memory, environment and open files to the user's other processes.

    It holds for what is forked, and until exec.

    Raises:
        OSError: when the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE) failed")


def bound(url: str) -> socket.socket:
    """Return a socket bound to the port of a URL, on all addresses, that does not listen yet.

    Without SO_REUSEADDR, with which others could bind as long as nobody listens.
    """
    own = socket.socket()
    own.bind(("", urlsplit(url).port or 80))
    return own


def become_server(url: str) -> socket.socket:
    """Go on as the server, in a child of this process; return the socket it is to listen on.

    This process stays behind and never returns from here: it ends when the server does.

    Args:
        url: where the server is to listen; JUPYTERHUB_SERVICE_URL.

    Raises:
        OSError: when the port is taken, or the kernel does not close the memory.
    """
    hide()
    own = bound(url)
    server = os.fork()
    if server:
        sys.exit(watch(server))
    return own


def watch(server: int) -> int:
    """Do as an init does until the server has ended; return the status to end with.

    Signals are forwarded, and whatever else has ended is reaped. At the end all other processes
    are killed at once: none must run any more when the port becomes free.
    """

    def forward(number: int, _: Any) -> None:
        with suppress(ProcessLookupError):
            os.kill(server, number)

    # Nothing else means anything here. Left to itself, QEMU would end for some, and be in vain.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        signal.signal(number, forward if number in FORWARDED else signal.SIG_IGN)
    ended = 0
    while ended != server:
        ended, status = os.wait()
    # Anywhere but in a container of its own, "all" would be all of the user's.
    if os.getpid() == 1:
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(status)
    # As shells have it.
    return code if code >= 0 else 128 - code


def listen_on(own: socket.socket) -> None:
    """Have Jupyter's server listen on a socket there is instead of one that it makes.

    Jupyter and Tornado have no option for that: Tornado's own way would be
    HTTPServer.add_socket, which Jupyter calls for Unix sockets only.
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
    # Tries whether the port is free.
    serverapp.bind_sockets = lambda *_, **__: []
