"""Measure this project's images beside images built the usual way; write a table and a plot."""

from __future__ import annotations

import argparse
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import docker

from benchmarks import (
    backup,
    crowds,
    groups,
    images,
    logins,
    machine,
    measured,
    plot,
    program,
    running,
    scrapes,
    swarm_crowd,
    swarm_networks,
    table,
)
from benchmarks.measured import (
    GRIDS,
    METRICS,
    PARTS,
    SUBJECTS,
    Results,
    Series,
)
from toolchain import base
from toolchain.console import Problem, fail, output, say
from toolchain.places import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
PLOT = PAGE.with_suffix(".svg")
KEPT = PAGE.with_suffix(".json")

#: Parts that are measured on the machine's own platform only.
NATIVE = {"scrape", *(grid.part for grid in GRIDS)}


@dataclass
class Bench:
    """One run: what it measures, and the results so far.

    Attributes:
        engine: the engine that builds and runs everything.
        results: results of this run and of earlier ones.
        subjects: what is compared.
        repeats: how often everything is measured, except the usual way's emulated cold build: once.
        limit: seconds that one build may take.
        minutes: that each part with many users may take.
        note: conditions of this run's measurements.
        kept: keys of the series that this run has measured.
        builds: subjects and platforms whose images this run built, with the error if it failed.
    """

    engine: docker.DockerClient
    results: Results
    subjects: Sequence[str]
    repeats: int
    limit: int
    minutes: int
    note: str
    kept: set[tuple[str, str, str]] = field(default_factory=set)
    builds: dict[tuple[str, str], str] = field(default_factory=dict)

    def keep(
        self, metric: str, subject: str, platform: str, values: Sequence[float], not_run: str = ""
    ) -> None:
        """Save a series at once, so that an interrupted run loses one at most."""
        date = datetime.now(UTC).date().isoformat()
        rounded = tuple(round(value, 3) for value in values)
        series = Series(
            metric=metric,
            subject=subject,
            platform=platform,
            values=rounded,
            date=date,
            note=self.note,
            not_run=not_run,
        )
        self.results = self.results.with_series(series)
        self.kept.add(series.key)
        measured.save(KEPT, self.results)
        said = " ".join(map(table.number, rounded)) or f"not run: {not_run}"
        say("bench", f"{platform} {SUBJECTS[subject]}, {metric}: {said}")

    def subjects_of(self, part: str) -> list[str]:
        """Those that a part is measured of in this run."""
        measured_ = {subject for one in METRICS if one.part == part for subject in one.subjects}
        return [subject for subject in self.subjects if subject in measured_]

    def cannot(self, part: str, subject: str, platform: str, why: str) -> None:
        """Save why a part has no values, or only some."""
        for metric in METRICS:
            done = (metric.key, subject, platform) in self.kept
            if metric.part == part and subject in metric.subjects and not done:
                self.keep(metric.key, subject, platform, [], why)

    def built(self, subject: str, platform: str) -> None:
        """Build both images of a subject from its present files, once in a run.

        Raises:
            images.BuildError: if one cannot be built; raised again without another try.
        """
        if (subject, platform) in self.builds:
            if why := self.builds[subject, platform]:
                raise images.BuildError(why)
            return
        with self.building(subject, platform):
            for recipe in images.recipes(subject, platform):
                # The usual way's cache may be gone, and its files rarely change.
                if subject != "seed" or not images.present(self.engine, recipe):
                    say("bench", f"building {recipe.tag} …")
                    images.build(recipe, cached=True, limit=self.limit)

    @contextmanager
    def building(self, subject: str, platform: str) -> Iterator[None]:
        """Remember the result: a failed build is not tried again in this run."""
        try:
            yield
        except images.BuildError as error:
            self.builds[subject, platform] = str(error)
            raise
        self.builds[subject, platform] = ""

    @contextmanager
    def site(self, names: Sequence[str] = running.USERS) -> Iterator[running.Site]:
        """What hubs need, with these users; the directory is not compared and never emulated."""
        images.build(images.directory(self.results.native), cached=True, limit=self.limit)
        with (
            tempfile.TemporaryDirectory() as folder,
            running.running_site(self.engine, Path(folder), self.results.native, names) as site,
        ):
            yield site

    def cold(self, subject: str, platform: str) -> None:
        """Build both images without the engine's cache and without earlier downloads."""
        takes_long = subject == "seed" and platform != self.results.native
        repeats = 1 if takes_long else self.repeats
        seconds: dict[str, list[float]] = {"cold-notebook": [], "cold-hub": []}
        recipes = images.recipes(subject, platform)
        with self.building(subject, platform):
            for _ in range(repeats):
                images.forget_downloads()
                for metric, recipe in zip(seconds, recipes, strict=True):
                    seconds[metric].append(images.build(recipe, cached=False, limit=self.limit))
        for metric, values in seconds.items():
            self.keep(metric, subject, platform, values)

    def size(self, subject: str, platform: str) -> None:
        """Read the sizes of both images."""
        self.built(subject, platform)
        for metric, recipe in zip(
            ("size-notebook", "size-hub"), images.recipes(subject, platform), strict=True
        ):
            self.keep(metric, subject, platform, [images.size(self.engine, recipe)])

    def edit(self, subject: str, platform: str) -> None:
        """Rebuild the hub image after edits of its config."""
        self.built(subject, platform)
        _, hub = images.recipes(subject, platform)
        seconds = [images.rebuild_after_edit(hub, limit=self.limit) for _ in range(self.repeats)]
        self.keep("edit", subject, platform, seconds)

    def start(self, subject: str, platform: str) -> None:
        """Start containers of both images."""
        self.built(subject, platform)
        seconds = [
            running.start_notebook(self.engine, subject, platform) for _ in range(self.repeats)
        ]
        self.keep("start-notebook", subject, platform, seconds)
        seconds = []
        with self.site() as site:
            for _ in range(self.repeats):
                with running.running_hub(site, subject, platform) as hub:
                    seconds.append(hub.seconds)
        self.keep("start-hub", subject, platform, seconds)
        if subject == "project":
            seconds = [
                running.start_jupyterhub(self.engine, subject, platform)
                for _ in range(self.repeats)
            ]
            self.keep("start-jupyterhub", subject, platform, seconds)

    def login(self, subject: str, platform: str) -> None:
        """Log in to a hub several times; each login starts a new server."""
        self.built(subject, platform)
        with self.site() as site, running.running_hub(site, subject, platform) as hub:
            uses = [running.log_in_once(hub, site) for _ in range(self.repeats)]
        self.keep("login-api", subject, platform, [use.api for use in uses])
        self.keep("login", subject, platform, [use.lab for use in uses])
        self.keep("memory-hub", subject, platform, [use.hub for use in uses])
        self.keep("memory-proxy", subject, platform, [use.proxy for use in uses])
        self.keep("memory-notebook", subject, platform, [use.notebook for use in uses])

    def logins(self, subject: str, platform: str) -> None:
        """Log in without starting servers; then to a hub whose directory never answers."""
        self.built(subject, platform)
        with self.site() as site:
            if subject == "project":
                each, rate = logins.binds(site, self.repeats)
                self.keep("bind", subject, platform, each)
                self.keep("binds", subject, platform, [rate])
            with running.running_hub(site, subject, platform) as hub:
                each, rate = logins.logins(hub, site, self.repeats)
            self.keep("password", subject, platform, each)
            self.keep("passwords", subject, platform, [rate])
            with (
                logins.mute_directory(site) as mute,
                running.running_hub(mute, subject, platform) as hub,
            ):
                slowest = logins.slowest_health(hub, mute)
            self.keep("health", subject, platform, [slowest])

    def stack(self, subject: str, platform: str) -> None:
        """Run `pulumi up` and `pulumi preview` on a stack without changes."""
        ups, previews = program.unchanged(self.engine, platform, self.repeats)
        self.keep("up", subject, platform, ups)
        self.keep("preview", subject, platform, previews)

    def groups(self, subject: str, platform: str) -> None:
        """Log in to a stack whose groups decide, beside one of defaults and a bare container."""
        found = groups.measure(self.engine, platform, self.repeats)
        self.keep("groups-bare", subject, platform, found.bare)
        self.keep("groups-none", subject, platform, found.defaults)
        self.keep("groups-all", subject, platform, found.deciding)

    def backup(self, subject: str, platform: str) -> None:
        """Back up a stack with large homes while somebody works, and restore it."""
        made = [backup.measure(self.engine, platform) for _ in range(self.repeats)]
        self.keep("backup", subject, platform, [one.backup for one in made])
        self.keep("backup-size", subject, platform, [one.size for one in made])
        self.keep("backup-slowest", subject, platform, [one.slowest for one in made])
        self.keep("restore", subject, platform, [one.restore for one in made])

    def measure(self, part: str, platform: str) -> bool:
        """Measure one part, subject by subject; returns whether everything worked."""
        steps: dict[str, Callable[[str, str], None]] = {
            "cold": self.cold,
            "size": self.size,
            "edit": self.edit,
            "start": self.start,
            "login": self.login,
            "logins": self.logins,
            "stack": self.stack,
            "groups": self.groups,
            "backup": self.backup,
            "scrape": partial(scrapes.measure, self),
            "rush": partial(crowds.come, self),
            "growth": partial(crowds.grow, self),
            "swarm": partial(swarm_crowd.measure, self),
            "overlays": partial(swarm_networks.measure, self),
        }
        well = True
        for subject in self.subjects_of(part):
            # Emulated servers would measure the emulator.
            if part in NATIVE and platform != self.results.native:
                continue
            say("bench", f"{part}: {SUBJECTS[subject]}, {platform} …")
            try:
                steps[part](subject, platform)
            except Exception as error:  # noqa: BLE001 - one failure must not lose hours of other results
                traceback.print_exc()
                lines = str(error).splitlines() or [type(error).__name__]
                self.cannot(part, subject, platform, lines[0])
                well = False
        return well


