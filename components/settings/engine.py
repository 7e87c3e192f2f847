"""The Docker engine that a stack goes to, and whether it is the one that the stack is on."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pulumi

from components.settings import parsing
from components.settings.config import Config
from components.settings.deployed import Deployed
from components.settings.parsing import RefusedError
from components.settings.setting import Setting

#: Where an engine on this machine listens, the default first; the others are Docker Desktop's.
LOCAL_SOCKETS = (
    Path("/var/run/docker.sock"),
    Path.home() / ".docker/run/docker.sock",
    Path.home() / ".docker/desktop/docker.sock",
)

SSH_PORT = 22

#: Ports below are opened by root alone, unless the machine says otherwise.
UNPRIVILEGED = 1024


def host(text: str) -> str:
    """Parse the setting docker:host; empty is what the environment or this machine has."""
    if not text:
        found = next((path for path in LOCAL_SOCKETS if path.exists()), LOCAL_SOCKETS[0])
        return os.environ.get("DOCKER_HOST") or f"unix://{found}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise RefusedError("not an address such as ssh://user@host") from None
    if parts.password:
        raise RefusedError("holds a password; use a key or the ssh agent", secret=True)
    usable = {
        "unix": not parts.netloc and parts.path.startswith("/"),
        "npipe": parts.path.startswith("/"),
        "ssh": bool(parts.hostname) and parts.path in {"", "/"},
        "tcp": bool(parts.hostname) and bool(port) and parts.path in {"", "/"},
    }
    if re.search(r"\s", text) or not usable.get(parts.scheme):
        raise RefusedError("neither ssh://[user@]host[:port], unix:///path nor tcp://host:port")
    return text


def _cert_path(text: str) -> str:
    for name in ("ca.pem", "cert.pem", "key.pem"):
        try:
            parsing.content(f"{text}/{name}")
        except RefusedError as error:
            raise RefusedError(f"needs a file {name}: {error}") from None
    return text


#: The two settings of Pulumi's Docker provider that reach all of it, and the `docker` command too.
#: Of the others, context and sshOpts reach only half, and keyMaterial would stay in the state in
#: clear.
HOST = Setting(
    "docker:host",
    "",
    "Docker engine: ssh://user@host, tcp://host:port or unix:///path; empty for this machine's",
    host,
    example="ssh://user@z.example.com",
)
CERT_PATH = Setting(
    "docker:certPath",
    "",
    "Folder with ca.pem, cert.pem and key.pem, for an engine at a tcp:// address with TLS",
    parsing.or_none(_cert_path),
    example="engine-certificates",
)
SAME_ENGINE_AS = Setting(
    "sameEngineAs",
    "",
    "Address that docker:host had before, if the new one is another address of the same engine",
    parsing.or_none(host),
    example="ssh://user@z.example.com",
)
ENGINE_SOCKET = Setting(
    "engineSocket",
    "/var/run/docker.sock",
    "Path of the engine's socket on the engine's machine",
    parsing.absolute_path,
)


@dataclass(frozen=True, kw_only=True)
class Engine:
    """How to reach the engine."""

    host: str
    """Address as Docker writes it: unix:///PATH, ssh://[USER@]HOST[:PORT] or tcp://HOST:PORT."""
    cert_path: str | None
    """Folder with ca.pem, cert.pem and key.pem, for tcp with TLS."""
    socket: str
    """Path of the engine's socket on its own machine, where the hub finds it."""
    former: str | None = None
    """Another address of the same engine, which the stack had before."""
    id: str | None = None
    """Which engine it is by its own word, if it is local and answers."""

    @property
    def local(self) -> bool:
        """Whether it is on this machine."""
        return self.host.startswith(("unix://", "npipe://"))

    @property
    def environment(self) -> dict[str, str]:
        """What the `docker` command must have in its environment to talk to this engine."""
        environment = {"DOCKER_HOST": self.host}
        if self.cert_path:
            environment |= {"DOCKER_CERT_PATH": self.cert_path, "DOCKER_TLS_VERIFY": "1"}
        return environment


