"""Runs the program as the tests of the program do."""

from tests.components.conftest import event_loop

__all__ = ["event_loop"]
