"""System calls that the list for users' servers leaves out, tried in one.

Such as sockets that neither network namespace nor packet filter controls.
"""

from __future__ import annotations

import json
import textwrap

import docker
import pytest

from tests.engine.attacks.conftest import Tenant
from tests.engine.people import Entrance
from tests.engine.stack import Stack

pytestmark = pytest.mark.engine

#: By number, since Python may lack names for some; each with a type and protocol that it accepts.
FAMILIES = textwrap.dedent(
    """
    import json, socket
    families = {
        "AX25": (3, 2, 0), "IPX": (4, 2, 0), "APPLETALK": (5, 2, 0), "X25": (9, 5, 0),
        "KEY": (15, 3, 2), "PACKET": (17, 2, 0), "RDS": (21, 5, 0), "PPPOX": (24, 1, 0),
        "LLC": (26, 2, 0), "IB": (27, 3, 0), "MPLS": (28, 3, 0), "CAN": (29, 3, 1),
        "TIPC": (30, 1, 0), "BLUETOOTH": (31, 3, 1), "IUCV": (32, 1, 0), "RXRPC": (33, 2, 2),
        "PHONET": (35, 2, 0), "IEEE802154": (36, 2, 0), "CAIF": (37, 1, 0), "ALG": (38, 5, 0),
        "NFC": (39, 5, 1), "VSOCK": (40, 1, 0), "KCM": (41, 5, 0), "QIPCRTR": (42, 2, 0),
        "SMC": (43, 1, 0), "XDP": (44, 3, 0), "MCTP": (45, 2, 0),
        "NETLINK_XFRM": (16, 3, 6), "NETLINK_AUDIT": (16, 3, 9), "NETLINK_KOBJECT": (16, 3, 15),
    }
    def opens(*numbers):
        try:
            socket.socket(*numbers).close()
        except OSError:
            return False
        return True
    result = [name for name, numbers in families.items() if opens(*numbers)]
    """
)

#: Changes nothing of the home, by a request that could also take it out of its project, and so out
#: of a quota (FS_IOC_SETFLAGS of linux/fs.h, which QEMU knows as well).
FLAGS = textwrap.dedent(
    """
    import fcntl, json, os
    home, flags = os.open("/home/jovyan", os.O_RDONLY), bytearray(8)
    fcntl.ioctl(home, 0x80086601, flags)
    try:
        fcntl.ioctl(home, 0x40086602, flags)
        result = "done"
    except OSError as error:
        result = os.strerror(error.errno)
    """
)

#: What users do all day, and the system calls below it.
WORK = textwrap.dedent(
    """
    import json, mmap, multiprocessing, os, pty, socket, subprocess, sys, threading
    def run(*command):
        return subprocess.run(command, capture_output=True, timeout=120).returncode
    def terminal():
        pid, descriptor = pty.fork()
        if not pid:
            os.execvp("true", ["true"])
        return os.waitpid(pid, 0)[1]
    def threads():
        found = []
        each = [threading.Thread(target=found.append, args=(n,)) for n in range(8)]
        for thread in each:
            thread.start()
        for thread in each:
            thread.join()
        return len(found) - 8
    def sockets():
        one, other = socket.socketpair()
        one.send(b"x")
        named = [socket.socket(*pair) for pair in ((2, 1), (2, 2), (10, 1), (10, 2), (1, 1))]
        return int(other.recv(1) != b"x") + len(named) - 5
    def interfaces():
        return int(not socket.if_nameindex())
    def names():
        return int(not socket.getaddrinfo("localhost", 80))
    def shared():
        lock = multiprocessing.Lock()
        with lock, mmap.mmap(-1, 4096) as memory:
            memory[0] = 1
        return 0
    result = {
        "shell": run("bash", "-c", "echo x | cat >/dev/null & wait"),
        "pip": run(sys.executable, "-m", "pip", "--version"),
        "numpy": run(sys.executable, "-c", "import numpy as n; n.ones((9, 9)) @ n.ones((9, 9))"),
        "debugger": run(sys.executable, "-c", "import debugpy; debugpy.listen(('127.0.0.1', 0))"),
        "terminal": terminal(), "threads": threads(), "sockets": sockets(),
        "interfaces": interfaces(), "names": names(), "shared": shared(),
    }
    """
)


def unconfined(code: str, stack: Stack, engine: docker.DockerClient, entrance: Entrance) -> object:
    """The result of code in a container of the users' image that may make all system calls."""
    output = engine.containers.run(
        entrance.outputs["notebookDigest"],
        ["/opt/jupyter/bin/python3", "-c", f"{code}\nprint(json.dumps(result))"],
        labels={"zhub.stack": stack.prefix, "zhub.role": "opener"},
        remove=True,
        security_opt=["seccomp=unconfined"],
    )
    found: object = json.loads(output)
    return found


def test_no_socket_leaves_the_network_namespace(
    mallory: Tenant, stack: Stack, engine: docker.DockerClient, entrance: Entrance
) -> None:
    """The kernel decides which families exist; without the profile, some can be used."""
    assert unconfined(FAMILIES, stack, engine, entrance), "nothing would have been shown"
    assert mallory.run(FAMILIES) == []


def test_nobody_takes_files_out_of_the_quota_of_a_home(
    mallory: Tenant, stack: Stack, engine: docker.DockerClient, entrance: Entrance
) -> None:
    assert unconfined(FLAGS, stack, engine, entrance) == "done"
    assert mallory.run(FLAGS) == "Operation not permitted"


def test_the_seccomp_profile_allows_what_users_do(mallory: Tenant) -> None:
    assert {name: status for name, status in mallory.run(WORK).items() if status} == {}
