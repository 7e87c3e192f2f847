"""A user whose disk is full has a server with kernels, at least to clean up."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import docker
import pytest

from tests.disks import mount_new
from tests.images.notebook.serving import serving
from tests.images.notebook.test_packages import FEW, built, native

#: IPython's folder where nothing can be written to the home, and its usual one.
SPARE, USUAL = "/dev/shm/ipython\n", "/home/jovyan/.ipython\n"  # noqa: S108 - in the container

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("native")]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own for homes and /tmp, as the engine's, in which nothing is left."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        pytest.skip("a small disk needs root and mkfs.ext4")
    folder = tmp_path / "disk"
    mount_new(tmp_path / "file", folder, 8 << 20, "mkfs.ext4", "-q", "-m", "0")
    try:
        for name in ("home", "tmp", "others"):
            (folder / name).mkdir(mode=0o777)
            os.chown(folder / name, 1000, 1000)
        with suppress(OSError), (folder / "home" / "fill").open("wb", buffering=0) as fill:
            while fill.write(bytes(1024)):
                pass
        with suppress(OSError):
            # Not even room for a folder.
            for number in range(1000):
                (folder / "others" / str(number)).mkdir()
        assert shutil.disk_usage(folder).free == 0
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Path]:
    """A home with a quota that is used up, on a disk with room: of the site's own, as homesPath.

    This kernel has no project quotas; those of btrfs answer the same, EDQUOT.
    """
    if os.geteuid() != 0 or not shutil.which("mkfs.btrfs"):
        pytest.skip("a quota needs root and mkfs.btrfs: apt-get install btrfs-progs")
    disk = tmp_path / "disk"
    home = disk / "home"
    mount_new(tmp_path / "file", disk, 600 << 20, "mkfs.btrfs", "-q")
    try:
        subprocess.run(["btrfs", "quota", "enable", disk], check=True)
        subprocess.run(["btrfs", "-q", "subvolume", "create", home], check=True)
        subprocess.run(["btrfs", "qgroup", "limit", "64M", home], check=True)
        os.chown(home, 1000, 1000)
        for size in (1 << 20, 1 << 10):
            with suppress(OSError), (home / f"fill{size}").open("wb", buffering=0) as fill:
                while fill.write(bytes(size)):
                    os.fsync(fill.fileno())
        yield home
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.long
def test_who_has_used_up_a_quota_can_clean_up(engine: docker.DockerClient, limited: Path) -> None:
    volumes, image = [f"{limited}:/home/jovyan"], built(engine, "few", *FEW)
    with serving(engine, image, volumes, native(engine)) as server:
        assert server.run("print(get_ipython().ipython_dir)") == SPARE
        assert "Disk quota exceeded" in server.run("!echo x >~/a.txt")
        assert server.request("DELETE", "api/contents/fill1048576")[0] == 204
        assert server.run("print(get_ipython().ipython_dir)") == USUAL
        assert server.shell("echo x >~/a.txt; cat ~/a.txt") == "x\n"


@pytest.mark.long
@pytest.mark.parametrize("mode", [0o755, 0o700], ids=oct)
def test_a_server_starts_in_a_home_that_is_somebody_elses(
    engine: docker.DockerClient, tmp_path: Path, mode: int
) -> None:
    """As after a restore by hand, as root."""
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(mode)
    volumes, image = [f"{home}:/home/jovyan"], built(engine, "few", *FEW)
    with serving(engine, image, volumes, native(engine)) as server:
        assert server.run("print(6 * 7)") == "42\n"


@pytest.mark.long
def test_a_server_starts_in_a_home_with_folders_that_are_somebody_elses(
    engine: docker.DockerClient, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    for name in (".local", ".ipython", ".jupyter"):
        (home / name).mkdir(parents=True, mode=0o700)
    os.chown(home, 1000, 1000)
    volumes, image = [f"{home}:/home/jovyan"], built(engine, "few", *FEW)
    with serving(engine, image, volumes, native(engine)) as server:
        assert server.run("print(get_ipython().ipython_dir)") == SPARE


def test_a_first_kernel_starts_on_a_full_disk(engine: docker.DockerClient, disk: Path) -> None:
    volumes = [f"{disk}/home:/home/jovyan", f"{disk}/tmp:/tmp"]  # noqa: S108 - in the container
    image = built(engine, "few", *FEW)
    with serving(engine, image, volumes, native(engine)) as server:
        assert "python3" in server.get("api/kernelspecs")["kernelspecs"]
        assert server.run("print(6 * 7)", "!rm -f ~/fill", "print(get_ipython().ipython_dir)") == (
            "42\n/dev/shm/ipython\n"
        )
        assert b"restarting kernel" not in server.container.logs()
        assert server.run("print(get_ipython().ipython_dir)") == USUAL
