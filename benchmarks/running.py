"""Run containers of the compared images: time to an answer, time of a login, memory."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import requests
from docker.models.containers import Container

from benchmarks.images import tag
from tests.engine.conftest import remove_leftovers
from tests.hubclient import User
from tests.pki import Identity
from tests.ports import free_port

#: First part of the names, and the label, of all containers, volumes and networks made here.
PREFIX = "zhub-bench"
LABEL = {"zhub.stack": PREFIX}

SOCKET = "/var/run/docker.sock"
#: The users in the directory; all have one password.
USERS = ("alice", *(f"user{number}" for number in range(15)))
USER = USERS[0]

#: What a proxy's command line contains: the usual way's, and this project's, which is a script.
PROXIES = ("configurable-http-proxy", "proxy.mjs")

#: Path in this project's hub image of the proxy that JupyterHub starts by itself.
BARE_PROXY = "/opt/proxy/node_modules/.bin/configurable-http-proxy"

#: Seconds that a container or a server may take.
PATIENCE = 300


def until_it_answers(url: str, container: Container, verify: Path | None = None) -> None:
    """Send requests until one is answered with a page.

    Raises:
        RuntimeError: if the container ends or does not answer; has the end of its log.
    """
    end = time.monotonic() + PATIENCE
    while True:
        # Until then connections are refused, reset, or answered with an error.
        with contextlib.suppress(requests.ConnectionError, requests.Timeout):
            if requests.get(url, verify=str(verify) if verify else True, timeout=10).ok:
                return
        container.reload()
        if container.status != "running" or time.monotonic() > end:
            log = container.logs(tail=20).decode(errors="replace")
            raise RuntimeError(f"{container.name} is {container.status}, no answer:\n{log}")
        time.sleep(0.01)


def run(
    engine: docker.DockerClient, image: str, platform: str, command: list[str], **options: Any
) -> Container:
    """Start a container that `clean` will find."""
    return engine.containers.run(
        image, command, platform=platform, detach=True, labels=LABEL, **options
    )


def clean(engine: docker.DockerClient) -> None:
    """Remove everything that this run of the benchmarks made, or an earlier run left."""
    remove_spawned(engine)
    remove_leftovers(engine, PREFIX)


def remove_spawned(engine: docker.DockerClient) -> None:
    """Remove what hubs made for their users; the usual way's has no labels, so by name."""
    named: dict[str, Any] = {"name": f"{PREFIX}-user"}
    for container in engine.containers.list(all=True, filters=named):
        container.remove(force=True, v=True)
    for volume in engine.volumes.list(filters=named):
        volume.remove()


def start_notebook(engine: docker.DockerClient, subject: str, platform: str) -> float:
    """Seconds from `docker run` of a notebook image to the first answer of JupyterLab's API."""
    command = ["jupyter", "lab", "--ip=0.0.0.0", "--port=8888", "--no-browser"]
    image = tag("notebook", subject, platform)
    return seconds_to_answer(engine, image, platform, command, port=8888, path="/api")


def start_jupyterhub(engine: docker.DockerClient, subject: str, platform: str) -> float:
    """Seconds from `docker run` of JupyterHub without this project's config to its login page."""
    command = [
        f"--ConfigurableHTTPProxy.command={BARE_PROXY}",
        "--DummyAuthenticator.allow_all=True",
    ]
    entrypoint = ["jupyterhub", "--JupyterHub.authenticator_class=dummy"]
    image = tag("hub", subject, platform)
    return seconds_to_answer(
        engine, image, platform, command, port=8000, path="/", entrypoint=entrypoint
    )


def seconds_to_answer(  # noqa: PLR0913 - containers differ in all of these
    engine: docker.DockerClient,
    image: str,
    platform: str,
    command: list[str],
    *,
    port: int,
    path: str,
    **options: Any,
) -> float:
    """Seconds from `docker run` to the first page at a path of a container's port, over http."""
    published = free_port()
    begin = time.monotonic()
    ports = {f"{port}/tcp": ("127.0.0.1", published)}
    container = run(engine, image, platform, command, ports=ports, **options)
    try:
        until_it_answers(f"http://127.0.0.1:{published}{path}", container)
        return time.monotonic() - begin
    finally:
        container.remove(force=True, v=True)


@dataclass(frozen=True)
class Site:
    """What both hubs need: a directory, a certificate.

    Attributes:
        engine: the engine that runs everything; its socket must be on this machine.
        directory: the directory's address.
        password: the password of each user in it.
        certificates: folder with the hub's key and certificate.
        authority: PEM file with the CA of the certificate.
        container: ID of the directory's container.
    """

    engine: docker.DockerClient
    directory: str
    password: str
    certificates: Path
    authority: Path
    container: str


