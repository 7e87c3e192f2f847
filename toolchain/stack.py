"""The code of `make up`, `make preview` and `make down`."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toolchain import engine, runs
from toolchain.console import Problem, output
from toolchain.passphrase import DEV
from toolchain.places import BIN, ROOT, STATE
from toolchain.plugins import CREDENTIALS
from toolchain.runs import PROJECT
from toolchain.shell import pulumi

#: Stack names that Pulumi allows; they also become part of file names.
NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")

#: The policy pack checks what a stack declares, at every preview and up.
POLICIES = ("--policy-pack", str(ROOT / "policy"))

#: Set by `make up YES=1`: change without asking.
YES = "ZHUB_YES"


def checked(stack: str) -> str:
    """Check a stack's name and return it.

    Raises:
        Problem: Pulumi does not allow it.
    """
    if not NAME.fullmatch(stack):
        raise Problem(
            f"STACK={stack}: a stack name has letters, digits, hyphen, underscore, dot, at most 100"
        )
    return stack


def named(stack: str) -> str:
    """The argument that `make` commands need for a stack; none for the default one."""
    return "" if stack == DEV else f" STACK={stack}"


def _setting(stack: str, key: str) -> str | None:
    """A value in the stack file, by its full key; None if it has none."""
    file = ROOT / f"Pulumi.{stack}.yaml"
    text = file.read_text() if file.exists() else ""
    # Not over the end of the line, where the next setting is.
    found = re.search(rf"^[ \t]*{key}:[ \t]*['\"]?([^\s'\"#]+)", text, re.MULTILINE)
    return found[1] if found else None


def engine_address(stack: str) -> str | None:
    """Where the stack file says that its engine is; None where it leaves that to the machine."""
    return _setting(stack, "docker:host")


def prefix(stack: str) -> str:
    """What the names of the stack's containers, networks and volumes begin with."""
    return _setting(stack, f"{PROJECT}:prefix") or f"{PROJECT}-{stack}"


def _certificates(stack: str) -> Path | None:
    """The folder of the files for TLS to the stack's engine; None for no TLS."""
    found = _setting(stack, "docker:certPath")
    return ROOT / found if found else None


def on_swarm(stack: str) -> bool:
    """Whether users' servers run on the nodes of a swarm."""
    return _setting(stack, f"{PROJECT}:swarm") == "true"


def docker_options(stack: str) -> list[str]:
    """The options with which `docker` talks to the stack's engine."""
    return engine.options(engine_address(stack), _certificates(stack))


def remote(stack: str) -> bool:
    """Whether the stack's engine is on another machine."""
    return (engine_address(stack) or "").startswith(("ssh://", "tcp://"))


def keeps_no_state() -> bool:
    """Whether state is kept in this clone's folder, which has never had a stack."""
    elsewhere = CREDENTIALS.exists() or "PULUMI_BACKEND_URL" in os.environ
    return not elsewhere and not (STATE / ".pulumi" / "stacks").exists()


def exists(stack: str) -> bool:
    """Whether the state backend knows the stack."""
    listed = json.loads(pulumi(stack, "stack", "ls", "--json", quiet=True))
    return stack in {entry["name"].rsplit("/", 1)[-1] for entry in listed}


def asks(stack: str) -> bool:
    """Whether Pulumi asks before it changes the stack.

    Without a terminal nobody could answer; the preview is in the log then, and a pipeline shows it
    in the pull request first.
    """
    if stack == DEV or os.environ.get(YES):
        return False
    return sys.stdin.isatty() and sys.stdout.isatty()


def up(stack: str) -> None:
    """Bring the stack up and print how to log in.

    Raises:
        Problem: `pulumi up` failed.
    """
    pulumi(stack, "stack", "select", "--create", stack, quiet=True)
    runs.unlock(stack)
    runs.half_made(stack, prefix(stack))
    shown = () if stack != DEV else ("--skip-preview",)
    yes = () if asks(stack) else ("--yes",)
    pulumi(stack, "up", *yes, *shown, *POLICIES, "--stack", stack)
    read = ("stack", "output", "--stack", stack, "--json", "--show-secrets")
    outputs = json.loads(pulumi(stack, *read, quiet=True))
    print(f"\nJupyterHub is up: {outputs['url']}")
    if roles := outputs.get("demoRoles"):
        print("Log in as one of the demo users:")
        for name, role in roles.items():
            print(f"  {name:8} {outputs['demoUsers'][name]}  {role}")
    print(f"Its certificate has the SHA-256 fingerprint {outputs['certificateFingerprint']}")
    own = named(stack)
    kept = "homes and shared folders"
    if any(found.get("retainOnDelete") for found in resources(stack)):
        kept += " and the hub's database"
    print(
        f'\nNext: eval "$(make -s env{own})" for plain pulumi commands in this shell, such as\n'
        "      pulumi config set idleTimeout 1800 && pulumi preview\n"
        f"      make down{own} removes everything again, except {kept}."
    )


