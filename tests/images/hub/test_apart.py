"""What the hub's Python takes packages from."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from toolchain.places import ROOT

PRINT = "import json, sys; print(json.dumps(sys.path))"


def packages(python: Path) -> set[str]:
    """Return the folders of packages that are searched, as in a process of hub or guard."""
    printed = subprocess.check_output([python, "-I", "-c", PRINT], text=True)
    return {path for path in json.loads(printed) if path.endswith("-packages")}


def test_users_packages_run_no_code_in_hub_and_guard(tmp_path: Path) -> None:
    """They are in the image that the hub's is made from, and the guard has the engine's socket."""
    interpreter = Path(sys.base_prefix, "bin/python3")
    options = ["--system-site-packages", "--without-pip"]
    subprocess.run([interpreter, "-m", "venv", *options, tmp_path], check=True)
    python = tmp_path / "bin/python3"
    [own] = tmp_path.glob("lib/python3*/site-packages")
    assert packages(python) > {str(own)}
    subprocess.run(["sh", ROOT / "images/hub/apart.sh", tmp_path], check=True)
    assert packages(python) <= {str(own), "/usr/lib/python3/dist-packages"}
    # The image's environment is made as this one, and changed in a layer of the hub's.
    notebook = (ROOT / "images/notebook/Dockerfile").read_text()
    hub = (ROOT / "images/hub/Dockerfile").read_text()
    assert f"python3 -m venv {' '.join(options)} /opt/jupyter" in notebook
    assert "sh /build/apart.sh /opt/jupyter\n" in hub
    last = hub.rpartition("\nFROM ")[2]
    assert "\nCOPY --from=apart /opt/jupyter/ /opt/jupyter/\n" in last
    # Nor are their programs taken for those of the hub, such as node.
    [path] = re.findall(r"^ENV PATH=(\S+)$", last, re.MULTILINE)
    assert path.split(":").index("/usr/local/bin") > path.split(":").index("/usr/bin")
