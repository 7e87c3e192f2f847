"""Engines on this machine, and config of stacks on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.settings.engine import Engine

LOOPBACK = "127.0.0.1"
ID = "HSQL:OBMU"

#: What a manager says while most of the managers are away.
NO_LEADER = "rpc error: code = Unknown desc = The swarm does not have a leader."


def container(name: str, ip: str, port: int, **labels: str) -> dict[str, Any]:
    """A container as the engine lists it."""
    return {
        "State": "running",
        "Names": [f"/{name}"],
        "Labels": {f"zhub.{key}": value for key, value in labels.items()},
        "Ports": [
            {"PrivatePort": 9, "Type": "tcp"},
            {"IP": ip, "PrivatePort": port, "PublicPort": port, "Type": "tcp"},
        ],
    }


def at(host: str) -> Engine:
    return Engine(host=host, cert_path=None, socket="/var/run/docker.sock")


def local(tmp_path: Path, port: int, **more: str) -> dict[str, str]:
    """Config of a stack on an engine that is not there."""
    return {
        "docker:host": f"unix://{tmp_path}/none.sock",
        "zhub:demoDirectory": "true",
        "zhub:bindAddress": LOOPBACK,
        "zhub:port": str(port),
    } | more


def on_this_machine(engine: Engine, free: int, **config: str) -> dict[str, str]:
    """Config of a demo stack on that engine."""
    return {
        "docker:host": engine.host,
        "zhub:demoDirectory": "true",
        "zhub:bindAddress": LOOPBACK,
        "zhub:port": str(free),
    } | {f"zhub:{key}": value for key, value in config.items()}


def stack_on(engine: str | None, *, provider: str, things: bool = True) -> dict[str, Any]:
    """The state of a stack: with the output of its last good `up`, if any, and its provider."""
    root = {"engine": engine} if engine else {}
    state: dict[str, Any] = {
        "urn:stack": {"type": "pulumi:pulumi:Stack", "outputs": root},
        "urn:engine": {"type": "pulumi:providers:docker", "outputs": {"host": provider}},
        "urn:key": {"type": "tls:index/privateKey:PrivateKey", "outputs": {}},
    }
    if things:
        network = {"type": "docker:index/network:Network", "outputs": {"name": "zhub-test-hub"}}
        state["urn:hub"] = network
    return state
