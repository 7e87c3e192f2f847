"""What users are told after `pip`."""

from __future__ import annotations

from pathlib import Path

import pytest
from zsingleuser.pip import front_ends, words

#: Lines of pip's log when it wants a compiler, from the image.
UNBUILT = (
    "    raise MetadataGenerationFailed(package_details=details) from error",
    "pip._internal.exceptions.build.InstallationSubprocessError: Preparing metadata exited with 1",
    "ERROR: Failed building wheel for ibm_db",
    "ERROR: Failed to build installable wheels for some pyproject.toml based projects (pyzmq)",
)


@pytest.mark.parametrize("log", UNBUILT)
def test_a_package_that_cannot_be_built_has_a_way(log: str) -> None:
    said = words(f"...\n{log}\n", set())
    assert "notebookPackages" in said
    assert "notebookRequirements" in said


def test_another_failure_has_none() -> None:
    assert words("ERROR: No matching distribution found for nmpy", set()) == ""


def test_front_ends_in_the_home_are_named(tmp_path: Path) -> None:
    for name in ("ipytree", "@jupyterlab/git"):
        folder = tmp_path / "share/jupyter/labextensions" / name
        folder.mkdir(parents=True)
        (folder / "package.json").write_text("{}")
    assert front_ends(tmp_path) == {"ipytree", "@jupyterlab/git"}
    assert front_ends(tmp_path / "nowhere") == set()
    said = words("", {"ipytree", "@jupyterlab/git"})
    assert "@jupyterlab/git, ipytree: this has a part for the pages of JupyterLab" in said
