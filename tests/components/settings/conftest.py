"""Engines that answer on this machine, and ports."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import pytest

from components.settings.engine import Engine
from tests.components.settings.engines import ID, LOOPBACK, NO_LEADER, at
from tests.unix_http import serving


@pytest.fixture
def engine_with(tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    """Engines that answer with these containers and images; what they answer is Docker's API."""
    numbers = count()
    servers = ExitStack()

    def start(
        *containers: dict[str, Any],
        id: str = ID,
        images: Sequence[dict[str, Any]] = (),
        api: str = "1.41",
        more: Mapping[str, object] = MappingProxyType({}),
        nodes: Sequence[dict[str, Any]] | None = None,
    ) -> Engine:
        info = {"ID": id, "DockerRootDir": "/var/lib/docker", **more}
        answers: dict[str, object] = {
            "/version": {"ApiVersion": api, "MinAPIVersion": "1.12"},
            f"/v{api}/info": info,
            f"/v{api}/containers/json": containers,
            f"/v{api}/networks": [],
            f"/v{api}/images/json": images,
            f"/v{api}/nodes": nodes,
        }

        class Api(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = answers[urlsplit(self.path).path]
                fine = answer is not None
                # As the engine says it; only /nodes can have no answer.
                content = json.dumps(answer if fine else {"message": NO_LEADER}).encode()
                self.send_response(200 if fine else 503)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        path = tmp_path / f"{next(numbers)}.sock"
        servers.enter_context(serving(path, Api))
        return at(f"unix://{path}")

    with servers:
        yield start


@pytest.fixture
def taken() -> Iterator[int]:
    """A port somebody listens on, on loopback."""
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free(taken: int) -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
    return port
