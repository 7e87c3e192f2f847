"""A real browser at the stack, and visitors with it.

Carol works, Grace is the administrator, and Bob works beside Carol.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.engine.browser import chromium, network
from tests.engine.browser.chromium import Visitor
from tests.engine.browser.lab import Lab
from tests.engine.people import Entrance
from tests.engine.stack import Stack

#: All visitors so far: their problems count, and their pages are kept as pictures if a test fails.
here: list[Visitor] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pictures", type=Path, help="folder for pictures of the pages")


@pytest.fixture(scope="session")
def pictures(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder for pictures of the pages: where --pictures says, or one that pytest removes."""
    chosen: Path | None = request.config.getoption("--pictures", None)
    folder = chosen or tmp_path_factory.mktemp("pictures", numbered=False)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="package")
def entrance(stack: Stack) -> Entrance:
    """Address, certificate and passwords of the stack."""
    return Entrance.of(stack)


@pytest.fixture(scope="package")
def browser(entrance: Entrance, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The browser, in a network in which there is nothing but the hub."""
    if not network.able():
        pytest.skip("a network for the browser needs root, and ip")
    if not chromium.executable():
        pytest.skip("no Chromium here: apt install chromium libnss3-tools")
    with (
        network.network(entrance.port),
        chromium.started(tmp_path_factory.mktemp("browser"), entrance.authority) as browser,
    ):
        yield browser


@pytest.fixture(scope="package")
def visit(browser: Browser, entrance: Entrance) -> Iterator[Callable[..., Visitor]]:
    """Make a visitor, with a window of any size."""

    def make(window: tuple[int, int] = chromium.LAPTOP) -> Visitor:
        context = browser.new_context(viewport=chromium.size(window))
        here.append(Visitor(entrance, context))
        return here[-1]

    yield make
    for visitor in here:
        visitor.context.close()
    here.clear()


@pytest.fixture(autouse=True)
def _no_problem(visit: Callable[..., Visitor], tmp_path: Path) -> Iterator[None]:
    """No page of any visitor reports an error, and no answer is one, unless it is expected."""
    yield
    found = [problem for visitor in here for problem in visitor.problems]
    for visitor in here:
        visitor.problems.clear()
    assert not found


@pytest.fixture
def stranger(visit: Callable[..., Visitor]) -> Iterator[Visitor]:
    """A visitor who is not logged in."""
    visitor = visit()
    yield visitor
    visitor.context.close()


@pytest.fixture(scope="package")
def _servers(entrance: Entrance) -> Iterator[None]:
    """Servers of visitors run until all have been here; a start takes long under emulation."""
    yield
    for name in ("bob", "carol"):
        user = entrance.logged_in(name)
        if user.server():
            user.stop_server()


def working(visitor: Visitor, name: str) -> Lab:
    """Log a visitor in, who gets to JupyterLab."""
    visitor.open()
    visitor.log_in(name)
    lab = Lab(visitor)
    lab.wait()
    return lab


@pytest.fixture(scope="package")
def carol(_servers: None, visit: Callable[..., Visitor]) -> Lab:
    """Carol at work."""
    return working(visit(), "carol")


@pytest.fixture(scope="package")
def bob(_servers: None, visit: Callable[..., Visitor]) -> Lab:
    """Bob, who works beside Carol."""
    return working(visit(), "bob")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep a picture of each page when a test fails, and say where."""
    report = yield
    if report.failed and isinstance(item, pytest.Function) and "tmp_path" in item.funcargs:
        folder = Path(str(item.funcargs["tmp_path"]))
        for number, page in enumerate(p for visitor in here for p in visitor.context.pages):
            picture = folder / f"{report.when}-{number}.png"
            page.screenshot(path=picture)
            report.sections.append(("picture", f"{page.url}: {picture}"))
    return report
