"""What of a kernel in a user's home is used."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from zsingleuser.own_kernels import FOLDERS, NOWHERE, PROGRAMS, folders, of_home

FOLDER = Path("/home/jovyan/.local/share/jupyter/kernels/mine")
SERVER = {"JUPYTERHUB_API_TOKEN": "secret", "JPY_API_TOKEN": "secret", "HOME": "/home/jovyan"}


def used(**kernel: Any) -> dict[str, Any]:
    return of_home(kernel, FOLDER, SERVER)


def test_only_what_starts_a_kernel_is_used() -> None:
    provisioner = {"provisioner_name": "evil", "config": {}}
    metadata = {"debugger": True, "kernel_provisioner": provisioner}
    assert used(
        argv=["python", "{resource_dir}/start.py", "{connection_file}"],
        display_name="Mine",
        language="R",
        interrupt_mode="message",
        metadata=metadata,
        resource_dir="/",
        mimetype="text/x-evil",
    ) == {
        "argv": ["python", f"{FOLDER}/start.py", "{connection_file}"],
        "display_name": "Mine",
        "language": "R",
        "interrupt_mode": "message",
        "metadata": {"debugger": True},
        "resource_dir": NOWHERE,
        "env": {"PATH": PROGRAMS, "JUPYTERHUB_API_TOKEN": "", "JPY_API_TOKEN": ""},
    }


def test_a_kernel_does_not_get_the_servers_token() -> None:
    env = {"A": "${HOME}/x", "B": "$JUPYTERHUB_API_TOKEN", "C": "${JPY_API_TOKEN}"}
    got = used(argv=["x"], env={**env, "JUPYTERHUB_API_TOKEN": "own"})["env"]
    assert got["A"] == "/home/jovyan/x"
    # Jupyter replaces $$ by $, and nothing else.
    assert (got["B"], got["C"]) == ("$$JUPYTERHUB_API_TOKEN", "$${JPY_API_TOKEN}")
    assert got["JUPYTERHUB_API_TOKEN"] == ""


@pytest.mark.parametrize(
    "kernel", [[], "x", {"argv": "rm -rf"}, {"argv": [1]}, {"env": []}, {"env": {"A": 1}}]
)
def test_what_is_no_kernel_is_refused(kernel: Any) -> None:
    with pytest.raises(ValueError, match=r"not an object|argv is not|env is not"):
        of_home(kernel, FOLDER, SERVER)


def test_kernels_are_found_where_programs_put_them(tmp_path: Path) -> None:
    for folder in (".local/share/jupyter/kernels/ir", ".ipython/kernels/IR", ".ipython/kernels/b"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "kernel.json").write_text(json.dumps({"argv": ["x"]}))
    (tmp_path / ".local/share/jupyter/kernels/empty").mkdir()
    assert folders(tmp_path) == {
        "ir": tmp_path / ".local/share/jupyter/kernels/ir",
        "b": tmp_path / ".ipython/kernels/b",
    }
    assert folders(tmp_path / "nowhere") == {}


def test_what_is_no_file_is_no_kernel(tmp_path: Path) -> None:
    """To read a pipe, the whole server would wait."""
    kernels = tmp_path / FOLDERS[0]
    for name in ("pipe", "folder", "device", "nowhere", "mine"):
        (kernels / name).mkdir(parents=True)
    os.mkfifo(kernels / "pipe/kernel.json")
    (kernels / "folder/kernel.json").mkdir()
    (kernels / "device/kernel.json").symlink_to("/dev/zero")
    (kernels / "nowhere/kernel.json").symlink_to("nowhere")
    (kernels / "mine/kernel.json").write_text("{}")
    assert folders(tmp_path) == {"mine": kernels / "mine"}
