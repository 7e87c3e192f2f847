"""Attempts to climb out of a user's server, or into the process that holds its hub token."""

from __future__ import annotations

import json
import textwrap

import docker
import pytest
from docker.models.containers import Container

from tests.engine.attacks.conftest import Tenant
from tests.engine.people import Entrance
from tests.engine.stack import Stack

pytestmark = pytest.mark.engine

#: Harmless where it succeeds: files are opened and closed, and the rest dies with the container.
CLIMB = textwrap.dedent(
    """
    import ctypes, json, os, socket
    libc = ctypes.CDLL(None, use_errno=True)
    def mount():
        if libc.mount(b"tmpfs", b"/mnt", b"tmpfs", 0, None):
            raise OSError(ctypes.get_errno(), "mount")
    attempts = {
        "raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
        "packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3),
        "mount": mount,
        "device": lambda: os.mknod("/tmp/device", 0o60600, os.makedev(8, 0)),
        "host name": lambda: socket.sethostname("mallory"),
        "kernel settings": lambda: open("/proc/sys/kernel/core_pattern", "w").close(),
        "passwords": lambda: open("/etc/shadow").close(),
        "programs": lambda: open("/opt/jupyter/escape", "w").close(),
        "user id": lambda: os.setuid(0),
        "mounts of its own": lambda: os.unshare(os.CLONE_NEWNS),
        "users of its own": lambda: os.unshare(os.CLONE_NEWUSER),
        "chroot": lambda: os.chroot("/usr"),
    }
    def succeeds(attempt):
        try:
            attempt()
        except OSError:
            return False
        return True
    result = {name: succeeds(attempt) for name, attempt in attempts.items()}
    """
)


def climbed_with_rights(stack: Stack, engine: docker.DockerClient, image: str) -> dict[str, bool]:
    """What succeeds in a container of an image that has the rights for all of it."""
    rights = ["NET_RAW", "NET_ADMIN", "SYS_ADMIN", "SYS_CHROOT", "SETUID", "MKNOD", "DAC_OVERRIDE"]
    config = engine.api.create_host_config(cap_add=rights, security_opt=["seccomp=unconfined"])
    made = engine.api.create_container(
        image,
        ["/opt/jupyter/bin/python3", "-c", f"{CLIMB}\nprint(json.dumps(result))"],
        labels={"zhub.stack": stack.prefix, "zhub.role": "climber"},
        user="root",
        host_config={**config, "MaskedPaths": [], "ReadonlyPaths": []},
    )
    container = engine.containers.get(made["Id"])
    try:
        container.start()
        assert container.wait(timeout=120)["StatusCode"] == 0, container.logs()
        found: dict[str, bool] = json.loads(container.logs(stderr=False))
        return found
    finally:
        container.remove(force=True)


def test_nothing_to_climb_with(
    stack: Stack, engine: docker.DockerClient, entrance: Entrance, mallory: Tenant
) -> None:
    # With rights all of it works: the attempts are real ones. But for the last, which threads
    # prevent, and QEMU has some.
    found = climbed_with_rights(stack, engine, entrance.outputs["notebookDigest"])
    assert {name for name, done in found.items() if not done} <= {"users of its own"}

    found = mallory.run(CLIMB)
    assert not any(found.values()), found


STATUS = textwrap.dedent(
    """
    wanted = ("Uid", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
    lines = (line.split() for line in open("/proc/self/status"))
    result = {line[0][:-1]: line[1] for line in lines if line and line[0][:-1] in wanted}
    """
)


def test_the_servers_processes_have_no_rights_to_give(mallory: Tenant) -> None:
    none = "0" * 16
    assert mallory.run(STATUS) == {
        "Uid": "1000",
        "CapInh": none,
        "CapPrm": none,
        "CapEff": none,
        "CapBnd": none,
        "CapAmb": none,
        "NoNewPrivs": "1",
        "Seccomp": "2",
    }


def test_nothing_of_the_engine_the_hub_or_another_user_is_there(
    mallory: Tenant, alice: Tenant, hub: Container
) -> None:
    alice.user.save("diary.txt", "dear diary")
    find = "find / -path /proc -prune -o -name diary.txt -print 2>/dev/null"
    assert alice.shell(find)[1] == "/home/jovyan/diary.txt\n"
    assert not mallory.shell(find)[1]
    places = "/var/run/docker.sock /run/guard /certs /srv/jupyterhub /run/zhub /var/lib/docker"
    assert hub.exec_run(["ls", "-d", "/certs", "/srv/jupyterhub", "/run/guard"]).exit_code == 0
    for place in places.split():
        assert mallory.shell(f"test -e {place}")[0] == 1, place
    # Processes, too, are their own only.
    names = mallory.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")[1]
    assert "zsingleuser" in names
    assert "proxy.mjs" not in names


def test_what_runs_the_server_cannot_be_written(mallory: Tenant) -> None:
    places = "/opt /usr /etc /bin /lib /sbin /srv /var/lib /var/cache"
    find = f"find {places} -xdev -writable -not -type l -not -type c 2>/dev/null"
    assert not mallory.shell(find)[1]
    # That find can tell: the user's own folder.
    assert "/home/jovyan\n" in mallory.shell("find /home -xdev -maxdepth 1 -writable")[1]