def choice(allowed: Sequence[str]) -> Callable[[str], list[str]]:
    """Reads names joined by commas."""

    def read(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        if wrong := [name for name in names if name not in allowed]:
            raise argparse.ArgumentTypeError(
                f"{', '.join(wrong)}: choose from {', '.join(allowed)}"
            )
        return sorted(names, key=allowed.index)

    return read


def count(text: str) -> int:
    """Reads a number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be a number of at least 1")
    return int(text)


def write(results: Results) -> None:
    """Write the table and, if matplotlib is installed, the plot."""
    text = table.table(results)
    PAGE.write_text(table.put_into(PAGE.read_text(), text))
    print(text)
    try:
        plot.draw(results, PLOT)
    except ImportError:
        say("bench", "no plot: PyPI has no matplotlib for this machine's processor")
    say("bench", f"written to {PAGE.relative_to(ROOT)}")


def main(arguments: Sequence[str]) -> int:
    """Entry point; returns the exit code."""
    engine = docker.from_env(timeout=running.PATIENCE)
    native = f"linux/{engine.version()['Arch']}"
    platforms = list(dict.fromkeys([native, f"linux/{base.TARGET_ARCHITECTURE}"]))
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--parts", type=choice(PARTS), default=list(PARTS))
    parser.add_argument("--platforms", type=choice(platforms), default=platforms)
    parser.add_argument("--subjects", type=choice(list(SUBJECTS)), default=list(SUBJECTS))
    parser.add_argument("--repeats", type=count, default=5)
    parser.add_argument("--limit", type=count, default=60, help="minutes that one build may take")
    parser.add_argument(
        "--minutes",
        type=count,
        default=20,
        help="for each part with many users: rush, growth, overlays",
    )
    parser.add_argument("--note", default="", help="conditions to show on the page")
    options = parser.parse_args(arguments)
    if not running.local(engine):
        return fail(Problem("the benchmarks need this machine's engine: unset DOCKER_HOST"))
    qemu = output(["qemu-s390x-static", "--version"]) or ""
    kept = measured.load(KEPT, machine.describe(engine, qemu), native)
    if not kept.series:
        say("bench", f"no earlier results: {KEPT.relative_to(ROOT)} has none of this machine")
    bench = Bench(
        engine,
        kept,
        options.subjects,
        options.repeats,
        options.limit * 60,
        options.minutes,
        options.note,
    )
    try:
        well = [
            bench.measure(part, platform)
            for part in options.parts
            for platform in options.platforms
        ]
    finally:
        running.clean(engine)
    write(bench.results)
    return 0 if all(well) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
