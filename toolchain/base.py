"""The Debian images that everything is built from: one for s390x, one for the building machine.

From the archives that the project names, if it names any (toolchain/snapshot.py). Else from an
image registry where one answers, else from a Debian mirror. A mirror can be out of step for s390x
for a day (its InRelease newer than its Packages), so several ways are tried in a stated order;
signatures, hashes and validity are checked in each.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from toolchain import snapshot
from toolchain.console import Problem, apt_install, is_root, output, run, say, timed
from toolchain.engine import client
from toolchain.pins import BASE_CODENAME, BASE_TAG
from toolchain.places import CACHE, LOGS

STEP = "base"

#: Names on the engine, as Pulumi.dev.yaml has them.
TARGET = "zhub-base:trixie-s390x"
BUILD = "zhub-base:trixie-build"

TARGET_ARCHITECTURE = "s390x"

#: The label with the archives, as of one moment, that an image is made from.
LABEL = "zhub.debian"

#: Left out of every package, now and in the images built on it. Licences stay.
EXCLUDED = ("doc/*", "man/*", "info/*", "locale/*", "lintian/*", "bug/*")
INCLUDED = ("doc/*/copyright",)

#: Said to apt in so many words: the machine's own settings may have loosened one of them.
CHECKS = (
    'Acquire::Check-Valid-Until "true"',
    'Acquire::AllowInsecureRepositories "false"',
    'Acquire::AllowWeakRepositories "false"',
    'APT::Get::AllowUnauthenticated "false"',
)
OTHER_APT_OPTIONS = ('Acquire::Languages "none"', 'Acquire::Retries "3"')

#: Of Debian. The second one tells the first whether it can run what it installs, for which it only
#: recommends it.
PROGRAMS = ("mmdebstrap", "arch-test")

#: The Dockerfile of a base image.
FROM_TAR = 'FROM scratch\nADD rootfs.tar /\nCMD ["bash"]\n'

APT = Path("/etc/apt")

#: Lines of output, from the first thing that apt finds wrong with a mirror to the end.
APT_TAIL = 60


@dataclass(frozen=True)
class Source:
    """One way to ask for Debian.

    Attributes:
        title: what it is called in messages.
        lines: as in sources.list; empty leaves it to mmdebstrap, which knows Debian's own.
        warning: what is wrong with images made from it.
        archives: those of one moment that the project names, as LABEL has them.
    """

    title: str
    lines: tuple[str, ...]
    warning: str = ""
    archives: str = ""


@dataclass(frozen=True)
class Mirrors:
    """The mirrors this machine is set to use; None where it names none."""

    main: str | None
    security: str | None


def _entries(file: Path) -> Iterator[tuple[str, str, str]]:
    """Address, suites and components of each entry of a file of either of apt's formats."""
    lines = file.read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    if file.suffix != ".sources":
        pattern = r"^\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)[ \t]*(.*)$"
        for entry in re.finditer(pattern, text, re.MULTILINE):
            yield entry[1], entry[2], entry[3]
        return
    for stanza in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.+)$", stanza, re.MULTILINE))
        if {"URIs", "Suites", "Components"} <= fields.keys():
            for address in fields["URIs"].split():
                yield address, fields["Suites"], fields["Components"]


def mirrors(apt: Path = APT) -> Mirrors:
    """The Debian and the security mirror that this machine's apt uses.

    Args:
        apt: the folder of apt's settings.
    """
    files = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.*"))]
    main = security = None
    for file in files:
        if file.suffix not in (".list", ".sources") or not file.is_file():
            continue
        for address, suites, components in _entries(file):
            if "main" not in components.split():
                continue  # another project's repository
            if re.search(r"-security\b", suites):
                security = security or address.rstrip("/")
            elif address.rstrip("/").endswith("debian"):
                main = main or address.rstrip("/")
    return Mirrors(main, security)


def _with_security(deb: str, main: str, security: str) -> tuple[str, ...]:
    """The lines of the whole release, which begin with `deb`, and options where there are any."""
    release = BASE_CODENAME
    return (
        f"{deb} {main} {release} main",
        f"{deb} {main} {release}-updates main",
        f"{deb} {security} {release}-security main",
    )


