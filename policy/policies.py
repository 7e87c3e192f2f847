"""What would weaken a deployment, a policy each: the model is in docs/security.md.

A policy looks at what the program declares, so it sees neither what the images do nor what the
guard lets the hub start; those have tests of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from pulumi_policy import ReportViolation, ResourceValidationArgs, ResourceValidationPolicy
from pulumi_policy.proxy import UnknownValueError

CONTAINER = "docker:index/container:Container"
IMAGE = "docker:index/image:Image"
NETWORK = "docker:index/network:Network"
VOLUME = "docker:index/volume:Volume"

#: Capabilities a container of that role may have: to become its own user, and to give it its files.
CAPABILITIES = {
    "guard": {"CAP_SETGID", "CAP_SETUID"},
    "directory": {"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SETGID", "CAP_SETUID"},
}

#: What the guard holds users' servers to.
USER_LIMITS = ("ZHUB_USER_MEMORY", "ZHUB_USER_CPUS", "ZHUB_USER_PIDS")

#: Where the guard finds the engine, and the hub the guard.
ENGINE_SOCKET = "/var/run/docker.sock"
GUARD_SOCKET = "/run/guard/engine.sock"

Inputs = Mapping[str, Any]

Check = Callable[[Inputs], Iterator[str]]
"""Says what is wrong with a resource, by its inputs; nothing when it is all right."""


def role(container: Inputs) -> str:
    """What the container is for, by its label; empty without one."""
    labels = container.get("labels") or []
    return next((pair["value"] for pair in labels if pair["label"] == "zhub.role"), "")


def runs(container: Inputs) -> bool:
    """Whether the container is ever started: one that only carries files into a volume is not."""
    return container.get("start") is not False


def variables(container: Inputs) -> dict[str, str]:
    """The container's environment variables, as far as their values are known by now."""
    envs, found = container.get("envs") or [], {}
    for number in range(len(envs)):
        try:
            name, _, value = envs[number].partition("=")
        except UnknownValueError:
            continue
        found[name] = value
    return found


def not_privileged(container: Inputs) -> Iterator[str]:
    """Nothing that makes a container as mighty as the machine."""
    for key in ("privileged", "devices", "deviceRequests", "deviceCgroupRules", "gpus"):
        if container.get(key):
            yield f"{key} is set"


def own_namespaces(container: Inputs) -> Iterator[str]:
    """No namespace of the machine's, and none of another container's."""
    for key in ("networkMode", "pidMode", "ipcMode", "usernsMode", "cgroupnsMode"):
        mode = container.get(key) or ""
        if mode == "host" or mode.startswith("container:"):
            yield f"{key} is {mode}"


def no_files_of_the_machine(container: Inputs) -> Iterator[str]:
    """No host path, and the engine's socket for none but a guard without network."""
    volumes = container.get("volumes") or []
    mounts = container.get("mounts") or []
    guard = role(container) == "guard" and container.get("networkMode") == "none"
    for volume in volumes:
        path = volume.get("hostPath") or ""
        its_socket = volume.get("containerPath") == ENGINE_SOCKET and path.endswith(".sock")
        if path and not (guard and its_socket):
            yield f"{path} of the engine's machine is mounted"
        if other := volume.get("fromContainer"):
            yield f"the volumes of {other} are mounted"
    for mount in mounts:
        if mount.get("type") not in {"volume", "tmpfs"}:
            yield f"{mount.get('source')} of the engine's machine is mounted"


def guarded(container: Inputs) -> Iterator[str]:
    """The hub speaks to the guard, and to no engine."""
    host = variables(container).get("DOCKER_HOST")
    if role(container) == "hub" and host != f"unix://{GUARD_SOCKET}":
        yield f"DOCKER_HOST is {host or 'not set'}, which is not the guard's socket"


def no_volume_of_the_machine(volume: Inputs) -> Iterator[str]:
    """No host path or disk by way of a volume."""
    device = (volume.get("driverOpts") or {}).get("device") or ""
    if device.startswith("/"):
        yield f"the volume is {device} of the engine's machine"


def memory_limited(container: Inputs) -> Iterator[str]:
    """A limit on memory, and no swap beyond it."""
    memory = container.get("memory")
    if runs(container) and not memory:
        yield "memory is not limited"
    elif runs(container) and container.get("memorySwap") != memory:
        yield "memorySwap is not the same as memory, so that there is swap beyond the limit"


