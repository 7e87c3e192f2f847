"""Attempts to break out of a user's server, or into the process that holds its hub token."""

from __future__ import annotations

import json
import textwrap

import docker
import pytest
from docker.models.containers import Container

from tests.engine.attacks.conftest import Tenant, emulated, outsiders
from tests.engine.people import Entrance
from tests.engine.stack import Stack

pytestmark = pytest.mark.engine

#: Opens a socket with a 32-bit system call: socketcall, whose arguments no filter can read.
I386 = textwrap.dedent(
    """
    import ctypes, mmap, struct, sys
    # MAP_PRIVATE, MAP_ANONYMOUS, MAP_32BIT; to be read, written and run.
    page = mmap.mmap(-1, 4096, flags=0x62, prot=7)
    start = ctypes.addressof(ctypes.c_char.from_buffer(page))
    page[2048:2060] = struct.pack("<3I", 2, 1, 0)
    # push rbx; mov eax, 102; mov ebx, 1; mov ecx, start + 2048; int 80h; pop rbx; ret
    load = bytes.fromhex("53b866000000bb01000000b9") + struct.pack("<I", start + 2048)
    page[:20] = load + bytes.fromhex("cd805bc3")
    sys.exit(ctypes.CFUNCTYPE(ctypes.c_int)(start)() < 0)
    """
)

