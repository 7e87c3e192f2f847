"""Helpers of guards, without an engine."""

from __future__ import annotations

from typing import Any

from zhub.guard.helpers import Helpers


class Engine:
    """Has a helper of the guard beside the hub, one of a node's guard, and one of a release before.

    Those had no name of a guard.
    """

    def __init__(self) -> None:
        self.there = {"hub's": {"zhub.guard": ""}, "node's": {"zhub.guard": "nodeguard"}, "old": {}}

    def containers(self, **_: Any) -> list[dict[str, Any]]:
        return [{"Id": name, "Labels": labels} for name, labels in self.there.items()]

    def remove_container(self, name: str, **_: Any) -> None:
        del self.there[name]


def test_a_guard_leaves_the_helpers_of_another_one_alone() -> None:
    """A swarm's manager may have both, and either may start while the other has one at work."""
    engine: Any = Engine()
    Helpers(engine, "image", "site", guard="nodeguard").sweep()
    assert set(engine.there) == {"hub's", "old"}
    engine = Engine()
    Helpers(engine, "image", "site").sweep()
    assert set(engine.there) == {"node's"}