def users_limited(container: Inputs) -> Iterator[str]:
    """The guard is told every limit of users' servers."""
    if role(container) == "guard":
        for name in USER_LIMITS:
            if not variables(container).get(name):
                yield f"{name} is not set: the guard is not told that limit of users' servers"


def capabilities_dropped(container: Inputs) -> Iterator[str]:
    """No capability but those the role needs."""
    if not runs(container):
        return
    capabilities = container.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drops") or []):
        yield "capabilities are not dropped"
    for name in capabilities.get("adds") or []:
        if name not in CAPABILITIES.get(role(container), set()):
            yield f"it has the capability {name}"


def no_new_privileges(container: Inputs) -> Iterator[str]:
    """No way to more privileges, and the engine's own seccomp and AppArmor profiles."""
    if not runs(container):
        return
    options = list(container.get("securityOpts") or [])
    allowed = {"no-new-privileges", "no-new-privileges:true"}
    if not allowed & set(options):
        yield "securityOpts has no no-new-privileges:true"
    for option in options:
        if option not in allowed:
            yield f"securityOpts has {option}"


def confined(container: Inputs) -> Iterator[str]:
    """Hub and guard cannot change their own files; the hub is never root."""
    if role(container) in {"hub", "guard"} and not container.get("readOnly"):
        yield "readOnly is not set"
    user = str(container.get("user") or "").partition(":")[0]
    if role(container) == "hub" and user in {"", "0", "root"}:
        yield "user is root"


def https_only(container: Inputs) -> Iterator[str]:
    """Other machines reach the hub's HTTPS port and nothing else."""
    if container.get("publishAllPorts"):
        yield "publishAllPorts is set"
    serves_tls = role(container) == "hub" and any(
        volume.get("containerPath") == "/certs" for volume in container.get("volumes") or []
    )
    command = container.get("command") or []
    for port in container.get("ports") or []:
        address, inside = port.get("ip") or "0.0.0.0", int(port["internal"])  # noqa: S104
        if not (ip_address(address).is_loopback or (serves_tls and f"--port={inside}" in command)):
            yield f"port {inside} is published at {address} without TLS"


def platform_named(image: Inputs) -> Iterator[str]:
    """An image for the platform that is configured, not for the one that happens to build it."""
    if not (image.get("build") or {}).get("platform"):
        yield "build.platform is missing: the image would be for the engine's own platform"


def own_network(network: Inputs) -> Iterator[str]:
    """No network that puts containers onto the site's."""
    if (driver := network.get("driver") or "bridge") != "bridge":
        yield f"driver is {driver}"


def policy(kind: str, check: Check) -> ResourceValidationPolicy:
    """A policy for the resources of a type, with the name and the summary of its check."""

    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        if args.resource_type != kind:
            return
        try:
            for problem in check(args.props):
                report(f"{args.name}: {problem}", None)
        except UnknownValueError as error:
            # The SDK would let it pass, with a remark: `up` would be the first to find out.
            report(f"{args.name}: {'.'.join(error.props)} is not known before `pulumi up`", None)

    summary = (check.__doc__ or "").partition("\n")[0]
    return ResourceValidationPolicy(check.__name__.replace("_", "-"), summary, validate)


def known_types(args: ResourceValidationArgs, report: ReportViolation) -> None:
    """Report what could make a container and is judged by none of the policies here."""
    if args.resource_type.startswith("docker") and args.resource_type not in dict(CHECKS):
        report(f"{args.name}: no policy knows the type {args.resource_type}", None)


CHECKS: tuple[tuple[str, Check], ...] = (
    (CONTAINER, not_privileged),
    (CONTAINER, own_namespaces),
    (CONTAINER, no_files_of_the_machine),
    (CONTAINER, guarded),
    (CONTAINER, memory_limited),
    (CONTAINER, users_limited),
    (CONTAINER, capabilities_dropped),
    (CONTAINER, no_new_privileges),
    (CONTAINER, confined),
    (CONTAINER, https_only),
    (IMAGE, platform_named),
    (NETWORK, own_network),
    (VOLUME, no_volume_of_the_machine),
)

POLICIES = [
    *(policy(kind, check) for kind, check in CHECKS),
    ResourceValidationPolicy(
        "known-types", "Nothing of Docker's that no policy here knows.", known_types
    ),
]
