"""A Docker engine that answers, a client that can build images, and s390x emulation."""

from __future__ import annotations

import getpass
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from toolchain.console import Problem, apt_install, is_root, output, run, say, timed
from toolchain.places import BIN, CACHE

STEP = "engine"
EMULATION = "emulation"

#: The template for an image's platform, which `docker` needs if it is not the engine's own.
PLATFORM = "{{.Os}}/{{.Architecture}}"

#: Seconds that dockerd gets to answer after its start. On a busy machine it takes more than 60.
START_TIMEOUT = 180

#: From this version on, the client needs the buildx plugin to build with BuildKit.
BUILDX_NEEDED = 23

#: Process id files of Debian's engine and its containerd, with the names of their processes. Not
#: every machine removes them at a reboot.
PID_FILES = {
    Path("/var/run/docker.pid"): "dockerd",
    Path("/var/run/docker/containerd/containerd.pid"): "containerd",
}
SOCKET = Path("/var/run/docker.sock")

#: Exists where systemd runs the machine.
SYSTEMD = Path("/run/systemd/system")

BINFMT = Path("/proc/sys/fs/binfmt_misc")
HANDLER = BINFMT / "qemu-s390x"


def clients() -> Iterator[str]:
    """Every `docker` on PATH: the first one may be less capable than Debian's."""
    for folder in dict.fromkeys([*os.get_exec_path(), "/usr/bin"]):
        found = shutil.which("docker", path=folder)
        if found and Path(folder) != BIN:
            yield found


def builds(client: str) -> bool:
    """Whether this client can build with BuildKit, which builds for other platforms need."""
    version = re.match(r"Docker version (\d+)\.", output([client, "--version"]) or "")
    if version is None:
        return False
    return int(version[1]) < BUILDX_NEEDED or output([client, "buildx", "version"]) is not None


def client() -> str:
    """A Docker client with BuildKit; installs Debian's if there is none.

    Raises:
        Problem: there is none, and this process may not install it.
    """
    link = BIN / "docker"
    if link.exists():
        return str(link)
    found = next(filter(builds, clients()), None)
    if found is None:
        apt_install(STEP, "docker.io")
        found = next(filter(builds, clients()), None)
    if found is None:
        raise Problem(
            "no Docker client here can build with BuildKit. "
            "On Debian 13: apt-get install docker-cli docker-buildx"
        )
    BIN.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(found)
    return str(link)


def options(address: str | None, certificates: Path | None) -> list[str]:
    """The options with which `docker` talks to an engine.

    Args:
        address: the engine's; None for the one that the environment or the machine has.
        certificates: the folder of the files for TLS; None for no TLS.
    """
    found = ["--host", address] if address else []
    if certificates:
        found += ["--tlsverify", f"--tlscacert={certificates / 'ca.pem'}"]
        found += [f"--tlscert={certificates / 'cert.pem'}", f"--tlskey={certificates / 'key.pem'}"]
    return found


def architecture(docker: str) -> str | None:
    """The engine's processor, as Docker calls it; None if no engine answers."""
    return output([docker, "version", "--format", "{{.Server.Arch}}"], timeout=20) or None


def _may_start() -> None:
    """Refuse to start an engine if another one was asked for, or if this user may not.

    Raises:
        Problem: it may not be started; the text says what to type.
    """
    if host := os.environ.get("DOCKER_HOST"):
        raise Problem(
            f"the engine at DOCKER_HOST={host} does not answer. "
            "Start it, or use this machine's own: unset DOCKER_HOST"
        )
    if is_root():
        return
    if SOCKET.exists() and not os.access(SOCKET, os.W_OK):
        user = getpass.getuser()
        raise Problem(
            f"user {user} may not use the Docker engine at {SOCKET}. As root: usermod -aG docker "
            f"{user}; then log in again. Members of that group can become root on this machine."
        )
    raise Problem(
        "no Docker engine answers. As root: systemctl start docker (not installed yet, on Debian: "
        "apt-get install docker.io)"
    )


def _forget_dead_engine() -> None:
    """Remove process id files of an engine that is gone; another process may have these ids now.

    Because of the first file, dockerd would refuse to start; because of the second, it would wait
    for a containerd that does not run.
    """
    for file, expected in PID_FILES.items():
        if not file.exists():
            continue
        if output(["ps", "-p", file.read_text().strip(), "-o", "comm="]) != expected:
            say(STEP, f"removing {file}: its engine no longer runs")
            file.unlink()


