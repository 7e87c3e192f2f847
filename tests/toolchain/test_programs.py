"""Programs run by the real CLI through the language host."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.toolchain.conftest import Project

pytestmark = pytest.mark.slow


def output_of(project: Project, name: str) -> object:
    return json.loads(project.pulumi("stack", "output", name, "--json", "--show-secrets"))


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.1)


def test_config_secrets_and_context_reach_the_program(project: Project) -> None:
    project.pulumi("config", "set", "plain", "a b'c\"")
    project.pulumi("config", "set", "--secret", "hidden", "of nobody's business")
    project.write(
        "import os, sys, pulumi\n"
        "config = pulumi.Config()\n"
        "pulumi.export('plain', config.require('plain'))\n"
        "pulumi.export('hidden', config.require_secret('hidden'))\n"
        "pulumi.export('is_secret', pulumi.Output.from_input(config.require_secret('hidden'))\n"
        "    .is_secret())\n"
        "pulumi.export('names', [pulumi.get_project(), pulumi.get_stack(),\n"
        "    pulumi.get_organization(), pulumi.get_root_directory()])\n"
        "pulumi.export('cwd', os.getcwd())\n"
        "pulumi.export('in_environment', [n for n, v in os.environ.items() if 'business' in v])\n"
        "pulumi.export('argv', sys.argv)\n"
    )
    shown = project.pulumi("up", "--yes", "--skip-preview")
    assert "business" not in shown
    assert output_of(project, "plain") == "a b'c\""
    assert output_of(project, "hidden") == "of nobody's business"
    assert output_of(project, "names") == ["zhub", "test", "organization", str(project.folder)]
    assert output_of(project, "cwd") == str(project.folder)
    assert output_of(project, "in_environment") == []
    assert output_of(project, "argv") == [str(project.folder / "__main__.py")]
    state = (project.state / ".pulumi" / "stacks" / "zhub" / "test.json").read_text()
    assert "business" not in state


def test_modules_beside_the_program_are_found_and_loaded_anew_for_each_run(
    project: Project,
) -> None:
    (project.folder / "counter.py").write_text("runs = []\n")
    project.write(
        "import counter, pulumi\ncounter.runs.append(1)\npulumi.export('runs', len(counter.runs))\n"
    )
    project.pulumi("up", "--yes")  # a preview and an update
    assert output_of(project, "runs") == 1


def test_what_a_program_prints_is_shown(project: Project) -> None:
    project.write("import sys\nprint('from stdout')\nprint('from stderr', file=sys.stderr)\n")
    shown = project.pulumi("preview")
    assert "from stdout" in shown
    assert "from stderr" in shown


def test_an_exception_is_shown_from_the_programs_own_line_on(project: Project) -> None:
    (project.folder / "helper.py").write_text(
        "def broken():\n    raise ValueError('broken here')\n"
    )
    project.write("import helper\nhelper.broken()\n")
    shown = project.pulumi("preview", fails=True)
    assert "ValueError: broken here" in shown
    assert '__main__.py", line 2' in shown
    for internal in ("runpy", "program_runner", "language_host", "asyncio", "exit code"):
        assert internal not in shown
    assert shown.count("Traceback") == 1


def test_a_syntax_error_names_file_and_line(project: Project) -> None:
    project.write("def broken(:\n")
    shown = project.pulumi("preview", fails=True)
    assert "SyntaxError" in shown
    assert '__main__.py", line 1' in shown


def test_a_run_error_is_its_message_alone(project: Project) -> None:
    project.write("import pulumi\nraise pulumi.RunError('set the hostname')\n")
    shown = project.pulumi("preview", fails=True)
    assert "error: set the hostname" in shown
    assert "Traceback" not in shown
    assert "exit code" not in shown


def test_an_exit_code_is_reported(project: Project) -> None:
    project.write("import sys\nsys.exit(3)\n")
    assert "ended with exit code 3" in project.pulumi("preview", fails=True)


def test_a_killed_program_is_reported(project: Project) -> None:
    project.write("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    assert "the program was ended by SIGKILL" in project.pulumi("preview", fails=True)


def test_a_missing_program_is_named(project: Project) -> None:
    (project.folder / "__main__.py").unlink()
    assert "__main__.py does not exist" in project.pulumi("preview", fails=True)


def test_another_entry_point_works(project: Project) -> None:
    settings = project.folder / "Pulumi.yaml"
    settings.write_text(settings.read_text() + "main: infra/stack.py\n")
    (project.folder / "infra").mkdir()
    (project.folder / "infra" / "part.py").write_text("VALUE = 7\n")
    (project.folder / "infra" / "stack.py").write_text(
        "import part, pulumi\npulumi.export('value', part.VALUE)\n"
    )
    project.pulumi("up", "--yes", "--skip-preview")
    assert output_of(project, "value") == 7


def test_no_warning_about_plugins_is_printed(project: Project) -> None:
    project.write(
        "import pulumi_tls\nimport pulumi\n"
        "key = pulumi_tls.PrivateKey('key', algorithm='ECDSA', ecdsa_curve='P256')\n"
        "pulumi.export('public', key.public_key_pem)\n"
    )
    shown = project.pulumi("up", "--yes", "--skip-preview")
    assert "warning" not in shown.lower()
    assert "PATH" not in shown
    project.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes")


def test_many_resources_at_once(project: Project) -> None:
    project.write(
        "import pulumi\n"
        "for number in range(300):\n"
        "    pulumi.ComponentResource('test:many:One', f'one-{number}')\n"
    )
    assert "+ 301 created" in project.pulumi("up", "--yes", "--skip-preview")


def test_ctrl_c_ends_a_program_that_waits(project: Project) -> None:
    started = project.folder / "pid"
    project.write(
        f"import os, time\nopen({str(started)!r}, 'w').write(str(os.getpid()))\ntime.sleep(300)\n"
    )
    process = project.start("up", "--yes", "--skip-preview")
    wait_for(started, process)
    begin = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    shown, _ = process.communicate(timeout=60)
    assert time.monotonic() - begin < 20
    assert process.returncode != 0
    assert "Traceback" not in shown
    assert "Exception ignored" not in shown
    deadline = time.monotonic() + 10
    while Path("/proc", started.read_text()).exists():
        assert time.monotonic() < deadline, "the program outlives pulumi"
        time.sleep(0.1)
    project.write("")
    project.pulumi("up", "--yes", "--skip-preview")  # no lock is left
