"""The start of a user's server: what it imports, and what later imports find."""

from __future__ import annotations

import gc
import importlib
import socket
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import docker
import pytest
from zsingleuser import later, stand_in, standing_in, wait_for, without_collecting

from tests.built import Images, wait_until
from tests.ports import free_port

NAME = "zsingleuser_nowhere"

IN_THE_IMAGE = """
import gc, sys, zsingleuser
named = ["sqlalchemy", "alembic", "jupyterhub.orm", "jupyterhub.roles", "jupyterhub.handlers"]
named += ["requests", "urllib3", "aiodns", "pycares", "httpx", "arrow", "rfc3986_validator"]
start = zsingleuser.singleuser()
print("imported:", [name for name in named if name in sys.modules])
from jupyter_server.nbconvert import handlers
print("exporter:", type(handlers.get_exporter("script")).__name__)
from nbconvert.exporters.base import ExporterNameError, get_exporter
try:
    print("by name:", get_exporter("types.SimpleNamespace"))
except ExporterNameError:
    print("by name: none")
print("collecting:", gc.isenabled(), gc.get_freeze_count() > 100_000)
import jupyterhub.singleuser, jupyterhub.orm, jupyterhub.handlers.pages, sqlalchemy.exc
print("the same entry point:", start == jupyterhub.singleuser.main)
print("afterwards:", jupyterhub.orm.User.__tablename__, sqlalchemy.exc.NoResultFound.__name__)
print(jupyterhub.handlers.pages.HealthCheckHandler.__mro__[1].__name__)
import jupyterlab_server.listings_handler as listings, requests, aiodns
print("requests:", listings.requests.request is requests.request)
from jsonschema import FormatChecker
formats = {"uri": ["https://a.b/c", "a b"], "duration": ["P1DT2H", "1 day"]}
print([FormatChecker().conforms(text, kind) for kind in formats for text in formats[kind]])
from jupyterlab.extensions import get_pypi_manager
print(type(get_pypi_manager({}, {})).__mro__[1].__name__)
"""


@pytest.mark.engine
def test_a_server_imports_nothing_of_the_hub_and_an_extension_may(
    engine: docker.DockerClient, images: Images
) -> None:
    command = ["/opt/jupyter/bin/python3", "-I", "-c", IN_THE_IMAGE]
    printed = engine.containers.run(
        images.notebook, command, platform="linux/s390x", network_mode="none", remove=True
    )
    assert printed.decode().splitlines() == [
        "imported: []",
        "exporter: ScriptExporter",
        "by name: none",
        "collecting: True True",
        "the same entry point: True",
        "afterwards: users NoResultFound",
        "BaseHandler",
        "requests: True",
        "[True, False, True, False]",
        "ExtensionManager",
    ]


#: Answers like the hub's API, as far as a starting server uses it.
A_HUB = """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Hub(BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b"{}")
    do_POST = do_GET
HTTPServer(("", 8081), Hub).serve_forever()
"""


@pytest.mark.engine
def test_a_server_that_has_loaded_waits_for_its_network(
    engine: docker.DockerClient, images: Images
) -> None:
    name = f"zhub-test-{uuid.uuid4().hex[:8]}"
    base: dict[str, Any] = {"platform": "linux/s390x", "detach": True, "auto_remove": True}
    with ExitStack() as made:
        network = engine.networks.create(name)
        made.callback(network.remove)
        python = ["/opt/jupyter/bin/python3", "-I", "-c", A_HUB]
        hub = engine.containers.run(images.notebook, python, name=f"{name}-hub", **base)
        made.callback(hub.remove, force=True)
        network.connect(hub, aliases=["hub"])
        server = engine.containers.run(
            images.notebook,
            network_mode="none",
            environment={
                "JUPYTERHUB_API_TOKEN": "x",
                "JUPYTERHUB_API_URL": "http://hub:8081/hub/api",
                "JUPYTERHUB_CLIENT_ID": "jupyterhub-user-alice",
                "JUPYTERHUB_OAUTH_CALLBACK_URL": "/user/alice/oauth_callback",
                "JUPYTERHUB_SERVICE_PREFIX": "/user/alice/",
                "JUPYTERHUB_SERVICE_URL": "http://0.0.0.0:8888/user/alice/",
                "JUPYTERHUB_USER": "alice",
            },
            **base,
        )
        made.callback(server.remove, force=True)
        # Under emulation, it has loaded after three seconds.
        time.sleep(8)
        assert server.logs() == b""
        engine.networks.get("none").disconnect(server)
        network.connect(server)
        wait_until(lambda: b" is running at:" in server.logs(), seconds=60)
        log = server.logs()
        assert b"Failed to connect" not in log
        assert b"jupyterlab | extension was successfully loaded" in log
        assert b"jupyter_lsp" not in log
        assert b"notebook_shim" not in log


