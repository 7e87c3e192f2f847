"""Property handling with generated values: unknowns, secrets, nesting, wrong types."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pulumi.provider.experimental import provider as sdk
from pulumi.provider.experimental.property_value import PropertyValue

from plugins.base import Provider
from plugins.calls import ResourceError
from plugins.command.local import Command
from plugins.properties import Object, is_input
from plugins.property_types import ListOf, MapOf, Scalar, Type, same
from plugins.resource import Resource
from plugins.tls.private_key import PrivateKey
from plugins.tls.self_signed_cert import SelfSignedCert
from plugins.values import (
    UNKNOWN,
    Properties,
    Secret,
    decode_map,
    encode_map,
    has_secret,
    has_unknown,
    keep_secrets,
    redact,
    reveal,
    secret_texts,
)
from tests.plugins.plugin_driver import plain, struct, urn
from tests.plugins.sample_plugin import Thing

pytestmark = pytest.mark.slow

TYPES: list[type[Resource]] = [Thing, PrivateKey, SelfSignedCert, Command]
PROVIDER = Provider("fuzz", "1.0.0", TYPES)
TABLES = {resource.token: PROVIDER.resources[resource.token].table for resource in TYPES}

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.text(max_size=20),
    st.sampled_from(["RSA", "true", "12", "1.5", "server_auth", "127.0.0.1", "-1", "good"]),
)
values = st.recursive(
    st.one_of(scalars, st.just(UNKNOWN)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(max_size=8), inner, max_size=4),
        inner.map(Secret),
    ),
    max_leaves=12,
)
maps = st.dictionaries(st.text(max_size=8), values, max_size=4)


def inputs_of(table: Object) -> st.SearchStrategy[Properties]:
    """Return inputs with the names in the table, also in nested objects."""
    names = [row.name for row in table.properties]
    nested = [
        row.name
        for parent in table.properties
        for kind in (parent.type, getattr(parent.type, "element", None))
        if isinstance(kind, Object)
        for row in kind.properties
    ]
    members = st.dictionaries(st.sampled_from([*nested, "x.y"]), values, max_size=4)
    return st.dictionaries(
        st.sampled_from([*names, "colour", "__defaults"]),
        st.one_of(values, members, st.lists(members, max_size=3)),
        max_size=8,
    )


def good(kind: Type) -> st.SearchStrategy[Any]:
    """Return values that the type accepts, sometimes unknown or secret."""
    plain: st.SearchStrategy[Any]
    if isinstance(kind, Scalar):
        texts = st.sampled_from(kind.choices) if kind.choices else st.text(max_size=8)
        numbers = st.integers(max(kind.minimum or 0, 0), kind.maximum or 2**40)
        plain = {"string": texts, "boolean": st.booleans()}.get(kind.name, numbers)
    elif isinstance(kind, ListOf):
        plain = st.lists(good(kind.element), max_size=3)
    elif isinstance(kind, MapOf):
        plain = st.dictionaries(st.text(max_size=5), good(kind.element), max_size=3)
    elif isinstance(kind, Object):
        plain = good_inputs(kind)
    else:
        plain = values
    return st.one_of(plain, plain, plain.map(Secret), st.just(UNKNOWN))


def good_inputs(table: Object) -> st.SearchStrategy[Properties]:
    """Return inputs of the table's types."""
    rows = [row for row in table.properties if is_input(row)]
    return st.fixed_dictionaries(
        {row.name: good(row.type) for row in rows if row.required},
        optional={row.name: good(row.type) for row in rows if not row.required},
    )


tables = st.sampled_from(sorted(TABLES)).map(TABLES.__getitem__)
tables_and_inputs = tables.flatmap(lambda table: st.tuples(st.just(table), inputs_of(table)))
tables_and_two_inputs = tables.flatmap(
    lambda table: st.tuples(st.just(table), inputs_of(table), inputs_of(table))
)


def as_it_was(value: Any) -> Any:
    """Return the value without secrets within secrets, which the protocol cannot express."""
    if isinstance(value, Secret):
        inner = as_it_was(value.value)
        return inner if isinstance(inner, Secret) else Secret(inner)
    if isinstance(value, dict):
        return {key: as_it_was(item) for key, item in value.items()}
    return [as_it_was(item) for item in value] if isinstance(value, list) else value


@given(maps)
def test_values_survive_the_wire(properties: Properties) -> None:
    assert plain(struct(properties)) == as_it_was(properties)
    encoded = PropertyValue.marshal_map(encode_map(properties)).SerializeToString()
    assert PropertyValue.marshal_map(encode_map(plain(struct(properties)))).ByteSize() == len(
        encoded
    )


@given(maps)
def test_revealing_leaves_no_secret_and_keeping_loses_none(properties: Properties) -> None:
    revealed = reveal(properties)
    assert not has_secret(revealed)
    assert has_unknown(revealed) == has_unknown(properties)
    kept = keep_secrets(revealed, properties)
    assert reveal(kept) == revealed
    assert secret_texts(kept) >= secret_texts(properties)
    assert has_secret(kept) == has_secret(properties)