def read(config: Config) -> Engine:
    """Read which engine the stack goes to."""
    address = config.value(HOST)
    cert_path = config.value(CERT_PATH)
    if cert_path and not address.startswith("tcp://"):
        config.clash(
            CERT_PATH, "is for engines at tcp:// addresses only", CERT_PATH.remove_command()
        )
    return Engine(
        host=address,
        cert_path=cert_path,
        socket=config.value(ENGINE_SOCKET),
        former=config.value(SAME_ENGINE_AS),
    )


def refuse_move(config: Config, engine: Engine, before: Deployed) -> None:
    """Note that the stack is on another engine than this run would go to.

    A changed address of a provider replaces nothing. So an `up` would succeed, make nothing on the
    new engine, and leave everything on the old one. The address of a socket is the same on every
    machine. There the engine's ID tells machines apart.

    Args:
        config: of the stack.
        engine: where this run would go.
        before: the stack's state.
    """
    there = before.engine
    # A refresh on another machine takes all that is on an engine out of the state, but no output. A
    # destroy takes the outputs, too.
    last = there or before.outputs.get("engine")
    if last is None:
        return
    far = there is not None and not _same(there, engine.host)
    another = engine.id is not None and before.engine_id not in {None, engine.id}
    if not far and not another:
        if engine.former:
            pulumi.log.warn(
                "sameEngineAs has done its work, and is for one `pulumi up` only:"
                f" {SAME_ENGINE_AS.remove_command()}"
            )
        return
    if engine.former and _same(last, engine.former):
        return
    config.refused.add(HOST)
    to_move = "To move the stack: docs/operations.md, Move to another machine."
    not_it = (
        f"the engine at {engine.host} is not the one that the last `pulumi up` went to, but another"
        f" machine's: its ID is {engine.id}, and was {before.engine_id}. The hub would be made anew"
        " here, with an empty database."
    )
    if far:
        by = "" if config.is_set(HOST) else ", from DOCKER_HOST or by default"
        config.clash(
            HOST,
            f"the last `pulumi up` went to the engine at {last}, and this run would go to"
            f" {engine.host}{by}. `pulumi up` moves nothing: containers, homes and the hub's"
            f" database would stay behind. {to_move} To stay, run the first line; if both are"
            " addresses of the same engine, the second, and the third after the `pulumi up`",
            HOST.set_command(last),
            SAME_ENGINE_AS.set_command(last),
            SAME_ENGINE_AS.remove_command(),
        )
    elif there is None:
        config.clash(
            HOST,
            f"{not_it} The state has nothing on any engine, as after a refresh on a machine that"
            " the stack is not on. To bring an earlier state back: docs/more-than-one.md, Backups"
            " of the state. To give up what is on the other engine, run the line",
            "pulumi destroy",
        )
    else:
        config.clash(
            HOST,
            f"{not_it} {to_move} To stay, name the machine that the stack is on, by the first two"
            " lines; if it is this one, with Docker installed anew, run only the second. Run the"
            " third after the `pulumi up`",
            HOST.set_command(HOST.example),
            SAME_ENGINE_AS.set_command(last),
            SAME_ENGINE_AS.remove_command(),
        )


def _same(one: str, other: str) -> bool:
    return _canonical(one) == _canonical(other)


def _canonical(address: str) -> object:
    """What two spellings of an address have in common."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return address
    if parts.scheme == "unix":
        # /var/run is mostly a link to /run.
        return os.path.realpath(parts.path)
    if parts.scheme == "ssh":
        port = port or SSH_PORT
    return parts.scheme, parts.username, parts.hostname, port, parts.path.strip("/")


def refuse_context(environment: Mapping[str, str]) -> None:
    """Refuse Docker's contexts: of Pulumi's Docker provider, only the half for containers obeys.

    Raises:
        RefusedError: when the environment names one.
    """
    context = environment.get("DOCKER_CONTEXT", "default")
    if context not in {"", "default"}:
        raise RefusedError(
            f"the environment variable DOCKER_CONTEXT is {context}: containers would go to that"
            " engine, images to another",
            fix="unset DOCKER_CONTEXT",
        )
