"""The seccomp profile of users' servers: a list of the system calls that programs may make.

Docker's own profile allows most socket families; the one of Debian's 20.10.24 allows AF_VSOCK as
well. Some families are not bound to the network namespace: with AF_VSOCK, users could talk to each
other, and to whatever is behind the machine, past every packet filter. Others (AF_ALG, AF_TIPC,
AF_SMC, AF_RDS, AF_PACKET, AF_XDP, AF_CAN) expose more kernel code to attacks. This profile also
blocks whatever Docker's documentation says its own profile blocks:
https://docs.docker.com/engine/security/seccomp/. The names come from the kernel's tables
(asm/unistd.h) of amd64, arm64 and s390x; an engine ignores names that it or its platform does not
know. Under emulation, the profile applies to QEMU, which translates its program's calls into the
machine's own.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

CALLS = """
accept accept4 access adjtimex alarm arch_prctl bind brk cachestat capget capset chdir chmod chown
clock_getres clock_gettime clock_nanosleep close close_range connect copy_file_range creat dup dup2
dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64
fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr
flock fork fremovexattr fsetxattr fstat fstatfs fsync ftruncate futex futex_requeue futex_wait
futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents getdents64
getegid geteuid getgid getgroups getitimer getpeername getpgid getpgrp getpid getppid getpriority
getrandom getresgid getresuid getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday
getuid getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel
io_destroy io_getevents io_pgetevents io_setup io_submit ioprio_get ioprio_set ipc kill
landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lgetxattr link linkat listen
listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat madvise map_shadow_stack
membarrier memfd_create mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mprotect
mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink mremap mseal msgctl msgget
msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat nice open
openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll
ppoll prctl pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv process_vm_writev
pselect6 ptrace pwrite64 pwritev pwritev2 read readahead readdir readlink readlinkat readv recvfrom
recvmmsg recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2
restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo s390_guarded_storage s390_runtime_instr
sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam
sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop sendfile sendmmsg
sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid setfsuid setgid setgroups
setitimer setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid setsockopt
setuid setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaction sigaltstack signal signalfd
signalfd4 sigpending sigprocmask sigreturn sigsuspend splice stat statfs statx symlink symlinkat
sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun
timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill truncate
umask uname unlink unlinkat utime utimensat utimes vfork vmsplice wait4 waitid waitpid write writev
""".split()  # noqa: SIM905 - a name a line is no better

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, NETLINK_ROUTE = 1, 2, 10, 16, 0

OUT_OF_QUOTAS = (0x5820, 0x6602, 0x9401, 0x940E, 0x9417, 0x9418)
"""Type and number of each request to a file system (ioctl) by which the owner of a home takes files
out of its quota. FS_IOC_FSSETXATTR and FS_IOC_SETFLAGS (linux/fs.h) change the project of files, in
XFS and ext4, and whether new ones get it; what makes a subvolume or a snapshot (linux/btrfs.h)
makes files of another quota group of btrfs."""

NEW_NAMESPACES = 0x7E02_0000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET of sched.h."""

PERSONALITIES = (0x0, 0x8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF)
"""PER_LINUX, PER_LINUX32, both with UNAME26, and the value that only queries it."""

ENOSYS = 38


def _rule(name: str, *arguments: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"names": [name], "action": "SCMP_ACT_ALLOW", "args": list(arguments), **more}


def _is(index: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}


def _masked(index: int, bits: int, value: int = 0) -> dict[str, Any]:
    return {"index": index, "value": bits, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}


def all_but(taken: Collection[int], bits: int) -> Iterator[tuple[int, int]]:
    """Yield masks and values that match all numbers of so many bits but these.

    A rule can only say what is allowed: for one call, several rules are alternatives. So each is
    for the numbers that begin as one of these does, and then differ.
    """
    for length in range(1, bits + 1):
        rest = bits - length
        beginnings = {one >> rest for one in taken}
        for other in sorted({one ^ 1 for one in beginnings} - beginnings):
            yield ((1 << length) - 1) << rest, other << rest


def profile() -> dict[str, Any]:
    """Return the profile, as the engine reads it (`--security-opt seccomp=`).

    It names no architecture, so it is for the engine's own: the kernel kills 32-bit programs, which
    have a system call table of their own.
    """
    on_z = {"arches": ["s390x"]}
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            {"names": CALLS, "action": "SCMP_ACT_ALLOW"},
            *(_rule("socket", _is(0, family)) for family in (AF_UNIX, AF_INET, AF_INET6)),
            _rule("socket", _is(0, AF_NETLINK), _is(2, NETLINK_ROUTE)),
            _rule("socketpair", _is(0, AF_UNIX)),
            # Debian's C library on Z opens sockets with this call. Its arguments are in memory,
            # which no seccomp filter can read. docs/security.md says what this leaves open there.
            _rule("socketcall", includes=on_z),
            *(_rule("ioctl", _masked(1, *one)) for one in all_but(OUT_OF_QUOTAS, 16)),
            *(_rule("personality", _is(0, value)) for value in PERSONALITIES),
            _rule("clone", _masked(0, NEW_NAMESPACES), excludes=on_z),
            # There, the flags are the second argument.
            _rule("clone", _masked(1, NEW_NAMESPACES), includes=on_z),
            # Its flags are in memory. On ENOSYS, the C library falls back to clone.
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS},
        ],
    }


PROFILE = json.dumps(profile(), separators=(",", ":"))
