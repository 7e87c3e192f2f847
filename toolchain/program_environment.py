"""The Python environment of a Pulumi program, from the runtime options in Pulumi.yaml."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from pulumi.runtime.proto import language_pb2

#: Runtime options of Pulumi.yaml that this host supports. Others are refused, since the author
#: relies on them.
KNOWN_OPTIONS = {"virtualenv", "toolchain"}


class OptionError(Exception):
    """A runtime option that this host does not support; the text is for the operator."""


class Environment:
    """The Python environment that a program asks for.

    Args:
        info: the engine's description of the program, with its options.

    Raises:
        OptionError: an option is unknown, unsupported, or of the wrong type.
    """

    def __init__(self, info: language_pb2.ProgramInfo) -> None:
        options: dict[str, Any] = json_format.MessageToDict(info.options)
        if unknown := sorted(options.keys() - KNOWN_OPTIONS):
            raise OptionError(
                f"Pulumi.yaml: this language host does not know the runtime option {unknown[0]!r}. "
                "Remove it, or use Pulumi's own host: ZHUB_TOOLCHAIN=official make up"
            )
        if (toolchain := options.get("toolchain", "pip")) != "pip":
            raise OptionError(
                f"Pulumi.yaml: runtime option toolchain is {toolchain!r}; this language host takes "
                "only 'pip'. Remove it, or use Pulumi's own host: ZHUB_TOOLCHAIN=official make up"
            )
        virtualenv = options.get("virtualenv", "")
        if not isinstance(virtualenv, str):
            raise OptionError(
                f"Pulumi.yaml: runtime option virtualenv is {virtualenv!r}; it must be a string"
            )
        self.folder: Path | None = None
        if virtualenv:
            self.folder = Path(info.root_directory, virtualenv)
        elif active := os.environ.get("VIRTUAL_ENV"):
            self.folder = Path(active)

    @property
    def python(self) -> Path:
        """The interpreter; this host's own if neither option nor shell names an environment."""
        return self.folder / "bin" / "python" if self.folder else Path(sys.executable)

    def require(self) -> None:
        """Check that the interpreter exists.

        Raises:
            OptionError: it does not.
        """
        if not self.python.exists():
            raise OptionError(
                f"the virtual environment {self.folder} does not exist. Type: pulumi install"
            )

    def site_packages(self) -> list[str]:
        """The folders with installed packages."""
        root = self.folder or Path(sys.prefix)
        return [str(folder) for folder in sorted(root.glob("lib/python3*/site-packages"))]

    def variables(self, inherited: Mapping[str, str] = os.environ) -> dict[str, str]:
        """The environment variables for a program, as after `activate`."""
        variables = dict(inherited)
        if self.folder:
            variables["VIRTUAL_ENV"] = str(self.folder)
            variables["PATH"] = (
                f"{self.folder / 'bin'}{os.pathsep}{variables.get('PATH', os.defpath)}"
            )
            variables.pop("PYTHONHOME", None)
        return variables
