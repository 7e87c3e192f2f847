"""Engines that answer what a test tells them to, and do nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from plugins.calls import Call
from plugins.docker.engine import Engine
from plugins.docker.provider import DockerProvider
from plugins.resource import Resource

API = "1.41"
LOST = object()
"""Instead of an answer: the connection is dropped."""

Answers = dict[str, list[object]]
"""By method and path, such as "GET /tasks": what to answer in turn, the last one again and again. A
pair is a status and a body; without a status it is 200."""


class Told:
    """A provider on an engine that answers as it is told, each path's answers in turn."""

    def __init__(self, socket: Path, answers: Answers) -> None:
        self.asked: Counter[str] = Counter()
        self.headers: dict[str, dict[str, str]] = {}
        """Of the last request for each."""
        self.answers: Answers = {"GET /version": [{"ApiVersion": API}], **answers}
        self.provider = DockerProvider()
        self.provider.engine = Engine(f"unix://{socket}")

    def answer(self, method: str, url: str, headers: dict[str, str]) -> object:
        """Return the next answer; the last one is given again and again."""
        what = f"{method} {urlsplit(url).path.removeprefix(f'/v{API}').removeprefix('/v1.24')}"
        answers = self.answers[what]
        number = self.asked[what]
        self.asked[what] += 1
        self.headers[what] = headers
        return answers[min(number, len(answers) - 1)]

    def call(self, kind: type[Resource], inputs: dict[str, Any]) -> tuple[Any, Any, Call]:
        """Return a resource of this type, its inputs with defaults, and a call about it."""
        resource = kind(self.provider)
        checked = resource.table.normalise(inputs, "", [])
        return resource, checked, Call(self.provider, "urn:pulumi:test::it::x::it")


def api_of(told: Told) -> type[BaseHTTPRequestHandler]:
    class Api(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            found = told.answer(self.command, self.path, dict(self.headers))
            if found is LOST:
                return
            status, body = found if isinstance(found, tuple) else (200, found)
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def do_DELETE(self) -> None:
            self.answer()

        def log_message(self, *_: object) -> None:
            pass

    return Api


Tell = Callable[[Answers], Told]
"""Starts such an engine."""
