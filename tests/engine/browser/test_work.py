"""A day in JupyterLab: everything that a data scientist does with mouse and keyboard."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.engine.browser.lab import Lab, Notebook

pytestmark = pytest.mark.engine

PLOT = """\
%matplotlib inline
import numpy, matplotlib.pyplot as plot
x = numpy.linspace(0, 12, 400)
figure, axes = plot.subplots(figsize=(7, 3.2))
for shift in range(5):
    axes.plot(x, numpy.sin(x + shift / 2) * numpy.exp(-x / 8))
_ = axes.set_title("Damped oscillations")"""

COLOURS = """image => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const {data} = context.getImageData(0, 0, canvas.width, canvas.height);
    return new Set(new Uint32Array(data.buffer)).size;
}"""
"""How many colours an image has: one if nothing is drawn."""

ODD = "Übung #1 100% & 'a' 🚀 +b.ipynb"


@pytest.fixture(scope="module")
def notebook(carol: Lab) -> Notebook:
    """A notebook of Carol's."""
    return carol.new_notebook()


def test_a_computation_and_a_plot(carol: Lab, notebook: Notebook, pictures: Path) -> None:
    notebook.run("answer = sum(range(1_000_001))\nprint(answer)").prints("500000500000")
    image = notebook.run(PLOT).output.locator("img")
    expect(image).to_be_visible()
    assert image.evaluate(COLOURS) > 100
    notebook.wait_until_idle()
    carol.visitor.picture(pictures / "jupyterlab.png")


SLIDER = """\
import ipywidgets
slider = ipywidgets.IntSlider(value=7, max=9, description="Level")
slider.observe(lambda change: print("moved to", change.new), "value")
slider"""


def test_a_slider_is_moved(notebook: Notebook) -> None:
    """In the page it changes a value in the kernel, whose answer is shown in turn."""
    notebook.run(SLIDER).output.get_by_role("slider").press("ArrowRight")
    notebook.wait_until_idle()
    notebook.run("print('level', slider.value)").prints("level 8")


def test_a_kernel_is_interrupted_and_restarted(carol: Lab, notebook: Notebook) -> None:
    endless = notebook.run("kept = 1\nprint('it runs')\nwhile True: pass")
    endless.prints("it runs")  # the prompt says so even before it does
    expect(endless.prompt).to_have_text("[*]:")
    notebook.press("interrupt")
    expect(endless.output.last).to_contain_text("KeyboardInterrupt")
    notebook.run("print('still', kept)").prints("still 1")
    notebook.press("restart")
    carol.accept()
    notebook.wait_until_idle()
    notebook.run("kept").prints("NameError")


def test_a_terminal(carol: Lab) -> None:
    """What it prints is pixels, so a file shows what has run."""
    carol.launch("Terminal")
    carol.page.locator(".jp-Terminal .xterm-helper-textarea").press_sequentially(
        "echo $((6 * 7)) $USER > terminal.txt\n"
    )
    carol.file("terminal.txt").dblclick()
    text = carol.page.locator(".jp-FileEditor .cm-content")
    expect(text).to_contain_text("42")


def round_trip(lab: Lab, folder: Path, megabytes: int) -> None:
    """Upload random data, and download it."""
    data = os.urandom(megabytes << 20)
    sent = folder / f"{megabytes}MB.bin"
    sent.write_bytes(data)
    lab.upload(sent)
    (folder / "back").mkdir()
    back = lab.download(sent.name, folder / "back")
    assert hashlib.sha256(back.read_bytes()).digest() == hashlib.sha256(data).digest()


@pytest.mark.long
def test_a_file_of_100_mb_is_uploaded_and_downloaded(carol: Lab, tmp_path: Path) -> None:
    round_trip(carol, tmp_path, 100)


def test_a_file_of_10_mb_is_uploaded_and_downloaded(carol: Lab, tmp_path: Path) -> None:
    round_trip(carol, tmp_path, 10)


def test_a_notebook_is_exported_to_html(carol: Lab, notebook: Notebook) -> None:
    carol.file("Untitled.ipynb").dblclick()  # to the front
    notebook.run("print('to be', 'exported')").prints("to be exported")
    exported = carol.export("HTML")
    assert exported.suggested_filename == "Untitled.html"
    assert "to be exported" in exported.path().read_text()


def test_a_notebook_gets_an_odd_name(carol: Lab, notebook: Notebook) -> None:
    carol.on_file("Untitled.ipynb", "rename")
    carol.page.keyboard.press("Control+a")
    carol.page.keyboard.insert_text(ODD)
    carol.page.keyboard.press("Enter")
    expect(carol.file(ODD)).to_be_visible()
    carol.file(ODD).dblclick()
    notebook.save()
    old_name = "user/carol/api/contents/Untitled.ipynb"
    carol.visitor.expect(404, old_name, "JupyterLab looks for the tabs that it last stored")
    carol.page.reload()
    expect(carol.page.locator(".lm-TabBar-tab.lm-mod-current", has_text=ODD)).to_be_visible()
    notebook.wait_until_idle()


def test_two_users_work_side_by_side(carol: Lab, notebook: Notebook, bob: Lab) -> None:
    code = "import os\nprint('I am', os.environ['JUPYTERHUB_USER'])"
    his = bob.new_notebook().run(code)
    hers = notebook.run(code)
    his.prints("I am bob")
    hers.prints("I am carol")
    bob.visitor.expect(403, "hub/api/oauth2/authorize", "Carol's server is hers alone")
    bob.visitor.open("user/carol/lab")
    expect(bob.page.get_by_role("heading", name="403")).to_be_visible()


def test_who_logs_out_needs_the_password_again(carol: Lab) -> None:
    carol.choose("File", "Log Out")
    expect(carol.page.get_by_role("button", name="Sign in")).to_be_visible()
    carol.visitor.open("user/carol/lab")
    expect(carol.page.get_by_role("button", name="Sign in")).to_be_visible()
