"""Values of labels that change with a file, so that its reader's container is replaced."""

from __future__ import annotations

import hashlib
import hmac

import pulumi


def digest(pem: pulumi.Input[str] | None) -> pulumi.Input[str]:
    """The digest of a file's content; empty without one."""
    if pem is None:
        return ""
    return pulumi.Output.from_input(pem).apply(lambda pem: hashlib.sha256(pem.encode()).hexdigest())


def secret_mark(mark_key: pulumi.Input[str], secret: pulumi.Input[str] | None) -> pulumi.Input[str]:
    """A value that changes with a secret, such as a password, and does not help to guess it.

    Everybody who may inspect containers can read labels, and could try passwords against a plain
    digest. This one takes a secret of the stack's state as well, which only those have who can read
    the password there, too.
    """
    if secret is None:
        return ""
    mark = pulumi.Output.all(mark_key, secret).apply(lambda both: _hmac(*both))
    # Otherwise previews would hide all labels.
    return pulumi.Output.unsecret(mark)


def _hmac(key: str, message: str) -> str:
    return hmac.digest(key.encode(), message.encode(), hashlib.sha256).hex()
