"""A user's server with a stand-in for its hub, and a user who asks it from inside its container."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import docker
from docker.models.containers import Container

from tests.built import wait_until

PLATFORM = "linux/s390x"
PYTHON = "/opt/jupyter/bin/python3"

#: Answers like the hub's API, as far as a server uses it: everybody is alice.
A_HUB = """
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
ALICE = {"name": "alice", "kind": "user", "admin": False, "groups": []}
ALICE["scopes"] = ["access:servers!server=alice/"]
class Hub(BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(ALICE if self.path.endswith("/user") else {}).encode())
    do_POST = do_GET
HTTPServer(("", 8081), Hub).serve_forever()
"""

#: Sends a request to the server and prints the answer's status and body.
REQUEST = """
import sys, urllib.error, urllib.request
method, path = sys.argv[1:]
url = "http://127.0.0.1:8888/user/alice/" + path
asked = urllib.request.Request(url, method=method, headers={"Authorization": "token x"})
try:
    answer = urllib.request.urlopen(asked, timeout=240)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status)
print(answer.read().decode(errors="replace"))
"""

#: Runs code, one cell for each further argument, in a new kernel of the server.
CELLS = """
import asyncio, json, sys, uuid
from tornado import httpclient, websocket
KERNELS, TOKEN = "127.0.0.1:8888/user/alice/api/kernels", {"Authorization": "token x"}
async def run(kernel, cells):
    client = httpclient.AsyncHTTPClient()
    ask = {"headers": TOKEN, "request_timeout": 240}
    body = json.dumps({"name": kernel})
    made = await client.fetch("http://" + KERNELS, method="POST", body=body, **ask)
    id = json.loads(made.body)["id"]
    channels = httpclient.HTTPRequest(f"ws://{KERNELS}/{id}/channels", **ask)
    socket = await websocket.websocket_connect(channels)
    for code in cells:
        header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "username": "",
                  "session": "s", "version": "5.3", "date": ""}
        content = {"code": code, "silent": False, "store_history": False, "user_expressions": {},
                   "allow_stdin": False, "stop_on_error": True}
        await socket.write_message(json.dumps(
            {"header": header, "parent_header": {}, "metadata": {}, "channel": "shell",
             "content": content, "buffers": []}))
        # What a cell prints may come after its reply; idle is the kernel's last word on it.
        idle = False
        while not idle:
            message = json.loads(await socket.read_message())
            if message["parent_header"].get("msg_id") != header["msg_id"]:
                continue
            kind, content = message["msg_type"], message["content"]
            idle = kind == "status" and content["execution_state"] == "idle"
            if kind == "stream":
                print(content["text"], end="")
            elif kind == "error":
                print("\\n".join(content["traceback"]))
            elif kind in ("display_data", "execute_result"):
                print(sorted(content["data"]))
    await client.fetch(f"http://{KERNELS}/{id}", method="DELETE", **ask)
asyncio.run(run(sys.argv[1], sys.argv[2:]))
"""


@dataclass(frozen=True)
class Serving:
    """A running server."""

    container: Container

    def shell(self, command: str) -> str:
        """Run a shell command in the container as its user; return what it printed."""
        return self._exec("sh", "-euc", command)

    def _exec(self, *command: str) -> str:
        status, printed = self.container.exec_run(list(command))
        text = cast("bytes", printed).decode()
        assert status == 0, text
        return text

    def request(self, method: str, path: str) -> tuple[int, str]:
        """Send a request below the server's own path; return status and body."""
        printed = self._exec(PYTHON, "-I", "-c", REQUEST, method, path)
        code, _, body = printed.partition("\n")
        return int(code), body

    def get(self, path: str) -> Any:
        """Return the JSON at a path, which must be there."""
        code, body = self.request("GET", path)
        assert code == 200, body
        return json.loads(body)

    def python(self, script: str, *arguments: str) -> str:
        """Run a script with the server's own packages; return what it printed."""
        return self._exec(PYTHON, "-I", "-c", script, *arguments)

    def run(self, *cells: str, kernel: str = "python3") -> str:
        """Run cells in a new kernel; return what they printed, tracebacks as well."""
        return self._exec(PYTHON, "-I", "-c", CELLS, kernel, *cells)


@contextmanager
def serving(
    engine: docker.DockerClient,
    image: str,
    volumes: Sequence[str],
    platform: str = PLATFORM,
    **environment: str,
) -> Iterator[Serving]:
    """Start a server of an image, without a way out; it ends with the context."""
    name = f"zhub-test-{uuid.uuid4().hex[:8]}"
    base: dict[str, Any] = {"platform": platform, "detach": True, "auto_remove": True}
    with ExitStack() as made:
        network = engine.networks.create(name, internal=True)
        made.callback(network.remove)
        python = [PYTHON, "-I", "-c", A_HUB]
        hub = engine.containers.run(image, python, name=f"{name}-hub", **base)
        made.callback(hub.remove, force=True)
        network.connect(hub, aliases=["hub"])
        server = engine.containers.run(
            image,
            network=name,
            volumes=list(volumes),
            environment={
                "JUPYTERHUB_API_TOKEN": "x",
                "JUPYTERHUB_API_URL": "http://hub:8081/hub/api",
                "JUPYTERHUB_CLIENT_ID": "jupyterhub-user-alice",
                "JUPYTERHUB_DISABLE_USER_CONFIG": "1",
                "JUPYTERHUB_OAUTH_ACCESS_SCOPES": '["access:servers!server=alice/"]',
                "JUPYTERHUB_OAUTH_CALLBACK_URL": "/user/alice/oauth_callback",
                "JUPYTERHUB_SERVICE_PREFIX": "/user/alice/",
                "JUPYTERHUB_SERVICE_URL": "http://0.0.0.0:8888/user/alice/",
                "JUPYTERHUB_USER": "alice",
                "MEM_LIMIT": str(2 << 30),
                **environment,
            },
            **base,
        )
        made.callback(server.remove, force=True)
        wait_until(lambda: b" is running at:" in server.logs(), seconds=120)
        yield Serving(server)
