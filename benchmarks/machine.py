"""Describe the machine that measures, without its name or anything that identifies its owner."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import docker


def processor(cpuinfo: str) -> str:
    """The processor's model, from /proc/cpuinfo on amd64 or on Z; else its architecture."""
    if named := re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE):
        return named[1].strip()
    if numbered := re.search(r"\bmachine = (\d+)", cpuinfo):
        return f"IBM Z machine type {numbered[1]}"
    return platform.machine()


def memory(meminfo: str) -> str:
    """Memory in GiB, from /proc/meminfo."""
    (kib,) = re.findall(r"^MemTotal:\s+(\d+) kB", meminfo, re.MULTILINE)
    return f"{int(kib) / 2**20:.0f} GiB"


def emulator(version: str) -> str:
    """Name and version in the first line of `qemu-s390x-static --version`."""
    found = re.search(r"version (\d+(?:\.\d+)+)", version)
    return f"QEMU {found[1]}" if found else "no emulation"


def describe(engine: docker.DockerClient, qemu_version: str) -> str:
    """One line: processor, memory, system, engine, emulation."""
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    return ", ".join(
        [
            f"{os.cpu_count()} x {processor(Path('/proc/cpuinfo').read_text())}",
            memory(Path("/proc/meminfo").read_text()),
            system,
            f"Docker {engine.version()['Version'].partition('+')[0]}",
            emulator(qemu_version),
        ]
    )