#: Harmless if it succeeds: files are only opened and closed, and the rest ends with the container.
CLIMB = f"I386 = {I386!r}\n" + textwrap.dedent(
    """
    import ctypes, json, os, platform, socket, struct, subprocess, sys
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    def mount():
        if libc.mount(b"tmpfs", b"/mnt", b"tmpfs", 0, None):
            raise OSError(ctypes.get_errno(), "mount")
    def call(number, *arguments):
        pointers = (a if isinstance(a, bytes) else ctypes.c_long(a) for a in arguments)
        if libc.syscall(ctypes.c_long(number), *pointers) < 0:
            raise OSError(ctypes.get_errno(), "call")
    # Of asm/unistd.h: add_key, keyctl, bpf, userfaultfd, perf_event_open.
    add_key, keyctl, bpf, userfaultfd, perf = {
        "x86_64": (248, 250, 321, 323, 298),
        "s390x": (278, 280, 351, 355, 331),
        "aarch64": (217, 219, 280, 282, 241),
    }[platform.machine()]
    def gate():
        # What is ended for it is a process of its own.
        if subprocess.run([sys.executable, "-c", I386], capture_output=True).returncode:
            raise OSError("gate")
    attempts = {"32-bit call": gate} if platform.machine() == "x86_64" else {}
    attempts |= {
        "keyring": lambda: call(keyctl, 1, 0),  # KEYCTL_JOIN_SESSION_KEYRING
        "key": lambda: call(add_key, b"user", b"mallory", b"x", 1, -2),  # of the process
        "io_uring": lambda: call(425, 1, bytes(120)),
        "userfaultfd": lambda: call(userfaultfd, 1),  # UFFD_USER_MODE_ONLY
        # BPF_MAP_CREATE: an array of one.
        "BPF": lambda: call(bpf, 0, struct.pack("=4I", 2, 4, 4, 1) + bytes(56), 72),
        # PERF_TYPE_SOFTWARE, of the process itself.
        "perf": lambda: call(perf, struct.pack("=2I", 1, 112) + bytes(104), 0, -1, -1, 0),
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

#: Calls that QEMU does not implement: nobody can use them under emulation.
NOT_EMULATED = {"keyring", "key", "io_uring", "userfaultfd", "BPF", "perf"}


def climbed_with_rights(stack: Stack, engine: docker.DockerClient, image: str) -> dict[str, bool]:
    """The attempts that succeed in a privileged container."""
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


def test_a_server_has_no_way_to_more_rights(
    stack: Stack,
    engine: docker.DockerClient,
    entrance: Entrance,
    mallory: Tenant,
    outsider: Container,
) -> None:
    # With privileges all attempts work, except for one that fails in a process with threads, which
    # QEMU has.
    image = entrance.outputs["notebookDigest"]
    found = climbed_with_rights(stack, engine, image)
    cannot = NOT_EMULATED | {"users of its own"} if emulated(outsider) else set()
    assert {name for name, done in found.items() if not done} <= cannot

    found = mallory.run(CLIMB)
    assert not any(found.values()), found


STATUS = textwrap.dedent(
    """
    wanted = ("Uid", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
    lines = (line.split() for line in open("/proc/self/status"))
    result = {line[0][:-1]: line[1] for line in lines if line and line[0][:-1] in wanted}
    """
)


def test_the_servers_processes_have_no_capabilities(mallory: Tenant, outsider: Container) -> None:
    none = "0" * 16
    others = outsiders(outsider, "result", STATUS, user="root")
    assert none not in {others["CapPrm"], others["CapEff"], others["CapBnd"]}
    assert others["NoNewPrivs"] == "0"
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
    # They see only their own processes.
    names = mallory.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")[1]
    assert "zsingleuser" in names
    assert "proxy.mjs" not in names


def test_users_cannot_write_the_servers_program_files(mallory: Tenant) -> None:
    places = "/opt /usr /etc /bin /lib /sbin /srv /var/lib /var/cache"
    find = f"find {places} -xdev -writable -not -type l -not -type c 2>/dev/null"
    assert not mallory.shell(find)[1]
    # To show that find works: the user's own folder.
    assert "/home/jovyan\n" in mallory.shell("find /home -xdev -maxdepth 1 -writable")[1]


#: What a process can do to another one of the same user, by its PID.
REACH = textwrap.dedent(
    """
    import ctypes, os, subprocess, sys, time
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = libc.ptrace.restype = ctypes.c_long
    def call(function, *arguments):
        done = function(*map(ctypes.c_long, arguments))
        if done < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return done
    def attach(pid):
        call(libc.ptrace, 16, pid, 0, 0)
        os.waitpid(pid, 0x40000000)
        call(libc.ptrace, 17, pid, 0, 0)
    def address(pid):
        # Where nobody is let see it, any will do: who may not, gets EPERM before EFAULT.
        try:
            return int(open(f"/proc/{pid}/maps").readline().partition("-")[0], 16)
        except OSError:
            return 0x400000
    def vm(function, pid):
        byte = ctypes.create_string_buffer(1)
        ours = (ctypes.c_long * 2)(ctypes.addressof(byte), 1)
        theirs = (ctypes.c_long * 2)(address(pid), 1)
        places = ctypes.addressof(ours), 1, ctypes.addressof(theirs), 1, 0
        call(function, pid, *places)
    def take_file(pid):
        call(libc.syscall, 438, call(libc.syscall, 434, pid, 0), 0, 0)  # pidfd_getfd, pidfd_open
    def trace_seized(pid):
        call(libc.ptrace, 0x4206, pid, 0, 0)
    def opened(file, mode):
        return lambda pid: open(f"/proc/{pid}/{file}", mode).close()
    attempts = {
        "read its memory": opened("mem", "rb"),
        "write its memory": opened("mem", "r+b"),
        "its environment": opened("environ", "rb"),
        "its addresses": lambda pid: open(f"/proc/{pid}/maps").readline(),
        "its open files": lambda pid: os.listdir(f"/proc/{pid}/fd"),
        "a file it has open": opened("fd/0", "rb"),
        "its root": lambda pid: os.readlink(f"/proc/{pid}/root"),
        "its folder": lambda pid: os.readlink(f"/proc/{pid}/cwd"),
        "its program": lambda pid: os.readlink(f"/proc/{pid}/exe"),
        "its name": opened("comm", "r+b"),
        "what a core dump holds": opened("coredump_filter", "r+b"),
        "when it is ended": opened("oom_score_adj", "r+b"),
        "ptrace": attach,
        "ptrace, seized": trace_seized,
        "process_vm_readv": lambda pid: vm(libc.process_vm_readv, pid),
        "pidfd_getfd": take_file,
    }
    def reached(pid):
        found = []
        for name, attempt in attempts.items():
            try:
                attempt(pid)
            except (OSError, ValueError):
                continue
            found.append(name)
        return found
    ordinary = subprocess.Popen(["sleep", "60"])
    time.sleep(0.5)
    processes = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if b"zsingleuser" in open(f"/proc/{pid}/cmdline", "rb").read():
            processes[pid] = reached(int(pid))
    result = {"ordinary": reached(ordinary.pid), **processes}
    ordinary.kill()
    ordinary.wait()
    """
)


def test_no_program_reaches_into_the_server_or_the_first_process(mallory: Tenant) -> None:
    found = mallory.run(REACH)
    # QEMU implements neither ptrace nor the related calls; natively all of them work.
    emulated = {"ptrace", "ptrace, seized", "process_vm_readv", "pidfd_getfd"}
    ordinary = set(found.pop("ordinary"))
    names = set(mallory.run(f"{REACH}\nresult = list(attempts)"))
    assert ordinary >= names - emulated
    # Exactly the server and the first process.
    assert "1" in found
    assert len(found) == 2
    assert not any(found.values()), found


#: All options with which a second socket may bind a port.
BIND = textwrap.dedent(
    """
    import itertools, socket
    def taken(port, options, address, family):
        rival = socket.socket(family)
        try:
            for option in options:
                value = b"eth0\\0" if option == socket.SO_BINDTODEVICE else 1
                rival.setsockopt(socket.SOL_SOCKET, option, value)
            rival.bind((address, port))
            rival.listen()
        except OSError:
            return False
        finally:
            rival.close()
        return True
    choices = (socket.SO_REUSEADDR, socket.SO_REUSEPORT, socket.SO_BINDTODEVICE)
    ways = [(o, a, f) for n in range(4) for o in itertools.combinations(choices, n)
            for a, f in (("", socket.AF_INET), (address, socket.AF_INET),
                         ("127.0.0.1", socket.AF_INET), ("::", socket.AF_INET6))]
    result = {port: [w[1:] for w in ways if taken(port, *w)] for port in (8888, 8889)}
    """
)


def test_the_servers_port_cannot_be_bound_twice(mallory: Tenant) -> None:
    found = mallory.run(BIND, address=mallory.address)
    assert len(found["8889"]) > 4
    assert not found["8888"], found


def test_the_first_process_can_be_neither_stopped_nor_killed(mallory: Tenant) -> None:
    for number in ("STOP", "TSTP", "QUIT", "ABRT", "SEGV", "USR1", "KILL"):
        mallory.shell(f"kill -{number} 1")
        state = mallory.shell("grep State /proc/1/status")[1]
        assert "sleeping" in state, (number, state)
    # It acts as init: it leaves no zombies of orphaned processes.
    mallory.shell("for i in 1 2 3; do (sleep 0.1 &) ; done; sleep 2")
    states = mallory.shell("cat /proc/[0-9]*/stat")[1].splitlines()
    assert len(states) > 2
    assert not [state for state in states if ") Z 1 " in state], states
