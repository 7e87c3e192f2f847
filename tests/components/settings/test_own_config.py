"""A file with configuration of the site's own: what is refused, and what is said of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.components.stack_config import DEMO, NOW, read, refused


def stack(tmp_path: Path, content: bytes) -> dict[str, str]:
    file = tmp_path / "own.py"
    file.write_bytes(content)
    return DEMO | {"zhub:hubConfigFile": str(file)}


def test_every_preview_warns_of_it_with_its_digest(tmp_path: Path) -> None:
    content = "c.JupyterHub.tornado_settings['größe'] = 1\n".encode()
    settings, declared = read(stack(tmp_path, content))
    assert declared.problems == []
    assert settings.own_config
    assert settings.own_config.text.encode() == content
    assert settings.own_config.digest == hashlib.sha256(content).hexdigest()
    [warning] = [one for one in settings.warnings(NOW) if "hubConfigFile" in one]
    assert settings.own_config.digest in warning
    assert "pulumi config rm hubConfigFile" in warning
    settings, _ = read(DEMO)
    assert settings.own_config is None
    assert not [one for one in settings.warnings(NOW) if "hubConfigFile" in one]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a = 1\nif a:\nb = 2\n", "line 3: expected an indented block"),
        (b"c.A.b = (1\n", "line 1: '(' was never closed"),
        (b"a = 1\x00\n", "null bytes"),
        (b"a = '\xff'\n", "not a text in UTF-8"),
        (b"#" * 65537, "has 65537 bytes; 65536 is the most"),
        (b"c.A.url = 'https://me:secret@example.com'\n", "looks like a secret"),
    ],
)
def test_what_cannot_be_it_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    message = refused(stack(tmp_path, content))
    assert message.startswith("hubConfigFile is ")
    assert reason in message
    assert "    pulumi config " in message
    assert "me:secret" not in message


def test_a_file_that_python_warns_of_is_taken_in_silence(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    assert read(stack(tmp_path, b"a = '\\d'\n"))[1].problems == []
    assert not [one for one in recwarn if issubclass(one.category, Warning)]


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    config = DEMO | {"zhub:hubConfigFile": str(tmp_path / "none.py")}
    assert "no such file" in refused(config)
