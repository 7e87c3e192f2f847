"""Debian's systemd as the first process of a machine of its own, which has this one's files.

What is written there is gone at its end, and it runs none of this machine's services.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.built import wait_until

PROGRAM = "/lib/systemd/systemd"

#: Makes the machine of a folder, and becomes its first process. What follows the folder is on both.
BOOT = """
machine=$1
shift
mount --make-rprivate /
mkdir "$machine/layers" "$machine/root"
mount -t tmpfs tmpfs "$machine/layers"
mkdir "$machine/layers/upper" "$machine/layers/work"
layers="lowerdir=/,upperdir=$machine/layers/upper,workdir=$machine/layers/work"
cd "$machine/root"
mount -t overlay -o "$layers" overlay .
cd "$machine/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
for own in run dev etc/systemd/system usr/lib/systemd/system/*.wants; do
  mount -t tmpfs tmpfs "$own"
done
mkdir dev/pts dev/shm
for device in null zero full random urandom tty pts; do
  [ -e "dev/$device" ] || touch "dev/$device"
  mount --bind "/dev/$device" "dev/$device"
done
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for both in "$@"; do
  mkdir -p ".$(dirname "$both")"
  if [ -d "$both" ]; then mkdir -p ".$both"; else touch ".$both"; fi
  mount --bind "$both" ".$both"
done
mkdir -p tmp/before
pivot_root . tmp/before
umount --lazy /tmp/before
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
  /lib/systemd/systemd --system --unit=basic.target --show-status=no --log-target=console
"""


def able() -> bool:
    """Whether this machine has what it needs, for root."""
    return Path(PROGRAM).exists() and bool(shutil.which("unshare")) and bool(_cgroups())


def _cgroups() -> str:
    """Where the machine has its control groups, of version 2; empty for nowhere."""
    found = subprocess.run(
        ["findmnt", "--noheadings", "--types=cgroup2", "--output=TARGET"],
        capture_output=True,
        text=True,
        check=False,
    )
    return next(iter(found.stdout.split()), "")


@dataclass(frozen=True)
class Machine:
    """One that runs."""

    process: int
    """Its first process, by this machine's number."""

    @property
    def inside(self) -> list[str]:
        """What runs a command there."""
        return ["nsenter", f"--target={self.process}", "--all"]

    def shell(self, script: str) -> str:
        """Run lines of shell there; returns what they print."""
        done = subprocess.run(
            [*self.inside, "bash", "-euc", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


@contextmanager
def machine(folder: Path, both: Sequence[Path]) -> Iterator[Machine]:
    """Boot one; needs root.

    Args:
        folder: for its files.
        both: files and folders that are not only there, but this machine's as well.
    """
    group = Path(_cgroups()) / f"ztest-{folder.name}"
    group.mkdir()
    script = f"echo $$ >{group}/cgroup.procs; exec unshare --cgroup --mount --pid --fork --uts"
    given = map(str, (folder, *both))
    with (folder / "console").open("w") as console:
        process = subprocess.Popen(
            ["sh", "-euc", f'{script} --ipc --net sh -euc "$0" "$@"', BOOT, "boot", *given],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
        )
    found: list[Machine] = []

    def up() -> bool:
        assert process.poll() is None, (folder / "console").read_text()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        found[:] = map(Machine, map(int, children))
        asked = ["systemctl", "is-system-running"]
        return any(
            subprocess.run([*one.inside, *asked], capture_output=True, check=False).stdout.strip()
            in {b"running", b"degraded"}
            for one in found
        )

    try:
        wait_until(up, seconds=60)
        yield found[0]
    finally:
        for one in found:
            # Its end is that of all processes there.
            subprocess.run(["kill", "-KILL", str(one.process)], check=False)
        process.wait(timeout=60)
        for left in sorted(group.rglob("*"), reverse=True):
            if left.is_dir():
                left.rmdir()
        group.rmdir()