def _launch() -> tuple[subprocess.Popen[bytes] | None, str]:
    """Start the engine; returns its process, None if systemd started it, and its log."""
    if SYSTEMD.exists():
        run(STEP, ["systemctl", "start", "docker"], fix="See: journalctl -u docker")
        return None, "journalctl -u docker"
    _forget_dead_engine()
    CACHE.mkdir(parents=True, exist_ok=True)
    log = CACHE / "dockerd.log"
    with log.open("a") as file:
        process = subprocess.Popen(
            ["dockerd"],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    return process, str(log)


def _start(docker: str) -> str:
    """Start Debian's engine on this machine; returns its architecture.

    Raises:
        Problem: it may not be started, or does not start.
    """
    _may_start()
    if shutil.which("dockerd") is None:
        apt_install(STEP, "docker.io")
    with timed(STEP, "starting the Docker engine"):
        found = architecture(docker)  # installing it may have started it
        if found:
            return found
        process, log = _launch()
        end = time.monotonic() + START_TIMEOUT
        while True:
            if found := architecture(docker):
                return found
            # Meanwhile Debian's package may have started an engine, which will do.
            if process and process.poll() and not output(["pidof", "dockerd"]):
                raise Problem(f"the Docker engine ended with code {process.returncode}: see {log}")
            if time.monotonic() > end:
                raise Problem(f"the Docker engine did not start in {START_TIMEOUT} s: see {log}")
            time.sleep(0.5)


def ensure() -> str:
    """Get a client and a running engine; returns the engine's processor, as Docker calls it.

    Raises:
        Problem: there is none, and this process may not install or start it.
    """
    if context := os.environ.get("DOCKER_CONTEXT"):
        raise Problem(
            f"DOCKER_CONTEXT={context}: Pulumi would build on one engine and run on another. "
            "Type: unset DOCKER_CONTEXT; then set DOCKER_HOST, or docker:host in the stack's config"
        )
    docker = client()
    return architecture(docker) or _start(docker)


def local() -> bool:
    """Whether the engine uses this machine's kernel, where emulation can be set up.

    On other systems than Linux, the engine runs in a virtual machine that has emulation.
    """
    here = os.environ.get("DOCKER_HOST", "unix://").startswith("unix://")
    return here and platform.system() == "Linux"


def emulates() -> bool:
    """Whether this kernel runs s390x programs, also in containers (flag F: no path needed)."""
    if not HANDLER.exists():
        return False
    text = HANDLER.read_text()
    return text.startswith("enabled") and re.search(r"^flags: .*F", text, re.MULTILINE) is not None


def ensure_emulation(architecture: str) -> None:
    """Let the engine run s390x containers, with QEMU if it has another processor.

    Args:
        architecture: the engine's processor, as Docker calls it.

    Raises:
        Problem: emulation cannot be set up on this machine.
    """
    if architecture == "s390x" or not local() or emulates():
        return
    prepare = (
        "apt-get install qemu-user-static binfmt-support; mount -t binfmt_misc binfmt_misc "
        f"{BINFMT}; update-binfmts --enable qemu-s390x"
    )
    if not is_root():
        raise Problem(f"this machine cannot run s390x programs. As root on Debian: {prepare}")
    if shutil.which("update-binfmts") is None or shutil.which("qemu-s390x-static") is None:
        apt_install(EMULATION, "qemu-user-static", "binfmt-support")
    mount = ["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)]
    if not (BINFMT / "status").exists() and output(mount) is None:
        # In a container with the engine's socket, the kernel may emulate without showing it.
        say(EMULATION, f"{BINFMT} cannot be mounted here: assuming that the engine emulates s390x")
        return
    if not emulates():
        run(EMULATION, ["update-binfmts", "--enable", "qemu-s390x"])
    if not emulates():
        raise Problem(f"{HANDLER} is not enabled: no s390x emulation. Try as root: {prepare}")
    say(EMULATION, f"s390x programs run on this {architecture} machine")


def image(name: str, field: str) -> str:
    """A field of an image, from the engine.

    Args:
        name: of the image.
        field: a Go template for `docker image inspect`.

    Raises:
        Problem: the engine does not have the image.
    """
    value = output([client(), "image", "inspect", f"--format={field}", name])
    if value is None:
        raise Problem(f"the engine has no image {name}. To build this project's images: make up")
    return value
