"""The engine that a stack is on, by its state, and whether the one on this machine is another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from toolchain import engine
from toolchain.console import Problem, output
from toolchain.places import ROOT

STACK = "pulumi:pulumi:Stack"
PROVIDER = "pulumi:providers:docker"

#: What the addresses of engines begin with that are another engine's on every machine.
LOCAL = ("unix://", "npipe://")


def _of(state: Mapping[str, Any], kind: str, part: str) -> Mapping[str, Any]:
    """Inputs or outputs of the one resource of that type; empty if there is none."""
    every = state.get("resources") or ()
    return next((found.get(part) or {} for found in every if found["type"] == kind), {})


def docker_options(state: Mapping[str, Any]) -> list[str]:
    """The options with which `docker` talks to the engine that Pulumi's provider last went to.

    A refresh asks that one, and not the one that the stack's file or the shell names.

    Args:
        state: the deployment, as `pulumi stack export` shows it.
    """
    provider = _of(state, PROVIDER, "inputs")
    certificates = provider.get("certPath")
    return engine.options(provider.get("host"), ROOT / certificates if certificates else None)


def refuse_elsewhere(stack: str, state: Mapping[str, Any]) -> None:
    """Refuse to have the engine on this machine asked for what is on another machine's.

    Pulumi would find nothing of the stack, and take all of it out of the state, whatever is
    protected. The program, which checks the same, does not run in a refresh or destroy. An engine
    that does not answer is left to Pulumi, which then fails and changes nothing.

    Args:
        stack: its name.
        state: the deployment, as `pulumi stack export` shows it.

    Raises:
        Problem: the stack is on another machine's engine.
    """
    address = _of(state, PROVIDER, "inputs").get("host") or ""
    outputs = _of(state, STACK, "outputs")
    known = outputs.get("engineId")
    there = any(found["type"].startswith("docker:") for found in state.get("resources") or ())
    docker = next(engine.clients(), None)
    if not (known and there and docker and address.startswith(LOCAL)):
        return
    here = output([docker, *docker_options(state), "info", "--format", "{{.ID}}"], timeout=20)
    if not here or here == known:
        return
    raise Problem(
        f"stack {stack} is not on this machine: the engine at {address} has the ID {here}, and the"
        f" last `pulumi up` went to {known}. Nothing was changed: Pulumi would find nothing of the"
        f" stack here, and forget all of it. The hub is at {outputs.get('url')}: run the same"
        " command on that machine. If it is this one, with Docker installed anew:\n"
        f"  pulumi config set sameEngineAs {address} && pulumi up --refresh\n"
        "  pulumi config rm sameEngineAs"
    )
