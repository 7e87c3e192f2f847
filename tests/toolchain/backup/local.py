"""An engine without an engine: volumes are folders, and helpers run here."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.toolchain.backup.test_inside import SCHEMA
from toolchain import passphrase, stack
from toolchain.backup import helper, restore, save
from toolchain.backup.engine import Engine
from toolchain.backup.helper import Helpers
from toolchain.backup.inside import DATABASE
from toolchain.backup.jobs import Job
from toolchain.console import Problem


@dataclass(frozen=True)
class LocalEngine(Engine):
    """One whose `docker` command is `ask`."""

    place: Path = Path()
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of volumes, by name."""
    asked: list[str] = field(default_factory=list)

    def ask(self, *arguments: str) -> str:
        self.asked.append(" ".join(arguments))
        folder = self.place / arguments[-1]
        match arguments[:2]:
            case ("volume", "inspect") if not folder.is_dir():
                raise Problem(f"no such volume: {folder.name}")
            case ("volume", "create"):
                # As the engine does: one that is there is no failure.
                folder.mkdir(exist_ok=True)
                words = (word.removeprefix("--label=") for word in arguments)
                found = dict(word.split("=", 1) for word in words if word.startswith("zhub."))
                self.labels.setdefault(folder.name, found)
            case ("volume", "rm"):
                if not folder.is_dir():
                    raise Problem(f"no such volume: {folder.name}")
                shutil.rmtree(folder)
                self.labels.pop(folder.name, None)
            case ("volume", "ls"):
                return "\n".join(path.name for path in self.place.iterdir())
            case ("inspect", _):
                return "healthy"
            case ("container", "ls"):
                return ""  # nobody else is at work
        return "something"

    def find(self, *arguments: str) -> str | None:
        try:
            return self.ask(*arguments)
        except Problem:
            return None

    def _labelled(self, label: str) -> dict[str, str]:
        return {volume: labels[label] for volume, labels in self.labels.items() if label in labels}

    def homes(self) -> dict[str, str]:
        return self._labelled("zhub.user")

    def shared(self) -> dict[str, str]:
        return {name: volume for volume, name in self._labelled("zhub.folder").items()}

    def image(self) -> str:
        return "image"

    def servers(self, user: str = "") -> list[str]:
        return []

    def shared_paths(self) -> list[str]:
        return []

    def homes_path(self) -> str:
        return ""

    def homes_driver(self) -> str:
        return ""

    def home(self, user: str) -> Path:
        """A user's home, made if there is none."""
        volume = f"{self.prefix}-home-{user}"
        if volume not in self.labels:
            self.make_home(volume, user, mounted=False)
        return self.place / volume

    def state(self) -> Path:
        return self.place / f"{self.prefix}-state"


class LocalHelpers(Helpers):
    """Helpers that are processes of this machine."""

    def command(self, job: Job, name: str, *more: str) -> list[str]:
        assert isinstance(self.engine, LocalEngine)
        text = helper.PROGRAM.read_text()
        assert 'Path("/data")' in text
        text = text.replace('Path("/data")', f"Path({str(self.engine.place / job.volume)!r})")
        return [sys.executable, "-I", "-c", text, job.name, *job.arguments]


def local_stack(folder: Path, monkeypatch: pytest.MonkeyPatch, users: str = "") -> LocalEngine:
    """A stack that `save` and `restore` find, and these users have logged in to."""
    folder.mkdir()
    engine = LocalEngine((), "zhub-site", folder)
    engine.state().mkdir()
    with closing(sqlite3.connect(engine.state() / DATABASE)) as db:
        db.executescript(SCHEMA)
        db.execute("DELETE FROM zhub_logins")
        db.executemany("INSERT INTO zhub_logins VALUES (?, 1)", [(user,) for user in users.split()])
        db.commit()
    for user in users.split():
        (engine.home(user) / "file").write_text(user)
    for module in (save, restore):
        monkeypatch.setattr(module, "Engine", lambda *_: engine)
        monkeypatch.setattr(module, "Helpers", LocalHelpers)
    monkeypatch.setattr(save, "pulumi", lambda *_, **__: "{}")
    monkeypatch.setattr(passphrase, "stack_file", lambda _: folder / "none")
    for name, answer in {"docker_options": [], "prefix": "zhub-site", "engine_address": ""}.items():
        monkeypatch.setattr(stack, name, lambda *_, answer=answer: answer)
    return engine
