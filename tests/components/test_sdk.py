"""What the program uses of Pulumi's SDK although the SDK does not promise it."""

from __future__ import annotations

import contextvars

import pulumi.runtime
from pulumi.runtime.config import CONFIG, is_config_secret


def test_the_private_config_of_the_sdk_has_all_that_is_set() -> None:
    """`settings.load` lists the keys that are set with it; there is no public way.

    Where this fails after `make lock`, the SDK keeps the stack's config in another way: change
    `components/settings/stack.py`, or misspelt settings go unnoticed.
    """
    config = {"zhub:port": "8443", "zhub:nosuch": "x", "docker:host": "ssh://z", "zhub:key": "s"}

    def run() -> None:
        pulumi.runtime.set_all_config(dict(config), ["zhub:key"])
        assert CONFIG.get() == config
        assert {key for key in config if is_config_secret(key)} == {"zhub:key"}

    contextvars.copy_context().run(run)