def preview(stack: str) -> None:
    """Show what `up` would change.

    Raises:
        Problem: `pulumi preview` failed.
    """
    pulumi(stack, "stack", "select", "--create", stack, quiet=True)
    pulumi(stack, "preview", "--diff", *POLICIES, "--stack", stack)


def resources(stack: str) -> list[dict[str, Any]]:
    """The resources in the stack's state, without components."""
    state = json.loads(pulumi(stack, "stack", "export", "--stack", stack, quiet=True))
    found: list[dict[str, Any]] = (state["deployment"] or {}).get("resources") or []
    return [resource for resource in found if resource.get("custom") and resource.get("id")]


def _refuse_protected(stack: str) -> None:
    """Refuse to take a protected stack down, before anything is removed.

    `pulumi destroy --skip-preview` would first remove everything that is not protected.

    Raises:
        Problem: a resource of the stack is protected.
    """
    there = [found for found in resources(stack) if not found["type"].startswith("pulumi:")]
    kept = [found["urn"].rsplit("::", 1)[-1] for found in there if found.get("protect")]
    if not kept:
        return
    kinds = Counter(found["type"].rpartition(":")[2] for found in there)
    what = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    own = named(stack)
    raise Problem(
        f"stack {stack} is protected ({', '.join(kept)}): nothing was removed. Taking it down "
        f"would remove {what}: the hub with its database, and all running servers of users. Only "
        f"homes and shared folders would stay. To do it, first: make backup{own}; then:\n"
        f'  eval "$(make -s env{own})"\n'
        "  pulumi config set protect false && pulumi up\n"
        f"  make down{own}\n"
        "To keep the hub's database and the audit log as well, this in place of its second line:\n"
        "  pulumi config set retain true && pulumi up"
    )


def down(stack: str) -> None:
    """Destroy the stack.

    Raises:
        Problem: it is protected, or `pulumi destroy` failed.
    """
    if not exists(stack):
        print(f"Stack {stack} does not exist: nothing to do.")
        return
    _refuse_protected(stack)
    runs.unlock(stack)
    runs.half_made(stack, prefix(stack))
    yes = () if asks(stack) else ("--yes",)
    pulumi(stack, "destroy", *yes, "--stack", stack)


def print_kept_volumes(stack: str, docker: str) -> None:
    """Print which volumes are left on the stack's engine, and how to remove them."""
    options = docker_options(stack)
    rm = shlex.join(["docker", *options, "volume", "rm"])
    own = ["--filter", f"label=zhub.stack={prefix(stack)}", "--filter"]
    for role, what in (
        ("home", "The users' volumes are kept. To remove them for good"),
        ("shared", "Shared folders are kept. To remove them for good"),
        ("state", "The hub's database is kept (retain). To remove it for good"),
        ("audit", "The audit log is kept (retain). To remove it for good"),
    ):
        found = output(
            [docker, *options, "volume", "ls", "--quiet", *own, f"label=zhub.role={role}"]
        )
        if found:
            print(f"\n{what}: {rm} {' '.join(found.split())}")


def outputs(stack: str) -> dict[str, object]:
    """The stack's outputs, without secrets; none while it is not up."""
    if keeps_no_state() or not (BIN / "pulumi").exists() or not exists(stack):
        return {}
    found: dict[str, object] = json.loads(
        pulumi(stack, "stack", "output", "--stack", stack, "--json", quiet=True)
    )
    return found


def images(stack: str, chosen: Sequence[str]) -> dict[str, str]:
    """The images to look at, by what to call them: those named, else the stack's, by digest.

    A tag may be another stack's by now. `docker` commands then go to the stack's engine, unless the
    shell says otherwise. There are none while the stack is not up.
    """
    if chosen:
        return {name: name for name in chosen}
    suffix = "Digest"
    found = {
        f"{prefix(stack)}_{key.removesuffix(suffix)}": str(digest)
        for key, digest in outputs(stack).items()
        if key.endswith(suffix)
    }
    address = engine_address(stack)
    if address and "DOCKER_HOST" not in os.environ:
        os.environ["DOCKER_HOST"] = address
        if folder := _certificates(stack):
            os.environ |= {"DOCKER_CERT_PATH": str(folder), "DOCKER_TLS_VERIFY": "1"}
    return found
