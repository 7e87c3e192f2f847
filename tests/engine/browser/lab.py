"""JupyterLab in a browser, used with mouse and keyboard."""

from __future__ import annotations

import itertools
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Download, Locator, Page, TimeoutError, expect  # noqa: A004

from tests.engine.browser.chromium import PATIENCE, Visitor

#: JupyterLab sends files above this size in parts of this size, in bytes.
PART = 1 << 20

#: JupyterLab asks before it uploads more than this, in bytes.
LARGE = 15 << 20


@dataclass(frozen=True)
class Lab:
    """JupyterLab of a user whose server runs."""

    visitor: Visitor

    @property
    def page(self) -> Page:
        return self.visitor.page

    def wait(self) -> None:
        """Wait until the server has started and JupyterLab can be used."""
        self.page.wait_for_url("**/lab*", timeout=3 * PATIENCE)
        expect(self._new_launcher).to_be_visible()
        # Who leaves before it has loaded, gets errors of requests that were broken off.
        self.page.wait_for_load_state("networkidle")

    @property
    def _new_launcher(self) -> Locator:
        return self.page.locator(".jp-FileBrowser").get_by_role("button", name="New Launcher")

    def launch(self, what: str) -> None:
        """Click a card of a new launcher."""
        self._new_launcher.click()
        self.page.locator(".jp-LauncherCard:visible", has_text=what).first.click()

    def new_notebook(self) -> Notebook:
        """Open a notebook and wait for its kernel."""
        self.launch("Python 3")
        notebook = Notebook(self.page)
        notebook.wait_until_it_computes()
        return notebook

    def file(self, name: str) -> Locator:
        """A file in the file browser."""
        return self.page.locator(".jp-DirListing-item").filter(
            has=self.page.get_by_text(name, exact=True)
        )

    def on_file(self, name: str, command: str) -> None:
        """Choose a command from a file's context menu."""
        self.file(name).click(button="right")
        self.page.locator(f'.lm-Menu-item[data-command="filebrowser:{command}"]').click()

    def upload(self, file: Path) -> None:
        """Upload a file of more than one part with the button of the file browser."""
        with self.page.expect_file_chooser() as chooser:
            self.page.locator('.jp-FileBrowser [data-jp-item-name="uploader"] jp-button').click()
        bytes_ = file.stat().st_size
        answers = itertools.count(1)
        last = -(-bytes_ // PART)
        with self.page.expect_response(
            lambda answer: (
                answer.request.method == "PUT"
                and f"/{file.name}" in answer.url
                and next(answers) == last
            ),
            timeout=3 * PATIENCE,
        ):
            chooser.value.set_files(file)
            if bytes_ > LARGE:
                self.accept()
        expect(self.file(file.name)).to_be_visible()

    def download(self, name: str, folder: Path) -> Path:
        """Download a file from its context menu; return where it is."""
        with self.page.expect_download() as download:
            self.on_file(name, "download")
        assert download.value.suggested_filename == name
        download.value.save_as(folder / name)
        return folder / name

    def accept(self) -> None:
        """Answer a dialog with yes."""
        self.page.locator(".jp-Dialog .jp-mod-accept").click()

    def choose(self, menu: str, item: str) -> None:
        """Choose an item of a menu."""
        self.page.locator(".lm-MenuBar-item", has_text=menu).click()
        self._item(item).click()

    def export(self, form: str) -> Download:
        """Export the notebook in front, by the menu of its forms."""
        self._choose_form(form)
        with self.page.expect_download() as download:
            self.accept()
        return download.value

    def _choose_form(self, form: str) -> None:
        """Choose from the menu that does not open before the server has named the forms."""
        for _ in range(20):
            self.page.locator(".lm-MenuBar-item", has_text="File").click()
            self._item("Save and Export").hover()
            with suppress(TimeoutError):
                self._item(form).click(timeout=PATIENCE / 20)
                return
            self.page.keyboard.press("Escape")
        raise AssertionError(f"no export to {form} is offered")

    def _item(self, text: str) -> Locator:
        return self.page.locator(".lm-Menu-item:visible", has_text=text)


class Notebook:
    """The notebook in front."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")

    def wait_until_idle(self) -> None:
        """Wait until there is a kernel that does nothing."""
        indicator = self._panel.locator(".jp-Notebook-ExecutionIndicator")
        expect(indicator).to_have_attribute("data-status", "idle")

    def wait_until_it_computes(self) -> None:
        """Run the first cell until it has output.

        JupyterLab sometimes loses what is run as soon as a new kernel counts as idle, since it then
        opens a second connection: https://github.com/jupyterlab/jupyterlab/issues/8490
        """
        self.wait_until_idle()
        cell = self.run("print('ready')")
        for _ in range(10):
            try:
                expect(cell.output).to_contain_text("ready", timeout=PATIENCE / 10)
            except AssertionError:
                cell.locator.locator(".cm-content").click()
                self._page.keyboard.press("Control+Enter")
            else:
                break

    def run(self, code: str) -> Cell:
        """Write code into the last cell and run it."""
        cells = self._panel.locator(".jp-CodeCell")
        cell = Cell(cells.nth(cells.count() - 1))
        cell.locator.locator(".cm-content").click()
        self._page.keyboard.insert_text(code)
        self._page.keyboard.press("Shift+Enter")
        return cell

    def press(self, button: str) -> None:
        """Press a button of the toolbar, by its name in JupyterLab's settings."""
        self._panel.locator(f'[data-jp-item-name="{button}"] jp-button').click()

    def save(self) -> None:
        """Save it with the keyboard, and wait until it is saved."""
        with self._page.expect_response(
            lambda answer: answer.request.method == "PUT" and "/api/contents/" in answer.url
        ):
            self._page.keyboard.press("Control+s")


@dataclass(frozen=True)
class Cell:
    """A cell that runs or has run."""

    locator: Locator

    @property
    def output(self) -> Locator:
        """Where its output is shown."""
        return self.locator.locator(".jp-OutputArea-output")

    @property
    def prompt(self) -> Locator:
        """What stands before its code: `[*]:` while it runs."""
        return self.locator.locator(".jp-InputPrompt")

    def prints(self, text: str) -> None:
        """Wait for its output to contain the text."""
        expect(self.output.first).to_contain_text(text)