def dated(main: str, security: str) -> Source:
    """The one way to get the release as of a moment: another one would give other versions.

    What is under such an address never changes, and so its Valid-Until passes. Signatures and
    hashes are checked as ever.
    """
    return Source(
        f"{BASE_CODENAME} as of {snapshot.moment(main)}",
        _with_security("deb [check-valid-until=no]", main, security),
        archives=f"{main} {security}",
    )


def sources(known: Mirrors) -> Iterator[Source]:
    """The ways to get the release of the day, best first."""
    release = BASE_CODENAME
    if known.main is None:
        yield Source(f"Debian's own servers, {release} with its security updates", ())
        return
    main = f"deb {known.main} {release} main"
    later = "`make base` on another day asks again"
    if known.security:
        yield Source(
            f"{release} with its security updates",
            _with_security("deb", known.main, known.security),
        )
    yield Source(
        f"{release} alone",
        (main,),
        f"the images are without security updates, which the mirror does not give now; {later}",
    )
    yield Source(
        "the alias stable",
        (f"deb {known.main} stable main",),
        f"the mirror's {release} does not verify now, its alias `stable` does: the images may be a "
        f"point release behind and are without security updates; {later}",
    )


def _mmdebstrap(architecture: str, source: Source, tar: Path) -> None:
    """Make a root file system from one source.

    Raises:
        Problem: the mirror does not hold together, or holds another release.
    """
    options = [f"--dpkgopt=path-exclude=/usr/share/{path}" for path in EXCLUDED]
    options += [f"--dpkgopt=path-include=/usr/share/{path}" for path in INCLUDED]
    options += [f"--aptopt={option}" for option in (*CHECKS, *OTHER_APT_OPTIONS)]
    codename = f'grep -qx VERSION_CODENAME={BASE_CODENAME} "$1/etc/os-release"'
    run(
        STEP,
        [
            *("mmdebstrap", "--variant=minbase", f"--architectures={architecture}"),
            *(["--mode=root"] if is_root() else []),
            *options,
            f"--customize-hook={codename}",
            *(BASE_CODENAME, str(tar), *source.lines),
        ],
        tail=APT_TAIL,
    )


def _reason(problem: Problem) -> str:
    """The first error in a failed command's output: what follows it is its consequence.

    Of a wrong signature apt warns, and then finds that there is none.
    """
    lines = [line.strip() for line in str(problem).splitlines()]
    errors = [line for line in lines if line.startswith(("E: ", "W: GPG error: "))]
    return [*errors, lines[0]][0]


def _archives() -> str:
    """The archives that the project names, as LABEL has them."""
    return " ".join(snapshot.archives())


def _tar(architecture: str) -> Path:
    """Where the cache has a root file system."""
    return CACHE / "base" / f"{BASE_CODENAME}-{architecture}.tar"


def _kept(architecture: str, archives: str) -> bool:
    """Whether the cache has a root file system that was made from these archives."""
    record = _tar(architecture).with_suffix(".json")
    if not (record.exists() and _tar(architecture).exists()):
        return False
    made_from: str = json.loads(record.read_text()).get("archives", "")
    return made_from == archives


def bootstrap(architectures: list[str]) -> None:
    """Make root file systems in the cache, all from the same source, so that their packages agree.

    Raises:
        Problem: no way of asking the mirror gives a release that verifies. The cache is as it was.
    """
    if not all(map(shutil.which, PROGRAMS)):
        apt_install(STEP, *PROGRAMS)
    folder = CACHE / "base"
    folder.mkdir(parents=True, exist_ok=True)
    failures = []
    named = snapshot.archives()
    ways: Iterable[Source] = [dated(*named)] if named else sources(mirrors())
    for source in ways:
        with tempfile.TemporaryDirectory(dir=folder) as making:
            try:
                for architecture in architectures:
                    with timed(STEP, f"making a {architecture} base from {source.title}"):
                        _mmdebstrap(architecture, source, Path(making, f"{architecture}.tar"))
            except Problem as problem:
                say(STEP, f"{source.title}: cannot be had now ({_reason(problem)})")
                failures.append(f"  {source.title}: {_reason(problem)}")
                continue
            for architecture in architectures:
                Path(making, f"{architecture}.tar").replace(_tar(architecture))
                record = json.dumps(asdict(source), indent=1)
                _tar(architecture).with_suffix(".json").write_text(record)
        if source.warning:
            say(STEP, f"warning: {source.warning}")
        return
    if named:
        failures.append(f"  {snapshot.FILE} says which archives, and of what moment")
    raise Problem(
        "\n".join(["no base image from the Debian mirror, tried in this order:", *failures])
        + f"\n  log: {LOGS / STEP}.log"
    )


