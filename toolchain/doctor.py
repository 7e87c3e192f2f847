"""Check what is installed and what is missing, and say what to type: `make doctor`."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from toolchain import base, cli, engine, environment, stack
from toolchain.console import Problem, output, printable
from toolchain.pins import PULUMI
from toolchain.places import BIN, CACHE
from toolchain.stack import named

#: Bytes of disk needed for images, CLI and caches, and to build them.
DISK_NEEDED = 8 * 1000**3

#: How long the stack's engine may take to say what it is.
ENGINE_SECONDS = 20

#: Templates for `docker info` and `docker node ls`: the last has a fourth word for managers.
SWARM_STATE = "{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}"
SWARM_NODES = "{{.Hostname}} {{.Status}},{{.Availability}} {{.EngineVersion}} {{.ManagerStatus}}"
SWARM_SERVICES = "{{.Name}} {{.Replicas}}"

#: Days before its end in which `pulumi up` renews a certificate that Pulumi has made.
RENEWAL_DAYS = 30

INSTALLS_IT = "make up installs it"
ENGINE_AS_ROOT = "make up as root installs and starts Debian's; else: apt-get install docker.io"


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        good: whether all is well.
        text: what was checked, and what was found.
        fix: what to type if it is not good.
        word: for it, if it is not good; of seven letters.
        serious: whether something does not work, if it is not good.
    """

    good: bool
    text: str
    fix: str = INSTALLS_IT
    word: str = "MISSING"
    serious: bool = True


def _python() -> Finding:
    agrees = environment.agrees(development=False) or environment.agrees(development=True)
    state = "as locked" if agrees else "missing or not as locked"
    return Finding(agrees, f"Python {sys.version.split()[0]}, its packages in .venv: {state}")


def _cli() -> Iterator[Finding]:
    found = output([BIN / "pulumi", "version"])
    good = found == f"v{PULUMI}"
    yield Finding(good, f"Pulumi CLI: {found or 'missing'}")
    if not good and cli.release_name() is None and cli.go_installed() is None:
        needed = ".".join(map(str, cli.go_needed()))
        yield Finding(good=True, text=f"no Go {needed} to build it with: make up installs one")


def _disk() -> Finding:
    folder = next(parent for parent in (CACHE, *CACHE.parents) if parent.exists())
    free = shutil.disk_usage(folder).free
    text = f"{free / 1000**3:.0f} GB of disk free at {folder}"
    return Finding(
        free > DISK_NEEDED, text, f"free some: {DISK_NEEDED / 1000**3:.0f} GB are needed"
    )


def _engine() -> Iterator[Finding]:
    if context := os.environ.get("DOCKER_CONTEXT"):
        yield Finding(good=False, text=f"DOCKER_CONTEXT={context}", fix="unset DOCKER_CONTEXT")
    link = BIN / "docker"
    docker = str(link) if link.exists() else next(filter(engine.builds, engine.clients()), None)
    if docker is None:
        yield Finding(good=False, text="Docker client with BuildKit: none", fix=ENGINE_AS_ROOT)
        return
    yield Finding(good=True, text=f"Docker client with BuildKit: {Path(docker).resolve()}")
    architecture = engine.architecture(docker)
    if architecture is None:
        yield Finding(good=False, text="Docker engine: does not answer", fix=ENGINE_AS_ROOT)
        return
    yield Finding(good=True, text=f"Docker engine: answers, {architecture}")
    if architecture != "s390x" and engine.local():
        emulates = engine.emulates()
        yield Finding(emulates, f"s390x emulation: {'enabled' if emulates else 'not enabled'}")
    for tag in base.missing(docker, architecture):
        text = f"base image {tag}: missing, for another processor, or from other archives"
        yield Finding(good=False, text=text)


def _docker(name: str, *arguments: str, seconds: int = ENGINE_SECONDS) -> str | None:
    """What `docker` prints about the stack's engine; None without a client, or if it fails."""
    client = next(engine.clients(), None)
    if client is None:
        return None
    return output([client, *stack.docker_options(name), *arguments], timeout=seconds)


def _remote(name: str) -> Finding:
    """Whether the stack's engine on another machine answers."""
    address = stack.engine_address(name)
    version = _docker(name, "version", "--format", "{{.Server.Version}}")
    state = f"answers, Docker {version}" if version else "does not answer"
    command = shlex.join(["docker", *stack.docker_options(name), "version"])
    return Finding(
        version is not None,
        f"the stack's engine at {address}: {state}",
        f"this says why: {command}",
    )


