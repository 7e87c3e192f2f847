"""What the benchmarks make of their numbers; measuring itself is done by `make bench`."""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import images, machine, measured, own_engine, plot, table
from benchmarks.measured import METRICS, Results, Series
from toolchain import base

COLD = next(metric for metric in METRICS if metric.key == "cold-hub")
SIZE = next(metric for metric in METRICS if metric.key == "size-hub")


def series(metric: str, subject: str, *values: float, **others: str) -> Series:
    return Series(
        metric=metric,
        subject=subject,
        platform=others.pop("platform", "linux/s390x"),
        values=values,
        date="2026-01-02",
        **others,
    )


def results(*all_series: Series) -> Results:
    return Results("4 x Zilog Z80", "linux/amd64", {one.key: one for one in all_series})


@pytest.mark.parametrize(
    ("measured_series", "shown"),
    [
        (series("cold-hub", "seed", 1.26, 250.4, 30.0), "30.0 s (1.26-250, n=3)"),
        (series("cold-hub", "seed", 8.0, 9.0), "8.50 s (8.00-9.00, n=2)"),
        (series("cold-hub", "seed", 901.7), "902 s (once)"),
        (series("cold-hub", "seed", not_run="it took too long"), "not run"),
        (None, "not measured"),
    ],
)
def test_a_cell_has_the_median_and_the_spread(measured_series: Series | None, shown: str) -> None:
    assert table.cell(COLD, measured_series, "seed") == shown


def test_a_size_has_no_spread_and_a_foreign_metric_no_cell() -> None:
    assert table.cell(SIZE, series("size-hub", "seed", 1330.71), "seed") == "1331 MB"
    up = next(metric for metric in METRICS if metric.key == "up")
    assert table.cell(up, None, "seed") == ""


def test_the_ratio_needs_both_sides() -> None:
    both = results(series("cold-hub", "project", 10.0), series("cold-hub", "seed", 25.0))
    assert table.times(COLD, both, "linux/s390x") == "2.5x"
    assert table.times(COLD, both, "linux/amd64") == ""
    assert table.times(COLD, results(series("cold-hub", "seed", 25.0)), "linux/s390x") == ""


def test_the_table_says_what_did_not_run_and_what_else_went_on() -> None:
    text = table.table(
        results(
            series("cold-hub", "seed", not_run="the build failed with code 1"),
            series("cold-hub", "project", 10.0, note="while something else was built"),
            series("cold-notebook", "project", 9.0, note="while something else was built"),
            series("size-hub", "project", 9.0, note="while something else was built"),
            series("cold-hub", "project", 2.0, platform="linux/amd64"),
        )
    )
    native, emulated = text.index("linux/amd64, native"), text.index("linux/s390x, emulated")
    assert native < emulated
    row = f"| {COLD.title} | 10.0 s (once) | not measured | not run |  |"
    assert row in text[emulated:]
    assert "- Not run, because the build failed with code 1: cold (the usual way).\n" in text
    assert "- Measured while something else was built: cold, size (this project).\n" in text
    assert "Measured: 2026-01-02. Machine: 4 x Zilog Z80." in text


def test_the_table_says_how_much_longer_a_login_takes_than_a_bare_container() -> None:
    login, bare = series("login-api", "project", 4.2), series("start-notebook", "project", 3.5)
    ratio = "- login to the API of the user's server : `docker run` to JupyterLab's API = 1.20x\n"
    assert ratio in table.table(results(login, bare))
    assert " = " not in table.table(results(login))


def test_a_part_may_have_rows_in_the_table_and_a_table_of_its_own() -> None:
    alone = series("swarm-start", "project", 2.0, platform="linux/amd64")
    crowd = series("swarm-ready-1", "project", 90.0, platform="linux/amd64")
    text = table.table(results(alone, crowd))
    assert "| a swarm: server asked for, to its API | 2.00 s (once) |" in text
    assert "| login form to the API of the user's server, s | 90.0 |  |  |" in text
    assert text.count("swarm that get servers") == 1


def test_only_what_is_between_the_marks_is_replaced() -> None:
    page = f"before\n{table.BEGIN}old\n{table.END}after\n"
    assert table.put_into(page, "new") == f"before\n{table.BEGIN}\nnew\n{table.END}after\n"
    with pytest.raises(ValueError, match="lost its mark <!-- written by make bench: end"):
        table.put_into(f"before\n{table.BEGIN}old\n", "new")


