"""A server that ends before it has a network still tells its hub why."""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.built import wait_until
from tests.images.notebook.serving import PYTHON
from tests.images.notebook.test_packages import FEW, built, native

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("native")]

#: A hub that prints what it is sent.
HUB = """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Hub(BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.path, self.rfile.read(int(self.headers["Content-Length"])).decode(), flush=True)
        self.send_response(204)
        self.end_headers()
print("listens", flush=True)
HTTPServer(("", 8081), Hub).serve_forever()
"""

#: Instead of what a server does first.
BROKEN = "def prepare(): raise OSError(28, 'No space left on device', '/home/jovyan')\n"


def test_a_server_that_ends_before_it_has_a_network_tells_the_hub_why(
    engine: docker.DockerClient, tmp_path: Path
) -> None:
    """The hub gives a server its network only when it has started."""
    image = built(engine, "few", *FEW)
    broken = tmp_path / "home.py"
    broken.write_text(BROKEN)
    broken.chmod(0o644)
    tmp_path.chmod(0o755)
    package = "/opt/jupyter/lib/python3.13/site-packages/zsingleuser"
    name = f"zhub-test-{uuid.uuid4().hex[:8]}"
    base: dict[str, Any] = {"platform": native(engine), "detach": True}
    with ExitStack() as made:
        network, other = (
            engine.networks.create(f"{name}-{one}", internal=True) for one in ("user", "other")
        )
        made.callback(network.remove)
        made.callback(other.remove)
        command = [PYTHON, "-I", "-c", HUB]
        hub = engine.containers.run(image, command, network=network.name, **base)
        made.callback(hub.remove, force=True)
        wait_until(lambda: b"listens" in hub.logs(), seconds=60)
        hub.reload()
        [address] = [one["IPAddress"] for one in hub.attrs["NetworkSettings"]["Networks"].values()]
        api = f"http://{address}:8081/hub/api"
        server = engine.containers.run(
            image,
            network=other.name,
            volumes=[f"{broken}:{package}/home.py:ro"],
            environment={
                "JUPYTERHUB_API_TOKEN": "x",
                "JUPYTERHUB_API_URL": api,
                "JUPYTERHUB_ACTIVITY_URL": f"{api}/users/alice/activity",
                "JUPYTERHUB_SERVICE_URL": "http://0.0.0.0:8888/user/alice/",
            },
            **base,
        )
        made.callback(server.remove, force=True)
        wait_until(lambda: b"No space left on device" in server.logs(), seconds=60)
        network.connect(server)
        assert server.wait(timeout=60)["StatusCode"] == 1
        said = hub.logs().decode()
    assert "/hub/api/users/alice/last-words" in said, said
    assert "OSError: [Errno 28] No space left on device: '/home/jovyan'" in said
