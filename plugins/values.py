"""Property values as plain Python, and their conversion from and to the SDK's `PropertyValue`.

A value is None, a bool, an int, a float, a str, a list, a dict with string keys, an asset or
archive of the SDK, `UNKNOWN`, or a `Secret` around any of these. Resources see values without
`Secret`: the base removes the marks before a call and restores them afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pulumi.provider.experimental.property_value import PropertyValue, ResourceReference

Properties = dict[str, Any]
"""The inputs or outputs of a resource by wire name."""


class _Unknown:
    """The type of `UNKNOWN`."""

    def __repr__(self) -> str:
        return "<unknown>"


UNKNOWN: Final = _Unknown()
"""A value that a preview cannot know yet."""


@dataclass(frozen=True)
class Secret:
    """A value the engine must encrypt in its state and hide from its display."""

    value: Any

    def __repr__(self) -> str:
        # An f-string must not put a secret into a message.
        return "[secret]"


# The SDK passes unknowns through as these strings (its `Computed` is never sent). Source:
# sdk/go/common/resource/plugin/rpc.go of pulumi/pulumi, one constant for each kind of value.
_UNKNOWN_ON_WIRE: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
_UNKNOWNS_ON_WIRE: Final = frozenset(
    {
        _UNKNOWN_ON_WIRE,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "030794c1-ac77-496b-92df-f27374a8bd58",
        "e48ece36-62e2-4504-bad9-02848725956a",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)


def decode(value: PropertyValue) -> Any:
    """Turn one value of the SDK into plain Python."""
    plain = _decode_plain(value.value)
    if value.is_secret and not isinstance(plain, Secret):
        return Secret(plain)
    return plain


def _decode_plain(value: Any) -> Any:
    if isinstance(value, str):
        return UNKNOWN if value in _UNKNOWNS_ON_WIRE else value
    if isinstance(value, float) and value.is_integer():
        return int(value)  # the protocol has only floats
    if isinstance(value, Mapping):
        return {key: decode(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [decode(item) for item in value]
    if isinstance(value, ResourceReference):
        return None if value.resource_id is None else decode(value.resource_id)
    return value


def encode(value: Any) -> PropertyValue:
    """Turn plain Python into the SDK's value.

    Raises TypeError if it is no property value, which is a bug in a resource.
    """
    if isinstance(value, Secret):
        return encode(value.value).with_secret(True)
    if value is UNKNOWN:
        return PropertyValue(_UNKNOWN_ON_WIRE)
    if isinstance(value, int) and not isinstance(value, bool):
        return PropertyValue(float(value))
    if isinstance(value, Mapping):
        return PropertyValue({key: encode(item) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return PropertyValue([encode(item) for item in value])
    return PropertyValue(value)


def decode_map(values: Mapping[str, PropertyValue]) -> Properties:
    """Turn a property map of the SDK into plain Python."""
    return {key: decode(value) for key, value in values.items()}


def encode_map(values: Mapping[str, Any]) -> dict[str, PropertyValue]:
    """Turn plain properties into a property map of the SDK."""
    return {key: encode(value) for key, value in values.items()}


def reveal(value: Any) -> Any:
    """Return the value without secret marks, at any depth."""
    if isinstance(value, Secret):
        return reveal(value.value)
    if isinstance(value, dict):
        return {key: reveal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [reveal(item) for item in value]
    return value


def has_secret(value: Any) -> bool:
    """Tell whether the value is or holds a secret."""
    if isinstance(value, dict):
        return any(map(has_secret, value.values()))
    if isinstance(value, list):
        return any(map(has_secret, value))
    return isinstance(value, Secret)


def secret_marks(value: Any) -> Any:
    """Return the places of secrets in the value, in a form that can be compared."""
    if isinstance(value, dict):
        return {key: secret_marks(item) for key, item in value.items()}
    if isinstance(value, list):
        return [secret_marks(item) for item in value]
    return isinstance(value, Secret)


def has_unknown(value: Any) -> bool:
    """Tell whether the value is or holds an unknown."""
    if isinstance(value, Secret):
        return has_unknown(value.value)
    if isinstance(value, dict):
        return any(map(has_unknown, value.values()))
    if isinstance(value, list):
        return any(map(has_unknown, value))
    return value is UNKNOWN


def secret_texts(value: Any) -> frozenset[str]:
    """Return the secret texts in the value, which must not get into a message.

    Logs show a key or certificate line by line, so each line counts too. Texts with fewer than five
    characters are left out: otherwise a secret `true` would be hidden in every message.
    """
    texts: set[str] = set()

    def collect(item: Any, *, secret: bool) -> None:
        if isinstance(item, Secret):
            collect(item.value, secret=True)
        elif isinstance(item, dict):
            for member in item.values():
                collect(member, secret=secret)
        elif isinstance(item, list):
            for member in item:
                collect(member, secret=secret)
        elif secret and isinstance(item, str):
            texts.update({item, *(line.strip() for line in item.splitlines())})

    collect(value, secret=False)
    return frozenset(text for text in texts if len(text) > 4)


def redact(message: str, secrets: frozenset[str]) -> str:
    """Return the message with every secret text replaced."""
    for text in sorted(secrets, key=len, reverse=True):
        message = message.replace(text, "[secret]")
    return message


def keep_secrets(values: Properties, like: Mapping[str, Any], *, exact: bool = False) -> Properties:
    """Return `values` with the same secrets as in `like`.

    The rule is the engine's own (`annotateSecrets` of pulumi/pulumi): two objects are compared key
    by key; otherwise one secret inside makes the whole value secret, since lists may come back in
    another order. With `exact`, lists of the same length are compared element by element too.
    """
    return {
        key: _kept(value, like[key], exact=exact) if key in like else value
        for key, value in values.items()
    }


def _kept(value: Any, model: Any, *, exact: bool) -> Any:
    if isinstance(value, dict) and isinstance(model, dict):
        return keep_secrets(value, model, exact=exact)
    if exact and isinstance(value, list) and isinstance(model, list) and len(value) == len(model):
        return [_kept(*pair, exact=exact) for pair in zip(value, model, strict=True)]
    return Secret(reveal(value)) if has_secret(model) else value
