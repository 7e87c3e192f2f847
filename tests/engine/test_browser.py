"""The tests in browser/ are left out only where they cannot run."""

from __future__ import annotations

import pytest


def test_a_browser_can_be_driven() -> None:
    pytest.importorskip("playwright", reason="PyPI has no Playwright for this processor")
