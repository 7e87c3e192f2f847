"""What kernels run when they start in a folder that others write to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from zsingleuser.launcher import command

ARGV = ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]

#: Stands for the package, which is not installed here.
KERNELAPP = "def launch_new_instance():\n    import sys; print('the kernel', sys.argv)\n"


def test_other_commands_stay() -> None:
    for argv in (["R", "--slave", "-e", "IRkernel::main()"], ["python"], [], [*ARGV[:2], "xeus"]):
        assert command(argv) == argv


def test_nothing_in_the_folder_runs(tmp_path: Path) -> None:
    package, folder = tmp_path / "package", tmp_path / "shared"
    (package / "ipykernel").mkdir(parents=True)
    (package / "ipykernel" / "__init__.py").touch()
    (package / "ipykernel" / "kernelapp.py").write_text(KERNELAPP)
    (package / "ipykernel_launcher.py").write_text("print('the kernel')")
    folder.mkdir()
    for name in ("ipykernel_launcher.py", "ipykernel.py", "sys.py", "json.py", "sitecustomize.py"):
        (folder / name).write_text("print('planted')")

    def printed(argv: list[str]) -> str:
        return subprocess.run(
            [sys.executable, *argv[1:]],
            cwd=folder,
            env={"PYTHONPATH": str(package)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout

    assert printed(ARGV) == "planted\n"
    assert printed(command(ARGV)) == f"the kernel {['ipykernel_launcher', *ARGV[3:]]}\n"