@pytest.mark.slow
def test_waiting_ends_after_the_given_time() -> None:
    begin = time.monotonic()
    wait_for(f"http://127.0.0.1:{free_port()}/hub/api", seconds=0.2)
    assert 0.2 <= time.monotonic() - begin < 5


@pytest.mark.slow
def test_a_late_listener_is_waited_for() -> None:
    port = free_port()

    def listen() -> socket.socket:
        time.sleep(0.3)
        return socket.create_server(("127.0.0.1", port))

    with ThreadPoolExecutor() as threads:
        late = threads.submit(listen)
        begin = time.monotonic()
        wait_for(f"http://127.0.0.1:{port}/hub/api", seconds=60)
        assert 0.3 <= time.monotonic() - begin < 30
        late.result().close()


def test_a_stand_in_has_only_the_given_classes() -> None:
    module = stand_in(NAME, "Error")
    assert issubclass(module.Error, Exception)
    with pytest.raises(AttributeError, match=f"{NAME}.*User"):
        module.User  # noqa: B018


def test_a_later_module_is_imported_when_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{NAME}.py").write_text("answer = 42\ndef double(number): return 2 * number")
    monkeypatch.syspath_prepend(tmp_path)
    with standing_in({NAME: later(NAME, "double", Error=ValueError)}):
        module = importlib.import_module(NAME)
        double, error = module.double, module.Error
        with pytest.raises(AttributeError, match=f"{NAME} stands in .* no answer"):
            module.answer  # noqa: B018
    assert NAME not in sys.modules
    assert error is ValueError
    try:
        assert double(number=21) == module.answer == 42
        assert sys.modules[NAME].answer == 42
        with pytest.raises(AttributeError, match=f"{NAME}.*question"):
            module.question  # noqa: B018
    finally:
        sys.modules.pop(NAME, None)


def test_stand_ins_are_removed_also_when_an_import_fails() -> None:
    module = stand_in(NAME)
    with standing_in({NAME: module}):
        assert importlib.import_module(NAME) is module
    assert NAME not in sys.modules
    with pytest.raises(ImportError), standing_in({NAME: module}):
        importlib.import_module(f"{NAME}_else")
    assert NAME not in sys.modules


def test_a_module_left_out_cannot_be_imported_meanwhile() -> None:
    sys.modules.pop("this", None)
    with standing_in({"this": None}), pytest.raises(ModuleNotFoundError):
        importlib.import_module("this")
    assert "this" not in sys.modules


def test_a_module_imported_already_is_not_replaced() -> None:
    real = sys.modules["json"]
    with (
        pytest.raises(RuntimeError, match="json is imported already"),
        standing_in({NAME: stand_in(NAME), "json": stand_in("json")}),
    ):
        pass
    assert NAME not in sys.modules
    assert sys.modules["json"] is real


def test_garbage_is_collected_again_also_after_a_failure() -> None:
    def imports() -> None:
        assert not gc.isenabled()
        raise ImportError

    frozen = gc.get_freeze_count()
    with pytest.raises(ImportError), without_collecting():
        imports()
    assert gc.isenabled()
    # To unfreeze them would give all modules back to the search (tests/conftest.py).
    assert gc.get_freeze_count() > frozen