def _warning(text: str, fix: str) -> Finding:
    return Finding(good=False, text=text, fix=fix, word="WARNING", serious=False)


def _live_restore(name: str) -> Iterator[Finding]:
    """Whether the stack's engine keeps containers while it restarts; neither is a fault."""
    on = _docker(name, "info", "--format", "{{.LiveRestoreEnabled}}")
    if on == "true":
        text = "live-restore: on; users' servers run on while the engine restarts"
    elif on == "false":
        text = (
            "live-restore: off; a restart of the engine ends all users' servers, files stay"
            " (docs/operations.md, The engine restarts)"
        )
    else:
        return
    yield Finding(good=True, text=text)


def _swarm(name: str) -> Iterator[Finding]:
    """The nodes of the swarm that users' servers run on, as the stack's engine knows them."""
    if not stack.on_swarm(name):
        return
    command = shlex.join(["docker", *stack.docker_options(name)])
    state = _docker(name, "info", "--format", SWARM_STATE)
    if state != "active true":
        yield Finding(
            good=False,
            text=f"swarm: the stack's engine is not a working manager ({state or 'no answer'})",
            fix=f"pulumi preview says what is wrong; {command} info shows more",
        )
        return
    listed = _docker(name, "node", "ls", "--format", SWARM_NODES)
    nodes = [line.split(maxsplit=3) for line in (listed or "").splitlines()]
    managers = sum(len(node) > len(("name", "state", "engine")) for node in nodes)
    yield Finding(
        bool(nodes),
        f"swarm: {len(nodes)} nodes, {managers} of them managers",
        f"most of the managers are away: start them; {command} node ls",
    )
    for host, status, version, *_ in nodes:
        yield Finding(
            status == "Ready,Active",
            f"node {host}: {status.lower()}, engine {version}",
            f"{command} node inspect --pretty {host}",
            "WARNING",
            serious=False,
        )
    own = ["--filter", f"label=zhub.stack={stack.prefix(name)}", "--filter", "mode=global"]
    kept = _docker(name, "service", "ls", "--format", SWARM_SERVICES, *own)
    for service, replicas in (line.split()[:2] for line in (kept or "").splitlines()):
        running, _, wanted = replicas.partition("/")
        short = "" if running == wanted else "; servers start on no other"
        yield Finding(
            running == wanted,
            f"service {service}: runs on {running} of {wanted} nodes{short}",
            f"{command} service ps --no-trunc {service}",
            "WARNING",
            serious=False,
        )


def certificate(outputs: Mapping[str, object], now: datetime) -> Iterator[Finding]:
    """Whether the certificate of a stack that is up is to be renewed."""
    found = outputs.get("certificateExpires")
    if not isinstance(found, str):
        return
    days = (datetime.fromisoformat(found) - now).days
    yield Finding(
        days >= RENEWAL_DAYS,
        f"certificate: expires at {found}, {f'in {days} days' if days >= 0 else 'in the past'}",
        "make up renews it, if Pulumi has made it; your own: docs/operations.md, The certificate",
        "EXPIRES",
    )


def own_configuration(outputs: Mapping[str, object]) -> Iterator[Finding]:
    """Whether the hub runs configuration of the site's own, which nobody else has tried."""
    if digest := outputs.get("hubConfigSha256"):
        yield _warning(
            f"hubConfigFile: unsupported; the hub runs a file of your own (sha256 {digest})",
            "before you report a fault, see whether it also happens without the file:"
            " pulumi config rm hubConfigFile (docs/own-configuration.md)",
        )


def _groups(name: str) -> Iterator[Finding]:
    """Groups that settings name and the directory does not have: nobody is in them."""
    hub = f"{stack.prefix(name)}-hub"
    found = _docker(name, "exec", hub, "zhub", "check-directory", "--groups")
    for line in (found or "").splitlines():
        setting, _, group = line.partition(" ")
        yield _warning(
            f"{setting}: the service account finds no group {group} in the directory",
            f"correct {setting}, make the group, or let the account read it; nothing, if people's"
            " own entries name it: docs/identity.md",
        )


def _networks(name: str) -> Iterator[Finding]:
    """Networks that overlap on the stack's engine; a guard of an older release says nothing."""
    return _of_guard(name, "check-networks")


