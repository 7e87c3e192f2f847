"""The text of the seccomp profile; tests on the engine show its effect."""

from __future__ import annotations

import json
import socket

import pytest
from zhub.guard import seccomp

RULES = seccomp.profile()["syscalls"]

#: Calls that the engine's own profile blocks, by https://docs.docker.com/engine/security/seccomp/,
#: except for ptrace, and for calls that this profile allows only with certain arguments.
BLOCKED = """
acct add_key bpf clock_adjtime clock_settime create_module delete_module finit_module
get_kernel_syms get_mempolicy init_module ioperm iopl kcmp kexec_file_load kexec_load keyctl
lookup_dcookie mbind mount move_pages nfsservctl open_by_handle_at perf_event_open pivot_root
query_module quotactl reboot request_key set_mempolicy setns settimeofday stime swapon swapoff sysfs
_sysctl umount umount2 unshare uselib userfaultfd ustat vm86 vm86old
chroot fsopen fsconfig fsmount fspick move_mount open_tree mount_setattr io_uring_setup
io_uring_enter io_uring_register fanotify_init memfd_secret migrate_pages modify_ldt pidfd_getfd
process_madvise quotactl_fd sethostname setdomainname syslog vhangup s390_pci_mmio_read
""".split()  # noqa: SIM905 - a name a line is no better


def test_calls_that_are_not_listed_are_refused() -> None:
    assert seccomp.profile()["defaultAction"] == "SCMP_ACT_ERRNO"
    assert json.loads(seccomp.PROFILE) == seccomp.profile()


@pytest.mark.parametrize("name", BLOCKED)
def test_calls_that_docker_blocks_are_blocked(name: str) -> None:
    assert not [rule for rule in RULES if name in rule["names"]]


def test_each_call_is_listed_once_and_in_order() -> None:
    assert sorted(set(seccomp.CALLS)) == seccomp.CALLS


def test_no_unconditional_rule_overrides_a_conditional_one() -> None:
    """Rules for one call are alternatives: the widest of them wins."""
    for rule in RULES[1:]:
        assert not set(rule["names"]) & set(seccomp.CALLS)
        narrowed = rule.get("args") or rule.get("includes") or rule["action"] != "SCMP_ACT_ALLOW"
        assert narrowed, rule


def test_families_are_those_of_the_network_namespace() -> None:
    families = [rule["args"][0]["value"] for rule in RULES if rule["names"] == ["socket"]]
    assert families == [socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK]


def test_the_mask_has_all_namespaces() -> None:
    # sched.h: NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
    bits = [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000]
    assert sum(bits) == seccomp.NEW_NAMESPACES
    on_z, elsewhere = {"arches": ["s390x"]}, [r for r in RULES if r["names"] == ["clone"]]
    assert [(r["args"][0]["index"], r.get("includes"), r.get("excludes")) for r in elsewhere] == [
        (0, None, on_z),
        (1, on_z, None),
    ]


def test_only_requests_that_take_files_out_of_a_quota_are_refused() -> None:
    rules = [rule["args"][0] for rule in RULES if rule["names"] == ["ioctl"]]
    assert {(rule["index"], rule["op"]) for rule in rules} == {(1, "SCMP_CMP_MASKED_EQ")}
    masks = [(rule["value"], rule["valueTwo"]) for rule in rules]
    refused = {n for n in range(1 << 16) if not any(n & mask == value for mask, value in masks)}
    assert refused == set(seccomp.OUT_OF_QUOTAS)
    # What else a request has in it makes no difference: the kernel takes 32 bits, a filter 64.
    assert max(mask for mask, _ in masks) < 1 << 16
