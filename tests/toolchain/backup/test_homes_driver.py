"""Homes of the site's own volume driver, as backup and users' commands make and remove them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from toolchain import stack, users
from toolchain.backup import homes
from toolchain.backup.engine import Engine
from toolchain.backup.helper import Helpers
from toolchain.backup.jobs import Job
from toolchain.console import Problem

NAME = "zhub-site-home-bob"
NFS = ["type=nfs", "o=addr=192.0.2.5,rw", "device=:/export/{home}"]


class Site(Engine):
    """An engine on which homes are volumes of a driver; it notes what it is asked to do."""

    driver = "local"
    options: tuple[str, ...] = tuple(NFS)
    done: list[tuple[str, ...]]

    def _of_guard(self, name: str) -> str:
        found = {"ZHUB_HOMES_DRIVER": self.driver, "ZHUB_HOMES_OPTIONS": json.dumps(self.options)}
        return found.get(name, "")

    def ask(self, *arguments: str) -> str:
        self.done.append(arguments)
        return ""

    def find(self, *arguments: str) -> str | None:
        if arguments[:2] == ("volume", "inspect"):
            return None
        return self.ask(*arguments)

    def image(self) -> str:
        return "hub"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    found = Site(("docker",), "zhub-site")
    monkeypatch.setattr(Site, "done", [], raising=False)

    def ask(_: Helpers, job: Job) -> dict[str, Any]:
        assert not job.folder
        found.done.append((job.name, job.volume, *job.arguments))
        return {}

    monkeypatch.setattr(Helpers, "ask", ask)
    return found


def test_a_restored_home_is_one_of_the_driver_in_a_new_folder(site: Site) -> None:
    Helpers(site, "hub").make_home(NAME, "bob", mounted=True)
    around, folder, gone, home = site.done
    volume = around[-1]
    assert volume.startswith("zhub-site-homes-")
    assert {"--driver=local", "--opt=type=nfs", "--opt=device=:/export"} < {*around}
    assert folder == ("make-folder", volume, NAME)
    assert gone == ("volume", "rm", volume)
    assert {"--driver=local", f"--opt=device=:/export/{NAME}"} < {*home}
    assert {"--label=zhub.role=home", "--label=zhub.user=bob", NAME} < {*home}


def test_a_plugin_makes_a_restored_home_by_itself(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Site, "driver", "vendor/plugin")
    monkeypatch.setattr(Site, "options", ())
    Helpers(site, "hub").make_home(NAME, "bob", mounted=True)
    [home] = site.done
    assert "--driver=vendor/plugin" in home
    assert not [one for one in home if one.startswith("--opt")]


def test_with_a_home_its_folder_is_removed(site: Site) -> None:
    Helpers(site, "hub").remove_home(NAME)
    removed, _, folder, _ = site.done
    assert removed == ("volume", "rm", NAME)
    assert (folder[0], folder[2]) == ("remove-folder", NAME)
    site.done.clear()
    users._remove_by_driver(site, NAME)
    assert [one[0] for one in site.done] == ["volume", "remove-folder", "volume"]


def test_homes_are_not_moved_to_a_driver(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(homes, "Engine", lambda *_: site)
    monkeypatch.setattr(stack, "docker_options", lambda _: [])
    monkeypatch.setattr(stack, "prefix", lambda _: "zhub-site")
    monkeypatch.setattr(Helpers, "ask", lambda *_: {"mounted": True})
    with pytest.raises(Problem, match="homesDriver is local, and homes that are elsewhere"):
        homes.take_over("site", "docker")
    assert site.done == []