@contextlib.contextmanager
def running_site(
    engine: docker.DockerClient, folder: Path, platform: str, names: Sequence[str] = USERS
) -> Iterator[Site]:
    """A directory with users, in a container for a platform, and a certificate for hubs."""
    site = begin_site(engine, folder, platform, names)
    try:
        yield site
    finally:
        engine.containers.get(site.container).remove(force=True, v=True)


def begin_site(
    engine: docker.DockerClient, folder: Path, platform: str, names: Sequence[str]
) -> Site:
    """Start what hubs need."""
    authority = Identity.create("Benchmarks", authority=True)
    authority.write(folder / "authority", "ca")
    Identity.create("localhost", "127.0.0.1", issuer=authority).write(folder / "hub", "hub")
    Identity.create("directory", issuer=authority).write(folder / "directory", "directory")
    password = secrets.token_hex(8)
    user = {"password": password, "unit": "people", "groups": ["jupyter"]}
    users = dict.fromkeys(names, user)
    (folder / "directory" / "users.json").write_text(json.dumps(users))
    container = run(
        engine,
        tag("directory", "project", platform),
        platform,
        [],
        volumes=[f"{folder}/directory:/certs:ro"],
        tmpfs={"/run": ""},
    )
    try:
        container.reload()
        address = container.attrs["NetworkSettings"]["IPAddress"]
        _wait_for(lambda: container.exec_run("directory-health").exit_code == 0, "the directory")
    except BaseException:
        container.remove(force=True, v=True)
        raise
    authority_file = folder / "authority" / "ca.crt"
    return Site(engine, address, password, folder / "hub", authority_file, str(container.id))


def _wait_for(done: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > end:
            raise RuntimeError(f"{what} is not up after {PATIENCE} s")
        time.sleep(0.2)


@dataclass(frozen=True)
class Hub:
    """A hub's container, its address, and the seconds it took to answer."""

    container: Container
    url: str
    seconds: float


def hub_command(site: Site, subject: str, platform: str, port: int) -> list[str]:
    """Arguments that set a hub's port and directory; the two hubs differ in them."""
    if subject != "seed":
        return [f"--port={port}", f"--ldap={site.directory}"]
    return [
        f"--port={port}",
        f"--LDAPAuthenticator.server_address={site.directory}",
        f"--DockerSpawner.image={tag('notebook', subject, platform)}",
        f"--DockerSpawner.prefix={PREFIX}-user",
    ]


@contextlib.contextmanager
def running_hub(site: Site, subject: str, platform: str) -> Iterator[Hub]:
    """A hub run by hand, with the engine's socket and an empty database."""
    port = free_port()
    begin = time.monotonic()
    container = run(
        site.engine,
        tag("hub", subject, platform),
        platform,
        hub_command(site, subject, platform, port),
        environment={
            "ZHUB_PREFIX": PREFIX,
            "ZHUB_NOTEBOOK_IMAGE": tag("notebook", subject, platform),
        },
        ports={f"{port}/tcp": ("127.0.0.1", port)},
        volumes=[f"{site.certificates}:/certs:ro", f"{SOCKET}:{SOCKET}"],
    )
    try:
        url = f"https://127.0.0.1:{port}/"
        until_it_answers(url, container, site.authority)
        yield Hub(container, url, time.monotonic() - begin)
    finally:
        container.remove(force=True, v=True)
        remove_spawned(site.engine)


@dataclass(frozen=True)
class Use:
    """One login: seconds to the server's API and to JupyterLab, and memory in MiB then."""

    api: float
    lab: float
    hub: float
    proxy: float
    notebook: float


def log_in_once(hub: Hub, site: Site) -> Use:
    """Log in, wait for JupyterLab, measure time and memory, stop the server."""
    user = User(hub.url, site.authority)
    user.open_login_form()
    begin = time.monotonic()
    user.send_password(USER, site.password)
    user.ask_for_server(timeout=PATIENCE)
    api = time.monotonic() - begin
    user.open_lab()
    lab = time.monotonic() - begin
    (notebook,) = site.engine.containers.list(filters={"name": f"{PREFIX}-user"})
    proxy, rest = memory(hub.container)
    use = Use(api, lab, rest, proxy, sum(memory(notebook)))
    user.stop_server()
    return use


def memory(container: Container) -> tuple[float, float]:
    """Resident memory in MiB of a container's proxy, if any, and of all its other processes.

    Shared pages count for each process; an emulated process includes its emulator.
    """
    top = container.top(ps_args="-o pid,rss,args")
    proxy = rest = 0.0
    for _, kib, command in top["Processes"]:
        if any(name in command for name in PROXIES):
            proxy += int(kib) / 1024
        else:
            rest += int(kib) / 1024
    return proxy, rest


def local(engine: docker.DockerClient) -> bool:
    """Whether the engine runs on this machine, so that it sees its files and its socket."""
    return Path(SOCKET).is_socket() and engine.info()["Name"] == socket.gethostname()
