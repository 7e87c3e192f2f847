"""What is measured, of which images, and the results; kept as JSON between runs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

#: What is compared, and the heading of its column.
SUBJECTS = {
    "project": "this project",
    "bare": "this project, bare",
    "seed": "the usual way",
}

IMAGES = ("project", "bare", "seed")
RUNNING = ("project", "seed")
PROGRAM = ("project",)


@dataclass(frozen=True)
class Metric:
    """One thing that is measured.

    Attributes:
        key: its name in the JSON file.
        title: its row in the table.
        unit: unit of its values.
        part: the part of the benchmarks that measures it.
        subjects: what it is measured of.
    """

    key: str
    title: str
    unit: str
    part: str
    subjects: tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """What is measured with several numbers of users: a table with a column for each number.

    Attributes:
        part: the part of the benchmarks that measures it.
        heading: of the table.
        numbers: of users, by column.
        rows: key, title and unit.
        subjects: what it is measured of.
    """

    part: str
    heading: str
    numbers: tuple[int, ...]
    rows: tuple[tuple[str, str, str], ...]
    subjects: tuple[str, ...]

    def key(self, row: str, number: int) -> str:
        """Key of the metric in a cell."""
        return f"{self.part}-{row}-{number}"

    def metrics(self) -> tuple[Metric, ...]:
        """All cells."""
        return tuple(
            Metric(self.key(row, number), title, unit, self.part, self.subjects)
            for row, title, unit in self.rows
            for number in self.numbers
        )


#: Parts of a running hub, by the titles of their rows.
RUNS = {
    "hub": "hub",
    "proxy": "proxy",
    "guard": "guard",
    "directory": "directory",
    "engine": "engine (dockerd, containerd)",
    "shims": "the engine's shims",
    "filters": "containers that have ended: packet filters",
    "servers": "users' servers",
}

#: The same on an engine of its own, whose shims are counted with it.
OWN_RUNS = {run: title for run, title in RUNS.items() if run != "shims"} | {
    "engine": "engine (dockerd, containerd, shims, iptables)"
}

RUSH = Grid(
    "rush",
    "Users who log in within a second",
    (25, 50, 100, 200),
    (
        ("bare", "bare containers of the same image: ready", "s"),
        ("bare-seconds", "processor seconds of a bare container, with the engine's", "s"),
        ("login", "login form to answer", "s"),
        ("ready", "login form to the API of the user's server", "s"),
        ("health", "`/hub/health` meanwhile", "s"),
        ("failed", "users who got no server", ""),
        ("login-minute", "over a minute: login form to answer", "s"),
        ("ready-minute", "over a minute: login form to the API of the user's server", "s"),
        ("health-minute", "over a minute: `/hub/health`", "s"),
        ("failed-minute", "over a minute: users who got no server", ""),
        *(
            (f"seconds-{run}", f"processor seconds a user: {title}", "s")
            for run, title in RUNS.items()
        ),
        ("seconds-browsers", "processor seconds a user: the browsers of this benchmark", "s"),
        *((f"memory-{run}", f"memory afterwards: {title}", "MiB") for run, title in RUNS.items()),
        ("taken", "memory of the machine that is gone, a user", "MiB"),
    ),
    RUNNING,
)

GROWTH = Grid(
    "growth",
    "Servers that run (tiny ones; each in its network)",
    (50, 100, 200, 400, 800),
    (
        ("start", "one more start", "s"),
        ("calls", "calls of the engine for one more start", ""),
        ("seconds", "processor seconds of one more start", "s"),
        *((f"seconds-{run}", f"of these: {title}", "s") for run, title in OWN_RUNS.items()),
        ("stop-seconds", "processor seconds of one stop", "s"),
        ("users", "list of users and servers, as culler, recheck and admin page ask for it", "s"),
        ("admin-seconds", "processor seconds of the admin page, with 50 users", "s"),
        ("cull-seconds", "processor seconds of the culler's round, with its start", "s"),
        ("recheck-seconds", "processor seconds of the recheck's round, with its start", "s"),
        ("scrape-seconds", "processor seconds of a scrape of the metrics", "s"),
        ("restart", "restart of the hub until it answers", "s"),
        ("routed", "restart of the hub until the last server has its route", "s"),
        ("restart-seconds", "processor seconds of a restart", "s"),
        ("database", "database", "MB"),
        *(
            (f"memory-{run}", f"memory: {title}", "MiB")
            for run, title in OWN_RUNS.items()
            if run != "filters"
        ),
    ),
    PROGRAM,
)

SWARM = Grid(
    "swarm",
    "Machines of a swarm that get servers (60 users come at once)",
    (1, 2, 3),
    (
        ("ready", "login form to the API of the user's server", "s"),
        ("pace", "servers a second, until the last one is ready", ""),
        ("seconds", "processor seconds of the three engines a user", "s"),
        ("hub", "servers on the hub's machine", ""),
        ("first", "servers on the second machine", ""),
        ("second", "servers on the third machine", ""),
        ("failed", "users who got no server", ""),
        ("gone", "stopped, 8 at a time: until nothing is left on any machine", "s"),
    ),
    PROGRAM,
)

OVERLAYS = Grid(
    "overlays",
    "Users on a swarm of three machines (tiny servers; each in its overlay network)",
    (50, 100, 200, 400),
    (
        ("pace", "users a second on the way there, 4 at a time", ""),
        ("made", "one more user: network made", "s"),
        ("joined", "the hub put into it", "s"),
        ("runs", "service made until it runs", "s"),
        ("gone", "service removed until nothing of it is left", "s"),
        ("removed", "hub taken out, network removed", "s"),
        ("seconds", "processor seconds of the three engines for one who comes and goes", "s"),
        ("restart", "restart of the hub's container, in all networks", "s"),
        ("starts", "starts by engine and guard that it took", ""),
        ("memory-manager", "memory of the manager's engine", "MiB"),
        ("memory-worker", "memory of a worker's engine", "MiB"),
    ),
    PROGRAM,
)

GRIDS = (RUSH, GROWTH, SWARM, OVERLAYS)

#: In the order they are measured: cold builds leave the images that the others need.
METRICS = (
    Metric("cold-notebook", "cold build of the notebook image", "s", "cold", IMAGES),
    Metric("cold-hub", "cold build of the hub image on it", "s", "cold", IMAGES),
    Metric("size-notebook", "notebook image", "MB", "size", IMAGES),
    Metric("size-hub", "hub image, the notebook's layers included", "MB", "size", IMAGES),
    Metric("edit", "rebuild after an edit of the hub's config", "s", "edit", IMAGES),
    Metric("start-notebook", "`docker run` to JupyterLab's API", "s", "start", RUNNING),
    Metric("start-hub", "`docker run` to the hub's login page", "s", "start", RUNNING),
    Metric("start-jupyterhub", "the same for a bare `jupyterhub`", "s", "start", PROGRAM),
    Metric("login-api", "login to the API of the user's server", "s", "login", RUNNING),
    Metric("login", "login to the page of the user's JupyterLab", "s", "login", RUNNING),
    Metric("memory-hub", "memory of the hub", "MiB", "login", RUNNING),
    Metric("memory-proxy", "memory of the proxy", "MiB", "login", RUNNING),
    Metric("memory-notebook", "memory of one notebook", "MiB", "login", RUNNING),
    Metric("bind", "one bind at the directory, without a hub", "ms", "logins", PROGRAM),
    Metric("binds", "binds at the directory, 16 at a time", "/s", "logins", PROGRAM),
    Metric("password", "login form to answer", "ms", "logins", RUNNING),
    Metric("passwords", "logins, 16 at a time", "/s", "logins", RUNNING),
    Metric("health", "slowest `/hub/health`, 50 logins, silent directory", "ms", "logins", RUNNING),
    Metric("up", "`pulumi up` without changes", "s", "stack", PROGRAM),
    Metric("preview", "`pulumi preview` without changes", "s", "stack", PROGRAM),
    Metric(
        "groups-bare", "a stack's image: `docker run` to JupyterLab's API", "s", "groups", PROGRAM
    ),
    Metric("groups-none", "a stack: login to the API of the user's server", "s", "groups", PROGRAM),
    Metric(
        "groups-all", "the same with profiles, shared folders and limits", "s", "groups", PROGRAM
    ),
    Metric("backup", "`make backup`: 20 homes of 100 MB, one of 2 GB", "s", "backup", PROGRAM),
    Metric("backup-size", "what it writes", "MB", "backup", PROGRAM),
    Metric("backup-slowest", "slowest request to a server meanwhile", "s", "backup", PROGRAM),
    Metric("restore", "`make restore` of it into an empty stack", "s", "backup", PROGRAM),
    Metric("scrape", "a scrape of the metrics, 20 servers of users", "s", "scrape", PROGRAM),
    Metric("scrape-size", "what it has", "kB", "scrape", PROGRAM),
    Metric("scrape-seconds", "processor seconds of it", "s", "scrape", PROGRAM),
    Metric(
        "swarm-bare", "a swarm: `docker service create` to JupyterLab's API", "s", "swarm", PROGRAM
    ),
    Metric("swarm-start", "a swarm: server asked for, to its API", "s", "swarm", PROGRAM),
    *(metric for grid in GRIDS for metric in grid.metrics()),
)

#: What this project adds: a metric, and the metric without the rest of this project.
OVERHEADS = (
    ("login-api", "start-notebook"),
    ("groups-none", "groups-bare"),
    ("groups-all", "groups-bare"),
    ("swarm-start", "swarm-bare"),
    ("start-hub", "start-jupyterhub"),
)

PARTS = tuple(dict.fromkeys(metric.part for metric in METRICS))


@dataclass(frozen=True, kw_only=True)
class Series:
    """The values of one metric for one subject on one platform.

    Attributes:
        metric: key of the metric.
        subject: key of the subject.
        platform: of the images, such as linux/s390x.
        values: in the metric's unit, in the order they were measured.
        date: of the measurement, ISO 8601.
        note: conditions of the measurement, if they were special.
        not_run: why there are no values, if there are none.
    """

    metric: str
    subject: str
    platform: str
    values: tuple[float, ...]
    date: str
    note: str = ""
    not_run: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """A newer series with the same key replaces this one."""
        return self.metric, self.subject, self.platform

    @property
    def median(self) -> float:
        """The value in the middle; of an even number, the mean of the two."""
        return median(self.values)


@dataclass(frozen=True)
class Results:
    """All series measured on one machine.

    Attributes:
        machine: description of the machine, without its name.
        native: the platform of its own processor.
        series: by `Series.key`.
    """

    machine: str
    native: str
    series: dict[tuple[str, str, str], Series]

    def find(self, metric: str, subject: str, platform: str) -> Series | None:
        """The series, if it was ever measured or tried."""
        return self.series.get((metric, subject, platform))

    def platforms(self) -> list[str]:
        """The platforms that have series, the machine's own first."""
        found = sorted({series.platform for series in self.series.values()})
        return sorted(found, key=lambda platform: platform != self.native)

    def with_series(self, new: Series) -> Results:
        """These results with one series added or replaced."""
        return replace(self, series={**self.series, new.key: new})


def load(path: Path, machine: str, native: str) -> Results:
    """Results kept in a file; empty if the file is of another machine: times do not compare."""
    if path.exists():
        kept = json.loads(path.read_text())
        if (kept["machine"], kept["native"]) == (machine, native):
            series = [Series(**{**s, "values": tuple(s["values"])}) for s in kept["series"]]
            return Results(machine, native, {one.key: one for one in series})
    return Results(machine, native, {})


def save(path: Path, results: Results) -> None:
    """Keep results in a file."""
    order = [metric.key for metric in METRICS]
    series = sorted(
        results.series.values(),
        key=lambda one: (one.platform, order.index(one.metric), list(SUBJECTS).index(one.subject)),
    )
    kept = {
        "machine": results.machine,
        "native": results.native,
        "series": [asdict(one) for one in series],
    }
    path.write_text(json.dumps(kept, indent=1) + "\n")
