"""State that several clones share, in a folder or in a bucket of a real S3 server."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.toolchain.conftest import go_install

SERVER = "versitygw"

KEY, SECRET, BUCKET = "of-tests", "of-tests-secret", "zhub-state"


def folder(root: Path) -> dict[str, str]:
    """The variables for state in a folder, as on a file share."""
    (root / "share").mkdir()
    return {"PULUMI_BACKEND_URL": (root / "share").as_uri()}


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        assert process.poll() is None, "the S3 server has ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("the S3 server does not answer")


@contextmanager
def s3(root: Path) -> Iterator[dict[str, str]]:
    """Run an S3 server on loopback; yields the variables for state in a bucket of it."""
    if not (server := shutil.which(SERVER)):
        pytest.skip(f"no S3 server here: {go_install(SERVER)}")
    (root / "s3" / BUCKET).mkdir(parents=True)
    port = free_port()
    keys = {"ROOT_ACCESS_KEY": KEY, "ROOT_SECRET_KEY": SECRET}
    command = [server, "--quiet", "--port", f"127.0.0.1:{port}", "posix", str(root / "s3")]
    with subprocess.Popen(command, env=keys, stdout=subprocess.DEVNULL) as process:
        try:
            _wait_for(process, port)
            address = f"endpoint=http://127.0.0.1:{port}&s3ForcePathStyle=true&region=us-east-1"
            yield {
                "PULUMI_BACKEND_URL": f"s3://{BUCKET}?{address}",
                "AWS_ACCESS_KEY_ID": KEY,
                "AWS_SECRET_ACCESS_KEY": SECRET,
            }
        finally:
            process.terminate()