def test_results_are_kept_and_another_machine_starts_anew(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    kept = results(series("cold-hub", "seed", 2.0, note="n"), series("size-hub", "bare", 1.0))
    measured.save(file, kept)
    assert measured.load(file, kept.machine, kept.native) == kept
    assert measured.load(file, "another", kept.native).series == {}
    assert measured.load(tmp_path / "none.json", kept.machine, kept.native).series == {}


def test_a_newer_series_replaces_its_own_only() -> None:
    old, other = series("cold-hub", "seed", 2.0), series("cold-hub", "bare", 3.0)
    new = replace(old, values=(4.0,))
    assert results(old, other).with_series(new) == results(new, other)


def test_the_page_shows_what_is_kept() -> None:
    kept = json.loads(command.KEPT.read_text())
    shown = table.table(measured.load(command.KEPT, kept["machine"], kept["native"]))
    page = command.PAGE.read_text()
    assert table.put_into(page, shown) == page


@pytest.mark.skipif(platform.machine() == "s390x", reason="PyPI has no matplotlib for s390x")
@pytest.mark.slow
def test_the_plot_shows_medians_and_gaps_and_comes_out_the_same_again(tmp_path: Path) -> None:
    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    for path in (first, second):
        failed = series("cold-hub", "seed", not_run="it took too long")
        plot.draw(results(series("cold-hub", "project", 11.0, 12.5, 99.0), failed), path)
    drawn = first.read_text()
    assert "linux/s390x, emulated" in drawn
    assert ">12.5<" in drawn
    assert ">not run<" in drawn
    assert ">not measured<" in drawn
    assert drawn == second.read_text()


def test_parts_are_measured_in_their_own_order_whatever_the_order_asked() -> None:
    read = command.choice(measured.PARTS)
    assert read("start,cold") == ["cold", "start"]
    with pytest.raises(argparse.ArgumentTypeError, match="szie: choose from cold, size"):
        read("szie,start")


@pytest.mark.parametrize("text", ["0", "-1", "many", ""])
def test_nothing_is_measured_less_than_once(text: str) -> None:
    assert command.count("3") == 3
    with pytest.raises(argparse.ArgumentTypeError, match="a number of at least 1"):
        command.count(text)


def test_the_machine_is_described_without_its_name() -> None:
    assert machine.processor("processor : 0\nmodel name\t: Some CPU @ 2 GHz\n") == (
        "Some CPU @ 2 GHz"
    )
    z = "vendor_id       : IBM/S390\nprocessor 0: version = FF,  machine = 3931\n"
    assert machine.processor(z) == "IBM Z machine type 3931"
    assert machine.processor("") == platform.machine()
    assert machine.memory("MemTotal:       24684848 kB\nMemFree: 1 kB\n") == "24 GiB"
    assert machine.emulator("qemu-s390x version 7.2.22 (Debian 1:7.2)\n") == "QEMU 7.2.22"
    assert machine.emulator("") == "no emulation"


def test_subjects_differ_in_nothing_but_how_they_are_built(monkeypatch: pytest.MonkeyPatch) -> None:
    site = {"BUILD_IMAGE": base.BUILD, "EXTRA_CA": "a certificate", "PIP_INDEX_URL": None}
    monkeypatch.setattr(images, "site_args", lambda: site)
    monkeypatch.setattr("components.settings.machine.npm_registry", lambda: "")
    made = {subject: images.recipes(subject, "linux/s390x") for subject in measured.SUBJECTS}
    for subject, (notebook, hub) in made.items():
        assert notebook.arguments["BASE_IMAGE"] == base.TARGET
        assert notebook.arguments["EXTRA_CA"] == "a certificate"
        assert hub.arguments["NOTEBOOK_IMAGE"] == notebook.tag
        assert (notebook.context / notebook.dockerfile).is_file()
        assert (hub.context / hub.config).is_file(), subject
    assert "python3-numpy" in made["project"][0].arguments["NOTEBOOK_PACKAGES"]
    assert made["project"][0].arguments["NOTEBOOK_REQUIREMENTS"] == "workplace"
    assert not {"NOTEBOOK_PACKAGES", "NOTEBOOK_REQUIREMENTS"} & made["bare"][0].arguments.keys()
    native = images.recipes("project", "linux/amd64")[0]
    assert native.arguments["BASE_IMAGE"] == base.BUILD


@pytest.mark.parametrize(
    "lines",
    [
        [
            'level=debug msg="Calling GET /_ping"',
            'level=debug msg="Calling HEAD /_ping"',
            'level=debug msg="Calling POST /v1.41/containers/create?name=one"',
            'level=debug msg="form data: {}"',
            'level=debug msg="Calling GET /v1.41/networks/one"',
        ],
        [
            'msg="handling GET request" method=GET request-url=/_ping',
            'msg="handling HEAD request" method=HEAD request-url=/_ping',
            'msg="handling POST request" request-url="/v1.51/containers/create?name=one"',
            'msg="Registering route" method=GET path=/networks',
            'msg="handling GET request" method=GET request-url=/v1.51/networks/one',
        ],
    ],
    ids=["Docker 20.10", "Docker 28"],
)
def test_calls_are_counted_in_the_log_of_old_and_new_engines(lines: list[str]) -> None:
    assert own_engine.calls(lines) == 2
