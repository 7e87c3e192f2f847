"""The kernels that a server offers: those of the image, and those in the user's home."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel
from jupyter_core.paths import jupyter_path

from zsingleuser import home, launcher, own_kernels

CLASH = "-home"
"""Added to the name of a kernel in the home that the image has as well, such as python3."""


class Kernels(KernelSpecManager):  # type: ignore[misc] # untyped
    """Kernels of the image and of the home.

    JupyterHub keeps the home out of all of Jupyter's search paths (disable_user_config), and
    kernels with it. Of these only the command is needed, which runs in a process of its own.
    """

    def _kernel_dirs_default(self) -> list[str]:
        # jupyter_client's own would make ~/.ipython as well, and fail where the disk is full.
        found: list[str] = jupyter_path("kernels")
        return [folder for folder in found if not Path(folder).is_relative_to(Path.home())]

    def find_kernel_specs(self) -> dict[str, str]:
        """Return the kernels' folders by name. Those of the image keep their names."""
        specs: dict[str, str] = super().find_kernel_specs()
        specs |= {name: str(folder) for name, folder in self._of_home(set(specs)).items()}
        return specs

    def get_kernel_spec(self, kernel_name: str) -> Any:
        """Return a kernel by its name.

        Raises:
            NoSuchKernel: when there is none, or its file is wrong.
        """
        try:
            spec = super().get_kernel_spec(kernel_name)
        except NoSuchKernel:
            folder = self._of_home(set(super().find_kernel_specs())).get(kernel_name.lower())
            if folder is None:
                raise
            return self._read(kernel_name, folder)
        spec.env = {"PATH": own_kernels.PROGRAMS, **home.ipython(Path.home()), **spec.env}
        spec.argv = launcher.command(spec.argv)
        return spec

    def _of_home(self, taken: set[str]) -> dict[str, Path]:
        found = own_kernels.folders(Path.home())
        return {name + CLASH * (name in taken): folder for name, folder in found.items()}

    def _read(self, name: str, folder: Path) -> Any:
        file = folder / "kernel.json"
        try:
            kernel = own_kernels.of_home(json.loads(file.read_text()), folder, os.environ)
        except (OSError, ValueError) as error:
            self.log.warning("%s: %s", file, error)
            raise NoSuchKernel(name) from None
        kernel["env"] = {**home.ipython(Path.home()), **kernel["env"]}
        kernel["argv"] = launcher.command(kernel["argv"])
        return KernelSpec(**kernel)
