"""The path before all of the hub's addresses, and what changing it means."""

from __future__ import annotations

from typing import Any

import pytest
from pulumi import RunError

from components.settings import address
from components.settings.prefix import USER_WORDS
from tests.components.recorder import run
from tests.components.stack_config import DEMO

NEW = {"prefix": "zhub-test", "basePath": "/zhub-test/", "url": "https://hub:11119/zhub-test"}

#: As the release without the setting wrote them.
OLD = {"prefix": "zhub-test", "url": "https://hub:11119"}


@pytest.mark.parametrize(
    ("value", "path", "url"),
    [
        ("", "/zhub-test/", "https://localhost:11119/zhub-test"),
        ("/", "/", "https://localhost:11119"),
        ("/science/jupyter", "/science/jupyter/", "https://localhost:11119/science/jupyter"),
    ],
)
def test_the_address_for_people_and_programs_has_the_base_path(
    value: str, path: str, url: str
) -> None:
    found = run(DEMO | {"zhub:basePath": value})
    assert found.outputs["basePath"]["value"] == path
    assert found.outputs["url"]["value"] == url
    for name in ("hub", "guard"):
        assert f"ZHUB_BASE_PATH={path}" in found.one("Container", name).inputs["envs"]


def test_a_prefix_from_which_the_base_path_would_be_the_hubs_own_needs_another_one() -> None:
    for taken in address.HUB_PARTS - USER_WORDS:
        with pytest.raises(RunError, match=f"basePath: is not set, so it is /{taken}") as raised:
            run(DEMO | {"zhub:prefix": taken})
        assert "\n    pulumi config set basePath /jupyter" in str(raised.value)
        assert run(DEMO | {"zhub:prefix": taken, "zhub:basePath": "/jupyter"})


@pytest.mark.parametrize(
    ("path", "outputs"),
    [
        ("/zhub-test/", {}),
        ("/zhub-test/", OLD),
        ("/zhub-test/", NEW),
        ("/", NEW | {"basePath": "/", "url": "https://hub"}),
    ],
)
def test_nothing_is_said_while_it_stays(path: str, outputs: dict[str, Any]) -> None:
    assert address.other_base_path(path, outputs) == []


@pytest.mark.parametrize(
    ("path", "outputs", "change"),
    [
        ("/", OLD, "from /zhub-test to /:"),
        ("/", NEW, "from /zhub-test to /:"),
        ("/a/", NEW | {"basePath": "/", "url": "https://hub"}, "from / to /a:"),
        ("/a/b/", NEW, "from /zhub-test to /a/b:"),
    ],
)
def test_a_preview_says_what_a_change_means(
    path: str, outputs: dict[str, Any], change: str
) -> None:
    [said] = address.other_base_path(path, outputs)
    assert said.startswith(f"basePath changes {change} servers that run stay at the old address")


@pytest.mark.parametrize("outputs", [OLD, NEW])
def test_it_is_said_by_the_stacks_own_outputs(outputs: dict[str, str]) -> None:
    state = {"urn:pulumi:test::zhub::pulumi:pulumi:Stack::zhub-test": _resource(outputs)}
    said = run(DEMO | {"zhub:basePath": "/"}, preview=True, deployed=state).warnings
    assert [line for line in said if line.startswith("basePath changes from /zhub-test to /")]
    said = run(DEMO, preview=True, deployed=state).warnings
    assert not [line for line in said if line.startswith("basePath")]


def _resource(outputs: dict[str, str]) -> dict[str, Any]:
    return {"type": "pulumi:pulumi:Stack", "outputs": outputs}
