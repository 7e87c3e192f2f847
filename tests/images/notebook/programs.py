"""Programs of the images' builds, which belong to no package."""

from __future__ import annotations

import importlib.util
from types import ModuleType

from toolchain.places import ROOT


def program(name: str) -> ModuleType:
    """Return a program of the notebook image's build as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"images/notebook/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