@given(maps, st.text(max_size=10))
def test_no_secret_is_left_in_a_message(properties: Properties, text: str) -> None:
    secrets = secret_texts(properties)
    message = redact(f"{text}{reveal(properties)}{''.join(sorted(secrets))}{text}", secrets)
    for secret in secrets:
        # The replacement of a secret may itself look like a part of one.
        assert secret not in message.replace("[secret]", "\0")


@given(tables_and_inputs)
def test_checking_never_breaks_and_is_done_once(
    table_and_inputs: tuple[Object, Properties],
) -> None:
    table, properties = table_and_inputs
    failures: list[Any] = []
    normal = table.normalise(reveal(properties), "", failures)
    if not failures:
        again: list[Any] = []
        assert table.normalise(normal, "", again) == normal
        assert not again
        assert {row.name for row in table.properties} >= set(normal)
    for failure in failures:
        # A refusal may name keys, but no value.
        assert failure.path
        for secret in secret_texts(Secret(properties)):
            assert secret not in failure.reason or secret in STANDING_WORDS


STANDING_WORDS = " ".join(
    [
        *(f"{row.name} {row.type}" for table in TABLES.values() for row in table.properties),
        "must be at least most element(s) one of a string number integer boolean list object null",
        "is not a property; the properties are, required supported by this plugin an output and",
        "cannot be set",
    ]
)


@given(tables_and_two_inputs)
def test_a_diff_is_empty_exactly_when_nothing_differs(
    table_and_inputs: tuple[Object, Properties, Properties],
) -> None:
    table, first, second = table_and_inputs
    old, new = table.stored(reveal(first)), table.stored(reveal(second))
    assert list(table.changes(old, new, "", replaces=False)) is not None
    itself = list(table.changes(new, new, "", replaces=False))
    assert bool(itself) <= has_unknown(new)
    changes = list(table.changes(old, new, "", replaces=False))
    if same(old, new):
        assert not changes
    assert len({change.path for change in changes}) == len(changes)
    names = {row.name for row in table.properties}
    assert {change.property for change in changes} <= names
    for change in changes:
        assert re.fullmatch(
            r'[A-Za-z]+(\.[^.\[\]"]+|\[\d+\]|\["(\\"|[^"])*"\])*', change.path, re.DOTALL
        )
        assert lookup(change.path, old) != lookup(change.path, new) or has_unknown(new)


def lookup(path: str, properties: Any) -> Any:
    """Return the value at a path in the engine's syntax; None if there is none."""
    value = properties
    for name, index, quoted in re.findall(r'([^.\[\]"]+)|\[(\d+)\]|\["((?:\\"|[^"])*)"\]', path):
        if index and isinstance(value, list):
            value = value[int(index)] if int(index) < len(value) else None
        elif isinstance(value, dict):
            value = value.get(name or index or quoted.replace('\\"', '"'))
        else:
            return None
    return value


def checked(token: str, old: Properties, new: Properties) -> sdk.CheckResponse:
    """Return the answer of the provider's check; it must answer."""
    request = sdk.CheckRequest(urn(token, "it"), encode_map(old), encode_map(new), b"seed")
    return asyncio.run(PROVIDER.check(request))


@pytest.mark.parametrize("token", sorted(TABLES))
@settings(deadline=None)
@given(data=st.data())
def test_a_check_answers_whatever_comes(token: str, data: st.DataObject) -> None:
    new = data.draw(st.one_of(inputs_of(TABLES[token]), good_inputs(TABLES[token])))
    response = checked(token, data.draw(inputs_of(TABLES[token])), new)
    if response.failures:
        assert all(failure.reason for failure in response.failures)
        return
    inputs = decode_map(response.inputs or {})
    always = {row.name for row in TABLES[token].properties if row.secret}
    for name, value in inputs.items():
        assert has_secret(value) == (name in always or has_secret(new.get(name)))


@pytest.mark.parametrize("token", sorted(TABLES))
@settings(deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=st.data())
def test_a_diff_answers_whatever_is_stored(token: str, data: st.DataObject) -> None:
    new = data.draw(good_inputs(TABLES[token]))
    stored = st.one_of(inputs_of(TABLES[token]), st.just(new))
    old, state = data.draw(stored), data.draw(stored)
    inputs = checked(token, old, new)
    assume(not inputs.failures)
    request = sdk.DiffRequest(urn(token, "it"), "it", encode_map(state), inputs.inputs or {}, [])
    request.old_inputs = encode_map(old)  # type: ignore[attr-defined]
    try:
        response = asyncio.run(PROVIDER.diff(request))
    except ResourceError as error:
        # An impossible state may be refused, but with a message.
        if "in the state" in str(error):
            return
        raise
    assert response.changes == bool(response.detailed_diff)
    assert set(response.replaces) <= set(response.diffs)
