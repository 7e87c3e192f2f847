"""Homes on a file system of the site's own that has quotas: btrfs, on an engine of its own.

This kernel has no project quotas, which XFS and ext4 would need.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import docker
import pytest

from tests.built import wait_until
from tests.disks import mount_new
from tests.engine.conftest import CONFIG, native, remove_leftovers
from tests.engine.namespaces import entered
from tests.engine.own_engine import seconds_until
from tests.engine.people import Entrance
from tests.engine.scrapes import metrics_token, samples, scrape
from tests.engine.second_engine import SecondEngine, able, second_engine
from tests.engine.stack import Stack, equipped
from tests.hubclient import Kernel, User
from tests.ports import free_port

pytestmark = [pytest.mark.engine, pytest.mark.long]

DISK = 2 << 30
"""Bytes of the disk for homes; the file has holes where nothing was written."""

QUOTA = 200
"""MiB that Alice's home may have, by the file system."""

LIMIT = 128 << 20
"""Bytes at which a home counts as full: less, so that its owner is told before."""

#: Writes a file of so many MiB, or what there is room for; prints how many, and what was said.
FILL = """
import os
taken, said = 0, "whole"
try:
    with open("{name}", "wb", buffering=0) as file:
        while taken < {most} << 20:
            taken += file.write(bytes(1 << 20))
            os.fsync(file.fileno())
except OSError as error:
    said = os.strerror(error.errno)
print(taken >> 20, said)
"""

#: Makes a subvolume, in which the quota of the home does not count, and changes files' project
#: (BTRFS_IOC_SUBVOL_CREATE of linux/btrfs.h, FS_IOC_FSSETXATTR of linux/fs.h).
LEAVE = """
import fcntl, os
home = os.open("{home}", os.O_RDONLY)
for request, argument in (
    (0x5000940E, bytearray(8) + b"inner".ljust(4088, bytes(1))),
    (0x401C5820, bytearray(28)),
):
    try:
        fcntl.ioctl(home, request, argument)
        print("done")
    except OSError as error:
        print(os.strerror(error.errno))
"""


