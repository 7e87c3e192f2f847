"""What the tests of the docker plugin need: a tiny image, throw-away names, servers on loopback."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import docker.errors
import pytest

from tests.plugins.plugin_driver import wait_until

IMAGE = "docker:index/image:Image"
CONTAINER = "docker:index/container:Container"
NETWORK = "docker:index/network:Network"
VOLUME = "docker:index/volume:Volume"

#: All that these tests make on the engine is called so.
PREFIX = "pdk-"

TINY = f"{PREFIX}tiny:1"
#: A shell and its tools, and a main process that ends at once on SIGTERM.
TINY_DOCKERFILE = """FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
RUN mkdir -p /tmp /data && chmod 1777 /tmp
CMD ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
"""


def engine_or_skip() -> Any:
    """Return the real engine's API; skip where none answers."""
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        pytest.skip(f"no Docker engine answers: {error}")
    return client.api


def debian_tool(package: str, path: str) -> Path:
    """Return a program of a Debian package: the installed one, or else one unpacked aside.

    Unpacked and not installed, so that no service gets started and nothing of the machine changes.
    """
    installed = Path("/", path)
    if installed.exists() and not (package.endswith("-static") and is_dynamic(installed)):
        return installed
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "zhub", "tests", package)
    if not (cache / path).exists():
        if shutil.which("apt-get") is None:
            pytest.skip(f"neither {installed} nor apt-get to get it with")
        cache.mkdir(parents=True, exist_ok=True)
        got = subprocess.run(
            ["apt-get", "download", package], cwd=cache, capture_output=True, text=True, check=False
        )
        if got.returncode:
            pytest.skip(f"no {installed} here, and apt-get download {package}: {got.stderr}")
        subprocess.run(["dpkg", "-x", next(cache.glob("*.deb")), cache], check=True)
    return cache / path


def is_dynamic(program: Path) -> bool:
    """Tell whether a program needs libraries that an empty image does not have."""
    return subprocess.run(["ldd", program], capture_output=True, check=False).returncode == 0


def tiny_context(folder: Path, dockerfile: str = TINY_DOCKERFILE) -> Path:
    """Lay out the context of the tiny image, or of one like it, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(debian_tool("busybox-static", "bin/busybox"), folder / "busybox")
    (folder / "Dockerfile").write_text(dockerfile)
    return folder


def remove_all(engine: Any, prefix: str) -> None:
    """Remove whatever on the engine is called so."""
    for container in engine.containers(all=True, filters={"name": f"^/{prefix}"}):
        engine.remove_container(container["Id"], force=True, v=True)
    for network in engine.networks(filters={"name": f"^{prefix}"}):
        engine.remove_network(network["Id"])
    for volume in engine.volumes(filters={"name": f"^{prefix}"})["Volumes"] or []:
        engine.remove_volume(volume["Name"], force=True)
    for image in engine.images():
        for tag in [*(image["RepoTags"] or []), *(image["RepoDigests"] or [])]:
            if tag.rpartition("/")[2].startswith(prefix):
                engine.remove_image(tag, force=True)


def new_name() -> str:
    """Return a name nobody else has."""
    return f"{PREFIX}{secrets.token_hex(4)}"


@contextmanager
def server(command: list[str | Path], port: int, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a server until it is no longer needed; its output is in the failure if it ends early."""
    with tempfile.TemporaryFile("w+") as output:
        # A file and not a pipe: nobody would read it, and a full one holds up the server.
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            **options,
        )

        def answers() -> bool:
            if process.poll() is not None:
                output.seek(0)
                pytest.fail(f"{command[0]} ended: {output.read()}")
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        try:
            wait_until(answers)
            yield process
        finally:
            os.killpg(process.pid, signal.SIGTERM)  # and those that serve a connection
            process.wait(30)


def certificates(folder: Path) -> None:
    """Make a CA, a server's certificate for loopback and a client's, as Docker names them."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "rsa:2048", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca-key.pem", "-out", "ca.pem", "-subj", "/CN=ca")
    for name in ("server", "client"):
        request = (f"{name}-key.pem", f"{name}.csr")
        openssl("req", *key, "-keyout", request[0], "-out", request[1], "-subj", f"/CN={name}")
        extensions = folder / "extensions"
        extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        openssl(
            *("x509", "-req", "-in", request[1], "-CA", "ca.pem", "-CAkey", "ca-key.pem"),
            *("-CAcreateserial", "-extfile", "extensions", "-out", f"{name}.pem"),
        )
    (folder / "client.pem").rename(folder / "cert.pem")
    (folder / "client-key.pem").rename(folder / "key.pem")
