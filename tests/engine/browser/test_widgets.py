"""Widgets and plots that move, as they are drawn in the page; and output that a page has lost."""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import pairwise

import pytest
from playwright.sync_api import Locator, TimeoutError, expect  # noqa: A004

from tests.built import wait_until
from tests.engine.browser.chromium import PATIENCE
from tests.engine.browser.lab import Lab, Notebook

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def notebook(bob: Lab) -> Notebook:
    """A notebook of Bob's."""
    return bob.new_notebook()


#: A click in the figure fills half of it with a colour.
FIGURE = """\
%matplotlib widget
import matplotlib.pyplot as plot
figure, axes = plot.subplots(figsize=(4, 3))
axes.set(xlim=(0, 1), ylim=(0, 1))
def fill(event):
    axes.axvspan(0, 0.5, color="#ff0080")
    figure.canvas.draw_idle()
figure.canvas.mpl_connect("button_press_event", fill)
plot.show()"""

#: ipympl drops a drawing that a kernel announces while the page waits for the one before
#: (`send_draw_message` in its page's code, 0.10.0), as people see who click early.
CLICKS = 6

PIXELS = """canvas => {
    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const found = {all: data.length / 4, black: 0, filled: 0};
    for (let at = 0; at < data.length; at += 4) {
        const colour = [data[at], data[at + 1], data[at + 2], data[at + 3]].join();
        found.black += colour === "0,0,0,255";
        found.filled += colour === "255,0,128,255";
    }
    return found;
}"""


def test_a_figure_of_ipympl_is_drawn_and_answers_the_mouse(notebook: Notebook) -> None:
    canvas = notebook.run(FIGURE).output.locator("canvas").first
    expect(canvas).to_be_visible()
    until(canvas, "pixels => pixels.black > 500 && pixels.filled === 0")
    for _ in range(CLICKS):
        # The canvas for what the mouse draws lies above it, and takes the click.
        canvas.click(force=True)
        with suppress(TimeoutError):
            until(canvas, "pixels => pixels.filled > pixels.all / 5", PATIENCE / CLICKS)
            return
    raise AssertionError(f"{CLICKS} clicks have filled nothing")


def until(canvas: Locator, condition: str, milliseconds: float = PATIENCE) -> None:
    """Wait for the pixels of a canvas to be as a function in JavaScript wants them."""
    canvas.page.wait_for_function(
        f"canvas => ({condition})(({PIXELS})(canvas))",
        arg=canvas.element_handle(),
        timeout=milliseconds,
    )


PROGRESS = """\
import tqdm.notebook
for _ in tqdm.notebook.tqdm(range(30), desc="Steps"): pass"""


def test_a_bar_of_tqdm_fills(notebook: Notebook) -> None:
    output = notebook.run(PROGRESS).output
    expect(output.first).to_contain_text(re.compile(r"Steps:\s+100%.*30/30", re.DOTALL))
    bar = output.locator(".progress-bar")
    expect(bar).to_be_visible()
    whole = output.locator(".progress, .widget-hprogress .progress").first.bounding_box()
    filled = bar.bounding_box()
    assert whole
    assert filled
    assert filled["width"] > 0.95 * whole["width"] > 50


#: By the form for pages, and as a widget. All numbers of numpy, which go to the page as bytes.
PLOT = """\
import numpy, plotly.graph_objects
x, y = numpy.array([1, 2, 4], "i4"), numpy.array([1.0, 3.0, 4.0])
plotly.graph_objects.Figure(plotly.graph_objects.Scatter(x=x, y=y, mode="markers"))"""
WIDGET = """\
shown = plotly.graph_objects.FigureWidget()
shown.add_scatter(x=x, y=y, mode="markers")
shown"""
CHANGE = "shown.data[0].y = numpy.array([4.0, 3.0, 1.0])"


def steps(output: Locator) -> list[list[int]]:
    """How far the three points of a figure are from each other: right and up, in pixels."""
    points = output.locator(".scatterlayer .point")
    expect(points).to_have_count(3)
    at = points.evaluate_all("all => all.map(each => each.getAttribute('transform'))")
    places = [[float(number) for number in re.findall(r"[-\d.]+", text)] for text in at]
    return [[round(right - x), round(y - up)] for (x, y), (right, up) in pairwise(places)]


def test_a_plot_of_plotly_shows_the_right_numbers(notebook: Notebook) -> None:
    """Where bytes of s390x are taken for those of a PC, the points are elsewhere."""
    (right, up), (right_2, up_2) = steps(notebook.run(PLOT).output)
    assert min(right, up) > 20
    assert abs(right_2 - 2 * right) <= 2
    assert abs(up - 2 * up_2) <= 2


def test_a_widget_of_plotly_moves(notebook: Notebook) -> None:
    output = notebook.run(WIDGET).output
    (_, up), (_, up_2) = steps(output)
    assert abs(up - 2 * up_2) <= 2 < up
    notebook.run(CHANGE)
    wait_until(lambda: steps(output)[1][1] < -20, seconds=PATIENCE / 1000)
    (_, up), (_, up_2) = steps(output)
    assert abs(up_2 - 2 * up) <= 2


#: Milliseconds until JupyterLab shows what its server says: a minute, and more on a busy machine.
SOON = 80_000


@pytest.mark.long
def test_who_reloads_a_page_is_told_that_output_is_lost(bob: Lab, notebook: Notebook) -> None:
    begun = notebook.run("import time\nprint('begun')\nkept = 7\ntime.sleep(30)\nprint('late')")
    begun.prints("begun")
    bob.page.reload()
    notice = bob.page.locator(".jp-toast-message").get_by_text("what it has printed since is lost")
    expect(notice).to_contain_text("Untitled", timeout=SOON)
    bob.page.get_by_role("button", name="Dismiss").click()
    expect(notice).not_to_be_visible()
    notebook.wait_until_idle()
    notebook.run("print('kept', kept)").prints("kept 7")