def _build(docker: str, architecture: str, tag: str, recipe: str, tar: Path | None = None) -> None:
    """Make an image for one platform. `docker import` would label it as the engine's own."""
    if archives := _archives():
        recipe += f'LABEL {LABEL}="{archives}"\n'
    with tempfile.TemporaryDirectory(dir=tar.parent if tar else None) as folder:
        if tar:
            Path(folder, "rootfs.tar").hardlink_to(tar)
        Path(folder, "Dockerfile").write_text(recipe)
        run(
            STEP,
            [docker, "build", "--platform", f"linux/{architecture}", "--tag", tag, folder],
            environment={"DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"},
        )


def _from_registry(docker: str, images: dict[str, str]) -> bool:
    """Take all images from the image registry; returns whether it had them."""
    if snapshot.archives():  # the registry's are of another moment
        return False
    try:
        with timed(STEP, f"asking the image registry for {BASE_TAG}"):
            for tag, architecture in images.items():
                _build(docker, architecture, tag, f"FROM {BASE_TAG}\n")
    except Problem:
        say(STEP, "the image registry is out of reach; asking the Debian mirror instead")
        return False
    return True


def missing(docker: str, own_architecture: str) -> dict[str, str]:
    """The images that are not on the engine as they should be, by tag.

    That is, for their processor, and from the archives that the project names.

    Raises:
        Problem: the project names archives in a way that is wrong.
    """
    images = {TARGET: TARGET_ARCHITECTURE, BUILD: own_architecture}
    archives = _archives()
    shown = f'{{{{.Architecture}}}} from {{{{index .Config.Labels "{LABEL}"}}}}.'

    def found(*tags: str) -> list[str]:
        show = [docker, "image", "inspect", "--format", shown, *tags]
        return (output(show) or "").splitlines()

    wanted = {tag: f"{architecture} from {archives}." for tag, architecture in images.items()}
    if found(*images) == list(wanted.values()):  # one question where nothing is to do
        return {}
    return {tag: images[tag] for tag in images if found(tag) != [wanted[tag]]}


def ensure(own_architecture: str) -> None:
    """Have both base images on the engine, whose architecture is `own_architecture`.

    Raises:
        Problem: neither a registry nor a Debian mirror gives them, or the engine cannot run them.
    """
    docker = client()
    wanted = missing(docker, own_architecture)
    architectures = list(dict.fromkeys(wanted.values()))
    archives = _archives()
    absent = [architecture for architecture in architectures if not _kept(architecture, archives)]
    if absent and _from_registry(docker, wanted):
        _try_all(docker, wanted)
        return
    if absent:
        # All of them, also what is there: another source may be another point release.
        bootstrap(list(dict.fromkeys([TARGET_ARCHITECTURE, own_architecture])))
    for tag, architecture in wanted.items():
        _build(docker, architecture, tag, FROM_TAR, _tar(architecture))
    _try_all(docker, wanted)


def _try_all(docker: str, images: dict[str, str]) -> None:
    """See the images run.

    Raises:
        Problem: one does not.
    """
    for tag, architecture in images.items():
        run(
            STEP,
            [docker, "run", "--rm", "--platform", f"linux/{architecture}", tag, "uname", "-m"],
            mend=f"The engine cannot run {architecture} containers; see `make doctor`.",
        )
        say(STEP, f"{tag} is on the engine and runs")


def refresh(own_architecture: str) -> None:
    """Get both base images anew. What is there stays where nothing newer can be had.

    Raises:
        Problem: nothing newer can be had.
    """
    docker = client()
    images = {TARGET: TARGET_ARCHITECTURE, BUILD: own_architecture}
    if _from_registry(docker, images):
        _try_all(docker, images)
        return
    bootstrap(list(dict.fromkeys(images.values())))
    for tag in images:
        output([docker, "image", "rm", tag])
    ensure(own_architecture)
