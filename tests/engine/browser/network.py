"""A network of its own for the browser: a loopback with one port, and no way out.

The port is the hub's, and leads to the same port of this machine. So the hub has the address that
the stack's outputs name, and whatever else the browser calls on its own account is out of reach.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.engine.namespaces import entered

NAMESPACE = "zhub-test-browser"


def able() -> bool:
    """Whether this user can make networks."""
    return os.geteuid() == 0 and bool(shutil.which("ip"))


@contextmanager
def network(port: int, namespace: str = NAMESPACE) -> Iterator[None]:
    """Make the network, and remove it."""
    subprocess.run(["ip", "netns", "add", namespace], check=True)
    try:
        subprocess.run(["ip", "-n", namespace, "link", "set", "lo", "up"], check=True)
        with entered(namespace):
            # A socket stays in the network in which it was made.
            listener = socket.create_server(("127.0.0.1", port), backlog=100)
        with _forwarding(listener, port):
            yield
    finally:
        subprocess.run(["ip", "netns", "delete", namespace], check=True)


@contextmanager
def _forwarding(listener: socket.socket, port: int) -> Iterator[None]:
    """Forward connections to this machine's port of that number, in a thread."""
    with asyncio.Runner() as runner:  # at its end it cancels what is still connected
        loop = runner.get_loop()
        runner.run(_serve(listener, port))
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            yield
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()


async def _serve(listener: socket.socket, port: int) -> None:
    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answers, requests = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            # Or the browser would wait for an answer for ever.
            writer.close()
            raise
        await asyncio.gather(_copy(reader, requests), _copy(answers, writer))

    await asyncio.start_server(forward, sock=listener)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until one of the ends closes its connection, and close the other."""
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()
