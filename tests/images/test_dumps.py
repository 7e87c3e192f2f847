"""No program leaves a dump of its memory: with passwords in it, or in a user's home."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from toolchain.places import ROOT

IMAGES = ROOT / "images"

#: As where the engine sets no limit; prints the limits of what then runs a program.
SCRIPT = """
import resource, subprocess, sys
_, most = resource.getrlimit(resource.RLIMIT_CORE)
resource.setrlimit(resource.RLIMIT_CORE, (min(most, 4096) if most >= 0 else 4096, most))
{called}
limits = "import resource; print(*resource.getrlimit(resource.RLIMIT_CORE))"
subprocess.run([sys.executable, "-I", "-c", limits], check=True)
print(most)
"""


def limits(folder: str, called: str) -> list[int]:
    """Return the limit of a program that a process runs, the most it may have, and what was."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(called=called)],
        cwd=IMAGES / folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [int(number) for number in done.stdout.split()]


def test_a_kernel_leaves_none_but_its_user_may_ask_for_it() -> None:
    called = (
        "from zsingleuser import first\n"
        "first.hide = lambda: None\n"
        "first.become_server('http://127.0.0.1:0/')"
    )
    soft, most, before = limits("notebook", called)
    assert (soft, most) == (0, before)


def test_hub_and_guard_leave_none() -> None:
    called = (
        "import sys\n"
        "from zhub import __main__ as it\n"
        "sys.argv = ['zhub', 'metrics-token', '--help']\n"
        "try: it.main()\n"
        "except SystemExit: pass"
    )
    assert limits("hub", called)[:2] == [0, 0]


@pytest.mark.parametrize("given", ["{}", '{"port": 1, "a": "\'$HOME"}'])
def test_the_proxy_leaves_none_and_gets_its_options(given: str) -> None:
    dockerfile = (IMAGES / "proxy" / "Dockerfile").read_text()
    [line] = re.findall("^ENTRYPOINT (.*)$", dockerfile, re.MULTILINE)
    command: list[str] = json.loads(line)
    script = command[2].replace("exec node /opt/proxy/proxy.mjs", "ulimit -c; printf '%s\\n'")
    done = subprocess.run(
        [*command[:2], script, command[3], given], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["0", given]
