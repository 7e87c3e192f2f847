"""`make up` of a stack other than dev shows a preview before it changes anything."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import terminal
from tests.toolchain.conftest import Site

pytestmark = pytest.mark.slow

PROGRAM = """
import pulumi
pulumi.export('url', 'https://hub.example.com:11119')
pulumi.export('certificateFingerprint', 'AB:CD')
"""

QUESTION = "Do you want to perform this update?"


@pytest.fixture
def small(site: Site) -> Iterator[Site]:
    """A clone with a program that needs no engine, and a stack for it."""
    program = site.root / "__main__.py"
    before = program.read_text()
    program.write_text(PROGRAM)
    (site.root / "Pulumi.site.yaml").write_text("config:\n  docker:host: ssh://ops@z.example.com\n")
    yield site
    program.write_text(before)


def at_a_terminal(site: Site, line: str, answer: str) -> tuple[int, str]:
    """Run a command at a terminal, answer Pulumi's question; returns exit code and output."""
    return terminal.run(line, site.root, site.environment({"TERM": "xterm"}), QUESTION, answer)


def has_come_up(site: Site) -> bool:
    return "url" in site.shell("pulumi stack output --json --stack site || true")


def test_at_a_terminal_the_preview_is_shown_and_asked_about(small: Site) -> None:
    code, shown = at_a_terminal(small, "make up STACK=site", "no")
    assert "Previewing update (site)" in shown
    assert QUESTION in shown
    assert code
    assert not has_come_up(small)
    code, shown = at_a_terminal(small, "make up STACK=site", "yes")
    assert code == 0, shown
    assert has_come_up(small)


def test_at_a_terminal_yes_skips_the_question(small: Site) -> None:
    code, shown = at_a_terminal(small, "make up STACK=site YES=1", "no")
    assert code == 0, shown
    assert "Previewing update (site)" in shown
    assert QUESTION not in shown


def test_without_a_terminal_the_preview_is_in_the_log(small: Site) -> None:
    shown = small.shell("make up STACK=site")
    assert "Previewing update (site)" in shown
    assert has_come_up(small)


def test_the_demo_comes_up_without_a_question(small: Site) -> None:
    (small.root / "Pulumi.dev.yaml").write_text(
        (small.root / "Pulumi.dev.yaml").read_text() + "  docker:host: ssh://ops@z.example.com\n"
    )
    try:
        code, shown = at_a_terminal(small, "make up", "no")
    finally:
        lines = (small.root / "Pulumi.dev.yaml").read_text().splitlines(keepends=True)
        (small.root / "Pulumi.dev.yaml").write_text("".join(lines[:-1]))
    assert code == 0, shown
    assert "Previewing" not in shown


def test_up_warns_of_state_that_only_this_clone_has(small: Site) -> None:
    warning = "warning: the state of stack site, which runs on ssh://ops@z.example.com,"
    shared = small.root.parent / "shared"
    shared.mkdir(exist_ok=True)
    assert warning in small.shell("make preview STACK=site")
    assert warning in small.shell("pulumi preview --stack site")
    assert warning not in small.shell("pulumi stack ls")
    elsewhere = {"PULUMI_BACKEND_URL": shared.as_uri()}
    (small.root / "Pulumi.site.yaml").write_text(
        "config:\n  docker:host: ssh://ops@z.example.com\n"
    )
    (small.root / ".state" / "passphrase-site").unlink()
    assert warning not in small.shell("make preview STACK=site", elsewhere)
