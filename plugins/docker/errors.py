"""The engine's errors in plain words, with what to do about them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from docker.errors import APIError

if TYPE_CHECKING:
    from plugins.docker.engine import Engine

#: What the engine says of a name that is in use, by what `docker` calls the thing: moby's
#: `daemon/names.go` and `libnetwork/error.go`, and swarmkit's `manager/controlapi/service.go`.
NAME_TAKEN = {
    "container": r'container name "/?(?P<name>[^"]+)" is already in use by container',
    "network": r"network with name (?P<name>\S+) already exists",
    "service": r"name conflicts with an existing object: service (?P<name>\S+) already exists",
}


def message_of(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace").strip()


def innermost(problem: BaseException) -> str:
    """Return the innermost reason of an error that HTTP code has wrapped."""
    while True:
        inner = next((a for a in problem.args if isinstance(a, BaseException)), None)
        inner = inner or problem.__cause__ or getattr(problem, "reason", None)
        if not isinstance(inner, BaseException):
            return str(problem.args[-1] if problem.args else problem) or type(problem).__name__
        problem = inner


def said(error: APIError) -> str:
    """Return the engine's own message, without docker-py's text about the HTTP request."""
    return str(error.explanation or error.args[0]).strip()


def is_missing(error: APIError) -> bool:
    """Tell whether the engine does not have the object."""
    return error.status_code == 404


@contextmanager
def gone_is_fine() -> Iterator[None]:
    """Ignore that a container is gone already, or about to be."""
    try:
        yield
    except APIError as error:
        if not (is_missing(error) or "is already in progress" in said(error)):
            raise


def explain(error: APIError, engine: Engine) -> str:
    """Return what is wrong, from the engine's error, and what to do about it."""
    message = said(error)
    if "no space left on device" in message:
        return (
            f"the engine's disk is full ({message}). To see what uses the space: docker system df. "
            "To remove unused images: docker image prune"
        )
    taken = re.search(
        r"Bind for (?P<ip>\S+):(?P<port>\d+) failed: port is already allocated"
        r"|listen (?:tcp|udp)\d? (?P<ip2>\S+):(?P<port2>\d+): bind: address already in use"
        r"|bind host port(?: for)? (?P<ip3>[\d.]+):(?P<port3>\d+).*address already in use",
        message,
    )
    if taken:
        found = [group for group in taken.groups() if group]
        return _port_taken(found[0], int(found[1]), engine)
    for kind, pattern in NAME_TAKEN.items():
        if name := re.search(pattern, message):
            return _name_taken(kind, name["name"], engine) or message
    return message


def _port_taken(ip: str, port: int, engine: Engine) -> str:
    holders = [
        container["Names"][0].lstrip("/")
        for container in engine.client.containers()
        if any(binding.get("PublicPort") == port for binding in container["Ports"])
    ]
    if holders:
        who = f"the container {holders[0]} has it"
    else:
        who = "another program on the engine's host has it"
    return f"port {port} on {ip} is taken: {who}. Free it, or choose another port"


def _name_taken(kind: str, name: str, engine: Engine) -> str:
    """Return who has the name, and the command that frees it; empty if nobody has it any more."""
    client = engine.client
    try:
        if kind == "container":
            holder = client.inspect_container(name)
            about = f"{holder['State']['Status']}, image {holder['Config']['Image']}"
        elif kind == "network":
            holder = client.inspect_network(name)
            about = f"driver {holder['Driver']}"
        else:
            holder = client.inspect_service(name)
            about = f"image {holder['Spec']['TaskTemplate']['ContainerSpec']['Image']}"
    except APIError:
        return ""
    id = holder.get("Id") or holder["ID"]
    remove = "docker rm -f" if kind == "container" else f"docker {kind} rm"
    # A plugin sees one resource at a time, so it cannot know whether the object is this stack's:
    # a replacement that creates first meets the container that it replaces.
    return (
        f"the name {name} is in use by {kind} {id[:12]} ({about}). Remove it "
        f"({remove} {name}) and run: pulumi up --refresh. Or, if it is not a resource of "
        "this stack, import it: "
        f"pulumi import docker:index/{kind}:{kind.capitalize()} <name> {id}"
    )