@pytest.fixture
def small(engine: docker.DockerClient, short_folder: Path) -> Iterator[SecondEngine]:
    """An engine, and beside it a disk for homes."""
    if not able() or not shutil.which("mkfs.btrfs"):
        pytest.skip("quotas need root and mkfs.btrfs: apt-get install btrfs-progs")
    mount_new(short_folder / "disk", short_folder / "site", DISK, "mkfs.btrfs", "-q")
    run("btrfs", "quota", "enable", short_folder / "site")
    (short_folder / "site" / "homes").mkdir(mode=0o700)
    # Its end unmounts the disk as well.
    with second_engine(short_folder) as found:
        found.take(engine.images.get(CONFIG["buildImage"]))
        yield found


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture
def stack(
    engine: docker.DockerClient, small: SecondEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    config = native(engine) | {
        "port": free_port(),
        "engineSocket": str(small.socket),
        "homesPath": str(small.folder / "site" / "homes"),
        "homeLimit": f"{LIMIT >> 20}M",
    }
    project = equipped(tmp_path_factory.mktemp("quotas") / "project")
    made = Stack("e2e-quotas", project, project=project)
    made.init(config)
    made.on_stack("config set", "docker:host", small.address)
    made.up()
    yield made
    made.on_stack("destroy", "--yes")
    remove_leftovers(small.client, made.prefix)


def fill(kernel: Kernel, name: str, most: int = 400) -> tuple[int, str]:
    """Write so many MiB; returns how many were written, and why no more."""
    number, said = kernel.run(FILL.format(name=name, most=most), timeout=300).split(maxsplit=1)
    return int(number), said.strip()


def shown(user: User) -> tuple[int | None, int]:
    """MiB that JupyterLab says the home takes, and may take."""
    found: dict[str, Any] = user.request("GET", urljoin(user.home, "zhub/home")).json()
    return found["taken"] and found["taken"] >> 20, found["limit"] >> 20


def test_quotas_of_the_sites_file_system_hold_and_follow_changes(
    small: SecondEngine, stack: Stack
) -> None:
    # As docs/homes.md says: a folder that the site prepares.
    home = small.folder / "site" / "homes" / f"{stack.prefix}-home-alice"
    run("btrfs", "subvolume", "create", home)
    os.chown(home, 1000, 1000)
    run("btrfs", "qgroup", "limit", f"{QUOTA}M", home)
    with entered(small.apart.name):
        entrance = Entrance.of(stack)
        alice, bob = entrance.logged_in("alice"), entrance.logged_in("bob")
        alice.start_server()
        warned_before_the_limit(stack, alice)
        kernel = alice.start_kernel()
        written, said = fill(kernel, "large")
        assert said == "Disk quota exceeded"
        assert QUOTA * 0.8 < written <= QUOTA
        # It is hers alone, and she starts with it and cleans up.
        bob.start_server()
        assert fill(bob.start_kernel(), "large", QUOTA + 50) == (QUOTA + 50, "whole")
        alice.stop_server()
        wait_until(lambda: counted(small, stack, entrance) > LIMIT, seconds=60)
        guard = small.client.containers.get(f"{stack.prefix}-guard")
        assert b"the home of alice is full: 0.2 of 0.1 GiB" in guard.logs()
        alice.start_server()
        listed = stack.make("users", DO="list").stdout
        assert re.search(r"(?m)^alice .* 0\.2 of 0\.1 GiB FULL", listed), listed
        sizes = stack.make("sizes").stdout
        assert re.search(r"home of alice: .* 1[45]\d % of the limit - OVER IT", sizes), sizes
        wait_until(lambda: (shown(alice)[0] or 0) > 128, seconds=60)
        everybody_else_logs_in(entrance)
        kernel = alice.start_kernel()
        kernel.run("answer = 6 * 7; import os; os.remove('large')")
        assert fill(kernel, "again", 20) == (20, "whole")

        kernel = more_and_less(small, stack, home, alice, kernel)
        what_is_beside_the_quota(small, stack, entrance, alice, kernel)
        for user in (alice, bob):
            user.stop_server()
        a_disk_that_is_mounted_late(small, stack, home)


def counted(small: SecondEngine, stack: Stack, entrance: Entrance) -> float:
    """Bytes of Alice's home, as the guard last counted it."""
    found = samples(scrape(entrance, metrics_token(small.client, stack)).text)
    taken = {one.labels["user"]: one.value for one in found if one.name == "guard_home_bytes"}
    return taken.get("alice", 0)


def warned_before_the_limit(stack: Stack, alice: User) -> None:
    """From 80 % on, she and the operator see it."""
    kernel = alice.start_kernel()
    assert fill(kernel, "nearly", 110) == (110, "whole")
    kernel.end()
    alice.stop_server()
    wait_until(lambda: "0.1 of 0.1 GiB" in stack.make("users", DO="list").stdout, seconds=60)
    alice.start_server()
    wait_until(lambda: (shown(alice)[0] or 0) > 0.8 * (LIMIT >> 20), seconds=60)
    assert re.search(r"home of alice: .*, 8\d % of the limit\n", stack.make("sizes").stdout)
    alice.run("import os; os.remove('nearly')")


def everybody_else_logs_in(entrance: Entrance) -> None:
    """Others notice nothing: they log in, have the hub's page, and their servers."""
    for name in ("carol", "grace"):
        user = entrance.logged_in(name)
        user.request("GET", "hub/home").raise_for_status()
    user.start_server()
    assert fill(user.start_kernel(), "small", 20) == (20, "whole")
    user.stop_server()


def more_and_less(
    small: SecondEngine, stack: Stack, home: Path, alice: User, kernel: Kernel
) -> Kernel:
    """The site gives more, and takes it back, while she works; returns the kernel she has then."""
    run("btrfs", "qgroup", "limit", f"{2 * QUOTA}M", home)
    stack.configure({"homeLimit": "1G"})
    stack.up()
    assert kernel.run("print(answer)") == "42\n"
    assert fill(kernel, "large", QUOTA) == (QUOTA, "whole")
    assert shown(alice)[1] == 128, "as it was started with"
    listed = stack.make("users", DO="list").stdout
    assert "FULL" not in listed
    # Less than there is: nothing is lost, nothing can be added, and files can be removed.
    run("btrfs", "qgroup", "limit", f"{QUOTA}M", home)
    stack.configure({"homeLimit": "128M"})
    stack.up()
    assert fill(kernel, "more")[1] == "Disk quota exceeded"
    assert kernel.run("print(answer, os.path.getsize('large') >> 20)") == f"42 {QUOTA}\n"
    # Nor can a server write a file that starts now.
    alice.stop_server()
    alice.start_server()
    kernel = alice.start_kernel()
    kernel.run("import os; os.remove('large')")
    assert fill(kernel, "more", 20) == (20, "whole")
    return kernel


def what_is_beside_the_quota(
    small: SecondEngine, stack: Stack, entrance: Entrance, alice: User, kernel: Kernel
) -> None:
    """No user puts files there; what the site has put there is counted."""
    home = small.folder / "site" / "homes" / f"{stack.prefix}-home-alice"
    # Where nothing forbids it, whoever owns a folder can.
    as_user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "--bounding-set=-all"]
    (small.folder / "site").chmod(0o755)
    home.parent.chmod(0o711)
    small.folder.chmod(0o711)
    code = LEAVE.format(home=home)
    done = subprocess.check_output([*as_user, "/usr/bin/python3", "-c", code], text=True)
    assert done.splitlines() == ["done", "done"]
    (home / "inner").rmdir()
    home.parent.chmod(0o700)
    said = kernel.run(LEAVE.format(home="/home/jovyan")).splitlines()
    assert said == ["Operation not permitted"] * 2

    run("btrfs", "subvolume", "create", home / "inner")
    os.chown(home / "inner", 1000, 1000)
    assert fill(kernel, "inner/large", QUOTA + 100) == (QUOTA + 100, "whole")
    alice.stop_server()
    wait_until(lambda: counted(small, stack, entrance) > (QUOTA + 100) << 20, seconds=60)
    sizes = stack.make("sizes").stdout
    assert re.search(r"home of alice: 0\.3\d GiB .* of the limit - OVER IT", sizes), sizes
    alice.start_server()
    wait_until(lambda: (shown(alice)[0] or 0) > QUOTA + 100, seconds=60)
    alice.run("import shutil; shutil.rmtree('inner')")


def a_disk_that_is_mounted_late(small: SecondEngine, stack: Stack, home: Path) -> None:
    """The machine starts again, and the engine before the disk is there."""
    small.client.close()
    small.process.terminate()
    small.process.wait(timeout=120)
    run("umount", small.folder / "site")
    small.start()
    guard = small.client.containers.get(f"{stack.prefix}-guard")
    wait_until(lambda: b"has no such folder, or not yet" in guard.logs(), seconds=120)
    run("mount", "-o", "loop", small.folder / "disk", small.folder / "site")

    def healthy() -> None:
        for role in ("directory", "guard", "hub"):
            found = small.client.containers.get(f"{stack.prefix}-{role}").attrs["State"]
            assert found["Running"]
            assert found["Health"]["Status"] == "healthy", role

    seconds_until(healthy, 240)
    alice = Entrance.of(stack).logged_in("alice")
    alice.start_server()
    kernel = alice.start_kernel()
    assert kernel.run("import os; print(os.path.getsize('again') >> 20)") == "20\n"
    assert fill(kernel, "large")[1] == "Disk quota exceeded"
    assert not list(home.parent.glob("*carol*"))
    alice.stop_server()
