"""Debian's Chromium, driven by Playwright, and what the pages of a hub do in it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    WebError,
    expect,
    sync_playwright,
)

from tests.engine.browser.network import NAMESPACE
from tests.engine.namespaces import entered
from tests.engine.people import Entrance

#: Milliseconds for what an emulated server does at its own pace.
PATIENCE = 120_000

#: Width and height of a laptop's window and of a small telephone, in pixels.
LAPTOP = (1280, 800)
TELEPHONE = (360, 740)


def executable() -> str | None:
    """Path of the machine's own browser; Playwright must not download one."""
    return shutil.which("chromium") or shutil.which("google-chrome")


@contextmanager
def started(folder: Path, authority: Path | None, namespace: str = NAMESPACE) -> Iterator[Browser]:
    """Start the browser in its network.

    Args:
        folder: becomes the browser's home.
        authority: the PEM file with which it verifies the hub's certificate; None without TLS.
        namespace: the network.
    """
    if authority:
        database = folder / ".pki" / "nssdb"  # where Chromium looks on Linux
        database.mkdir(parents=True)
        certutil = ["certutil", "-d", f"sql:{database}"]
        subprocess.run([*certutil, "-N", "--empty-password"], check=True)
        trusted = ["-A", "-n", "hub", "-t", "P,,", "-i", str(authority)]
        subprocess.run([*certutil, *trusted], check=True)
    expect.set_options(timeout=PATIENCE)
    with entered(namespace):
        driver = sync_playwright().start()  # the browser is its child, in the same network
    try:
        # Without Chromium's own sandbox, which does not work for root. Its pages are the hub's.
        yield driver.chromium.launch(
            executable_path=executable(), env={"HOME": str(folder), "PATH": "/usr/bin:/bin"}
        )
    finally:
        driver.stop()


@dataclass(frozen=True)
class Expected:
    """An answer of status 400 or more that belongs to what a test does."""

    status: int
    path: str
    """Regular expression for the path, below the hub's own."""
    reason: str


@dataclass
class Visitor:
    """A person with a browser of their own: nothing is shared with other visitors."""

    entrance: Entrance
    context: BrowserContext
    problems: list[str] = field(default_factory=list)
    """Errors that pages report, answers of 400 and more, requests to others than the hub."""
    _expected: list[Expected] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context.set_default_timeout(PATIENCE)
        self.context.on("request", self._requested)
        self.context.on("response", self._answered)
        self.context.on("console", self._printed)
        self.context.on("weberror", self._raised)

    @cached_property
    def page(self) -> Page:
        """The first tab."""
        return self.context.new_page()

    @property
    def base(self) -> str:
        """URL below which the hub serves everything, ending in a slash."""
        outputs = self.entrance.outputs
        return str(urljoin(str(outputs["url"]), f"/{outputs['prefix']}/"))

    def open(self, path: str = "") -> None:
        """Open a page of the hub, by its path below the hub's own."""
        self.page.goto(urljoin(self.base, path))

    def expect(self, status: int, path: str, reason: str) -> None:
        """Do not count an answer as a problem from now on, for a reason."""
        self._expected.append(Expected(status, path, reason))

    def log_in(self, name: str, password: str | None = None) -> None:
        """Fill in the login form, which is open, and send it.

        Args:
            name: of a user of the demo directory.
            password: the user's own, unless another is given.
        """
        self.page.get_by_label("Username").fill(name)
        self.page.get_by_label("Password:").fill(password or self.entrance.password(name))
        self.page.get_by_role("button", name="Sign in").click()

    def picture(self, file: Path, height: int = LAPTOP[1]) -> None:
        """Write a picture of the upper part of the page, as PNG; the height is in pixels."""
        width = LAPTOP[0]
        self.page.screenshot(path=file, clip={"x": 0, "y": 0, "width": width, "height": height})

    def _requested(self, request: Request) -> None:
        if request.url.startswith(("https:", "http:", "wss:", "ws:")) and (
            urlsplit(request.url).netloc != urlsplit(self.base).netloc
        ):
            self.problems.append(f"a request to another host: {request.url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400 and not self._is_expected(response.status, response.url):
            self.problems.append(f"{response.status} {response.request.method} {response.url}")

    def _printed(self, message: ConsoleMessage) -> None:
        # The browser itself reports each answer of 400 and more, which is looked at above. The
        # other is JupyterLab's about a widget in a notebook whose kernel has ended.
        usual = ("Failed to load resource:", "Error: widget model not found")
        if message.type == "error" and not message.text.startswith(usual):
            self.problems.append(f"console: {message.text}")

    def _raised(self, error: WebError) -> None:
        # JupyterLab's own: a notebook's cells changed in the moment after its tab was closed.
        usual = "Cannot read properties of null (reading 'observe')"
        if str(error.error) != usual:
            self.problems.append(f"uncaught: {error.error}")

    def _is_expected(self, status: int, url: str) -> bool:
        path = url.removeprefix(self.base).partition("?")[0]
        return any(one.status == status and re.fullmatch(one.path, path) for one in self._expected)


def size(width_and_height: tuple[int, int]) -> Any:
    """The size of a window, as Playwright takes it."""
    width, height = width_and_height
    return {"width": width, "height": height}
