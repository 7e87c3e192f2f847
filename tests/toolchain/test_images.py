"""Which images `make sbom` and `make audit` look at."""

from __future__ import annotations

import subprocess

import pytest

from tests.plugins.docker_tools import engine_or_skip
from toolchain import base, engine
from toolchain.console import Problem

HERE, NOT_HERE = "zhub-test-here:latest", "zhub-test-not-here:latest"


@pytest.mark.engine
def test_a_missing_image_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine_or_skip()
    docker = engine.client()
    monkeypatch.setattr(engine, "IMAGES", (HERE, NOT_HERE))
    with pytest.raises(Problem, match="To build them: make up"):
        engine.built([])
    subprocess.run([docker, "tag", base.BUILD, HERE], check=True)
    try:
        capsys.readouterr()
        assert engine.built([]) == [HERE]
        assert f"left out: the engine has no image {NOT_HERE}" in capsys.readouterr().err
        assert engine.built([NOT_HERE]) == [NOT_HERE]
        with pytest.raises(Problem, match=f"the engine has no image {NOT_HERE}"):
            engine.image(NOT_HERE, "{{.Id}}")
    finally:
        subprocess.run([docker, "image", "rm", HERE], check=True, capture_output=True)
