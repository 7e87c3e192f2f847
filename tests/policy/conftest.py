"""The program is run here as in the tests of the program."""

from tests.components.conftest import event_loop

__all__ = ["event_loop"]