def _devices(name: str) -> Iterator[Finding]:
    """Devices of profiles that servers cannot use; only a guard that has some is asked."""
    guard = f"{stack.prefix(name)}-guard"
    found = _docker(name, "inspect", "--format", "{{json .Config.Env}}", guard)
    variables = dict(line.partition("=")[::2] for line in json.loads(found or "[]"))
    profiles = json.loads(variables.get("ZHUB_PROFILES", "[]"))
    if not any(profile.get("devices") for profile in profiles):
        return
    yield from _of_guard(name, "check-devices")


def _of_guard(name: str, command: str) -> Iterator[Finding]:
    """What a command of the hub image prints in the guard's container, a warning a line."""
    guard = f"{stack.prefix(name)}-guard"
    # It starts containers, and under emulation Python alone takes long.
    found = _docker(name, "exec", guard, "zhub", command, seconds=3 * ENGINE_SECONDS)
    for line in (found or "").splitlines():
        text, _, fix = line.partition("\t")
        yield _warning(text, fix)


def _logs(name: str) -> Iterator[Finding]:
    """Log options that the engine has added to those of the stack, from its daemon.json.

    It does so where both have one driver. Pulumi sees the difference at each `up`.
    """
    shown = "{{json .HostConfig.LogConfig.Config}}\n{{json .Config.Env}}"
    found = _docker(name, "inspect", "--format", shown, f"{stack.prefix(name)}-hub")
    if found is None:
        return
    made, lines = map(json.loads, found.splitlines())
    variables = dict(line.partition("=")[::2] for line in lines)
    if "ZHUB_LOG_OPTIONS" not in variables:
        return  # of a release before
    if added := sorted((made or {}).keys() - json.loads(variables["ZHUB_LOG_OPTIONS"]).keys()):
        yield _warning(
            f"logs: the engine's daemon.json adds {', '.join(added)} to the options of all"
            " containers, so that every pulumi up replaces hub, guard and proxy",
            "set the same in logOptions, or another logDriver: docs/logs.md",
        )


def check(name: str, *, with_engine: bool) -> None:
    """Run all checks and print the results. Changes nothing.

    Args:
        name: the stack's name, for the commands to type.
        with_engine: whether the stack uses this machine's engine.

    Raises:
        Problem: something is missing.
    """
    outputs = stack.outputs(name)
    remote = [_remote(name)] if stack.remote(name) else []
    # Of an engine that does not answer, each question would wait again.
    answers = all(finding.good for finding in remote)
    findings = [
        *(_python(), *_cli(), _disk(), *(_engine() if with_engine else [])),
        *remote,
        *((*_live_restore(name), *_swarm(name)) if answers else ()),
        *certificate(outputs, datetime.now(UTC)),
        *own_configuration(outputs),
    ]
    if answers and "container" in outputs:
        findings += [*_groups(name), *_devices(name), *_networks(name), *_logs(name)]
    for finding in findings:
        text = printable(finding.text)
        if finding.good:
            print(f"     ok  {text}", flush=True)
        else:
            fix = printable(finding.fix.replace("make up", f"make up{named(name)}"))
            print(f"{finding.word}  {text}\n         → {fix}", flush=True)
    if not all(finding.good or not finding.serious for finding in findings):
        raise Problem("something is missing, or expires; see above")


def check_directory(name: str, user: str) -> None:
    """Let a stack's hub test its directory, and print whether a user could log in.

    Raises:
        Problem: no hub runs, or it found something that does not work.
    """
    docker = next(engine.clients(), None)
    if docker is None:
        raise Problem("no Docker client: apt-get install docker.io")
    command = [docker, *stack.docker_options(name)]
    hub = f"{stack.prefix(name)}-hub"
    if output([*command, "inspect", "--format", "{{.State.Running}}", hub]) != "true":
        if stack.remote(name) and not (there := _remote(name)).good:
            raise Problem(f"{there.text}; {there.fix}")
        address = stack.engine_address(name)
        where = address or os.environ.get("DOCKER_HOST") or "this machine's engine"
        raise Problem(f"no container {hub} runs on {where}: make up{named(name)}")
    asked = [*command, "exec", hub, "zhub", "check-directory", "--", user]
    with subprocess.Popen(
        asked, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        for line in process.stdout or ():
            print(printable(line.rstrip("\n")), flush=True)
    if process.returncode:
        raise Problem(f"{user} cannot log in, or not all of the directory works; see above")
