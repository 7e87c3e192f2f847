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

from tests.images.notebook.serving import serving
from tests.images.notebook.test_packages import FEW, built, native

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("native")]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own for homes and /tmp, as the engine's, in which nothing is left."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        pytest.skip("a small disk needs root and mkfs.ext4")
    file, folder = tmp_path / "file", tmp_path / "disk"
    with file.open("wb") as made:
        made.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", file], check=True)
    folder.mkdir()
    subprocess.run(["mount", "-o", "loop", file, folder], check=True)
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


def test_a_first_kernel_starts_on_a_full_disk(engine: docker.DockerClient, disk: Path) -> None:
    volumes = [f"{disk}/home:/home/jovyan", f"{disk}/tmp:/tmp"]  # noqa: S108 - in the container
    image = built(engine, "few", *FEW)
    with serving(engine, image, volumes, native(engine)) as server:
        assert "python3" in server.get("api/kernelspecs")["kernelspecs"]
        assert server.run("print(6 * 7)", "!rm -f ~/fill", "print(get_ipython().ipython_dir)") == (
            "42\n/dev/shm/ipython\n"
        )
        assert b"restarting kernel" not in server.container.logs()
        assert server.run("print(get_ipython().ipython_dir)") == "/home/jovyan/.ipython\n"
