"""A Docker engine that answers, a client that can build with it, and s390x on any processor."""

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

#: Of an image; the engine wants to be told where it is not its own.
PLATFORM = "{{.Os}}/{{.Architecture}}"

#: Seconds that dockerd gets to answer after its start.
START_TIMEOUT = 60

#: From this version on the client's BuildKit is a plugin of its own, buildx.
BUILDX_NEEDED = 23

#: Of Debian's engine and its containerd; each names the process of the last one, and a reboot does
#: not remove it everywhere.
PID_FILES = {
    Path("/var/run/docker.pid"): "dockerd",
    Path("/var/run/docker/containerd/containerd.pid"): "containerd",
}
SOCKET = Path("/var/run/docker.sock")

#: There where systemd runs the machine.
SYSTEMD = Path("/run/systemd/system")

BINFMT = Path("/proc/sys/fs/binfmt_misc")
HANDLER = BINFMT / "qemu-s390x"


def clients() -> Iterator[str]:
    """Every `docker` on PATH; Debian's own may stand behind another."""
    for folder in dict.fromkeys([*os.get_exec_path(), "/usr/bin"]):
        found = shutil.which("docker", path=folder)
        if found and Path(folder) != BIN:
            yield found


def builds(client: str) -> bool:
    """Whether this client can build with BuildKit, without which no other platform is built."""
    version = re.match(r"Docker version (\d+)\.", output([client, "--version"]) or "")
    if version is None:
        return False
    return int(version[1]) < BUILDX_NEEDED or output([client, "buildx", "version"]) is not None


def client() -> str:
    """A Docker client with BuildKit; Debian's is installed where there is none.

    Raises:
        Problem: there is none and it may not be installed.
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


def architecture(docker: str) -> str | None:
    """The processor of the engine that answers, in Docker's words; None when none answers."""
    return output([docker, "version", "--format", "{{.Server.Arch}}"], timeout=20) or None


def _may_start() -> None:
    """Refuse to start an engine where another one is meant, or where this user may not.

    Raises:
        Problem: what to type instead.
    """
    if host := os.environ.get("DOCKER_HOST"):
        raise Problem(
            f"the engine at DOCKER_HOST={host} does not answer. "
            "Start it, or `unset DOCKER_HOST` to use this machine's own."
        )
    if is_root():
        return
    if SOCKET.exists() and not os.access(SOCKET, os.W_OK):
        user = getpass.getuser()
        raise Problem(
            f"you may not talk to the Docker engine at {SOCKET}. As root: usermod -aG docker "
            f"{user}; then log in again. Who is in that group is root on this machine."
        )
    raise Problem(
        "no Docker engine answers. As root: systemctl start docker (not installed yet, on Debian: "
        "apt-get install docker.io)"
    )


def _forget_dead_engine() -> None:
    """Remove process id files of an engine that is gone, whose numbers another process may have.

    dockerd would refuse to start because of its own, and wait in vain for the containerd of the
    other.
    """
    for file, expected in PID_FILES.items():
        if not file.exists():
            continue
        if output(["ps", "-p", file.read_text().strip(), "-o", "comm="]) != expected:
            say(STEP, f"{file} is of an engine that is gone: removing it")
            file.unlink()


def _launch() -> tuple[subprocess.Popen[bytes] | None, str]:
    """Start the engine; returns its process, where it is ours, and where its log is."""
    if SYSTEMD.exists():
        run(STEP, ["systemctl", "start", "docker"], mend="See: journalctl -u docker")
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
        Problem: it may not be started, or does not come up.
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
            # Debian's package may have started one of its own meanwhile: that one is as good.
            if process and process.poll() and not output(["pidof", "dockerd"]):
                raise Problem(f"the Docker engine ended with code {process.returncode}: see {log}")
            if time.monotonic() > end:
                raise Problem(f"the Docker engine did not start in {START_TIMEOUT} s: see {log}")
            time.sleep(0.5)


def ensure() -> str:
    """Have a client and an engine; returns the engine's architecture in Docker's words.

    Raises:
        Problem: there is none and it may not be installed or started.
    """
    if context := os.environ.get("DOCKER_CONTEXT"):
        raise Problem(
            f"DOCKER_CONTEXT={context}: Pulumi would build on one engine and run on another. "
            "Type: unset DOCKER_CONTEXT; and set DOCKER_HOST or `pulumi config set docker:host …`"
        )
    docker = client()
    return architecture(docker) or _start(docker)


def local() -> bool:
    """Whether the engine runs on this machine's own kernel, which can then be prepared.

    Elsewhere than on Linux it runs in a virtual machine that brings its emulation.
    """
    here = os.environ.get("DOCKER_HOST", "unix://").startswith("unix://")
    return here and platform.system() == "Linux"


def emulates() -> bool:
    """Whether this kernel runs s390x programs, in containers too (flag F: no path needed)."""
    if not HANDLER.exists():
        return False
    text = HANDLER.read_text()
    return text.startswith("enabled") and re.search(r"^flags: .*F", text, re.MULTILINE) is not None


def ensure_emulation(architecture: str) -> None:
    """Make the engine run s390x containers, by QEMU where its own processor is another.

    Raises:
        Problem: this machine's kernel cannot be prepared, or the handler does not take.
    """
    if architecture == "s390x" or not local() or emulates():
        return
    prepare = (
        "apt-get install qemu-user-static binfmt-support; mount -t binfmt_misc binfmt_misc "
        f"{BINFMT}; update-binfmts --enable qemu-s390x"
    )
    if not is_root():
        raise Problem(f"this machine cannot run s390x programs yet. As root on Debian: {prepare}")
    if shutil.which("update-binfmts") is None or shutil.which("qemu-s390x-static") is None:
        apt_install(EMULATION, "qemu-user-static", "binfmt-support")
    mount = ["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)]
    if not (BINFMT / "status").exists() and output(mount) is None:
        # In a container with the engine's socket: its kernel may emulate and not show it here.
        say(EMULATION, f"{BINFMT} cannot be mounted here: taking it that the engine emulates s390x")
        return
    if not emulates():
        run(EMULATION, ["update-binfmts", "--enable", "qemu-s390x"])
    if not emulates():
        raise Problem(f"QEMU's s390x handler did not take in {HANDLER}. Try as root: {prepare}")
    say(EMULATION, f"s390x programs run on this {architecture} machine")


def image(name: str, field: str) -> str:
    """What the engine knows of an image.

    Args:
        name: of the image.
        field: a Go template, as `docker image inspect` takes it.

    Raises:
        Problem: the engine does not have the image.
    """
    told = output([client(), "image", "inspect", f"--format={field}", name])
    if told is None:
        raise Problem(f"the engine has no image {name}: `make up` builds the images first")
    return told
