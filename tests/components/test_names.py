"""Names of things on the engine: no two stacks, roles or users come to the same one."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zhub.guard.policy import escaped
from zhub.settings import parsing

from components.names import Names
from components.settings import prefix as prefixes
from components.settings.parsing import RefusedError
from toolchain.places import ROOT

COMPONENTS = ROOT / "components"

#: Whatever the program makes, and what it may make one day; some begin as an escape does (-ba).
ROLES = {
    *re.findall(r'names\("(\w+)"\)', "".join(p.read_text() for p in COMPONENTS.glob("*.py"))),
    *("hub", "proxy", "metrics", "backup", "cache", "db", "a", "profileimage_a_b"),
}
USERS = {*ROLES, "user", "home", "a-hub", "-hub", "user-a", "home-certs", "a.b", "2d", "x-user-a"}
WORDS = ["a", "b", "dev", "user", "home", "users", "hub", "certs", "2d", "ba"]


def allowed(prefix: str) -> bool:
    """Whether a hub takes the prefix; for the prefix of a stack, its preview must agree."""
    try:
        parsing.prefix(prefix)
    except ValueError:
        return False
    return True


def things(prefix: str, users: Iterable[str]) -> dict[str, str]:
    """Names of all that is made below a prefix, with what each is."""
    found = {Names(prefix)(role): f"{role} of {prefix}" for role in ROLES}
    for user in users:
        for word in prefixes.USER_WORDS:
            found[f"{prefix}-{word}-{escaped(user)}"] = f"{word} {user} of {prefix}"
    return found


def collisions(prefixes: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of things with one name."""
    seen: dict[str, str] = {}
    found = []
    for prefix in prefixes:
        for name, thing in things(prefix, USERS).items():
            if name in seen:
                found.append((seen[name], thing))
            seen[name] = thing
    return found


PREFIXES = [
    "-".join(["zhub", *words])
    for count in range(4)
    for words in itertools.product(WORDS, repeat=count)
]


def test_no_two_things_of_any_stacks_have_one_name() -> None:
    assert not collisions(filter(allowed, PREFIXES))


def test_without_the_rule_they_would() -> None:
    found = collisions(PREFIXES)
    assert ("certs of zhub-dev-home", "home certs of zhub-dev") in [
        tuple(sorted(pair)) for pair in found
    ]
    assert len(found) > 100


@given(
    st.lists(
        st.tuples(st.sampled_from([*WORDS, "a.b", ""]) | st.text("abu-.2d", max_size=4)).map(
            "".join
        ),
        min_size=1,
        max_size=6,
    ),
    st.lists(st.text(max_size=8), max_size=2),
)
def test_nor_have_prefixes_that_begin_alike(words: list[str], users: list[str]) -> None:
    """Each prefix is the beginning of the next one: others cannot meet at all."""
    chain = {"-".join(words[:count]) for count in range(1, len(words) + 1)}
    seen: dict[str, str] = {}
    for prefix in filter(allowed, chain):
        for name, thing in things(prefix, {*users, "hub", *words}).items():
            assert name not in seen, (seen[name], thing)
            seen[name] = thing


@given(st.lists(st.sampled_from(WORDS) | st.text("ab2", min_size=1, max_size=3), max_size=4))
def test_what_the_preview_takes_the_hub_takes(words: list[str]) -> None:
    for prefix in ("-".join(words), "-".join(["zhub", *words])):
        try:
            prefixes.parse(prefix)
        except RefusedError:
            if prefixes.USER_WORDS & set(prefix.split("-")[1:]):
                assert not allowed(prefix)
        else:
            assert allowed(prefix)


@pytest.mark.parametrize("role", ["user", "home", "user-alice", "a-b", "", "-"])
def test_such_roles_there_are_none(role: str) -> None:
    with pytest.raises(ValueError, match="cannot be a role"):
        Names("zhub-dev")(role)
