"""The Debian images that everything is built from: one for s390x, one for the building machine.

They come from the archives that the project names (toolchain/snapshot.py), else from an image
registry, else from a Debian mirror. A mirror can be out of step for s390x for a day, its InRelease
newer than its Packages, so several sources are tried in a fixed order. Signatures, hashes and
validity are checked in each.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from toolchain import snapshot
from toolchain.console import Problem, apt_install, is_root, output, run, say, timed
from toolchain.engine import client
from toolchain.pins import BASE_CODENAME, BASE_TAG
from toolchain.places import CACHE, LOGS
from toolchain.sources import Source, dated, mirrors, sources

STEP = "base"

#: Tags on the engine, as in Pulumi.dev.yaml.
TARGET = "zhub-base:trixie-s390x"
BUILD = "zhub-base:trixie-build"

TARGET_ARCHITECTURE = "s390x"

#: The image label with the addresses of the dated archives that the image was made from.
LABEL = "zhub.debian"

#: Paths that dpkg leaves out, here and in the images built on these. Licences stay.
EXCLUDED = ("doc/*", "man/*", "info/*", "locale/*", "lintian/*", "bug/*")
INCLUDED = ("doc/*/copyright",)

#: Set explicitly: the machine's own apt settings may have loosened one of them.
CHECKS = (
    'Acquire::Check-Valid-Until "true"',
    'Acquire::AllowInsecureRepositories "false"',
    'Acquire::AllowWeakRepositories "false"',
    'APT::Get::AllowUnauthenticated "false"',
)
OTHER_APT_OPTIONS = ('Acquire::Languages "none"', 'Acquire::Retries "3"')

#: Debian packages. mmdebstrap uses arch-test to see whether it can run what it installs, but only
#: recommends it.
PROGRAMS = ("mmdebstrap", "arch-test")

#: The Dockerfile of a base image.
FROM_TAR = 'FROM scratch\nADD rootfs.tar /\nCMD ["bash"]\n'

#: Lines of output to show: enough to hold the first error that apt has with a mirror.
APT_TAIL = 60


def _mmdebstrap(architecture: str, source: Source, tar: Path) -> None:
    """Make a root file system from one source.

    Raises:
        Problem: the mirror is inconsistent, or has another release.
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
    """The first error in a failed command's output; later ones follow from it.

    For a wrong signature, apt prints a warning first and then the error that there is none.
    """
    lines = [line.strip() for line in str(problem).splitlines()]
    errors = [line for line in lines if line.startswith(("E: ", "W: GPG error: "))]
    return [*errors, lines[0]][0]


def _archives() -> str:
    """The archives that the project names, as in LABEL."""
    return " ".join(snapshot.archives())


def _tar(architecture: str) -> Path:
    """The cached root file system for an architecture."""
    return CACHE / "base" / f"{BASE_CODENAME}-{architecture}.tar"


def _kept(architecture: str, archives: str) -> bool:
    """Whether the cache has a root file system made from these archives."""
    record = _tar(architecture).with_suffix(".json")
    if not (record.exists() and _tar(architecture).exists()):
        return False
    made_from: str = json.loads(record.read_text()).get("archives", "")
    return made_from == archives


def bootstrap(architectures: list[str]) -> None:
    """Make root file systems in the cache, all from the same source, so that their versions agree.

    Raises:
        Problem: no source has a release that verifies. The cache is unchanged.
    """
    if not all(map(shutil.which, PROGRAMS)):
        apt_install(STEP, *PROGRAMS)
    folder = CACHE / "base"
    folder.mkdir(parents=True, exist_ok=True)
    failures = []
    named = snapshot.archives()
    candidates: Iterable[Source] = [dated(*named)] if named else sources(mirrors())
    for source in candidates:
        with tempfile.TemporaryDirectory(dir=folder) as making:
            try:
                for architecture in architectures:
                    with timed(STEP, f"making a {architecture} base from {source.title}"):
                        _mmdebstrap(architecture, source, Path(making, f"{architecture}.tar"))
            except Problem as problem:
                say(STEP, f"{source.title}: failed ({_reason(problem)})")
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
        failures.append(f"  {snapshot.FILE} names these archives: change or remove both lines")
    raise Problem(
        "\n".join(["no base image can be made from Debian. Tried, in this order:", *failures])
        + f"\n  log: {LOGS / STEP}.log"
    )


def _build(docker: str, architecture: str, tag: str, recipe: str, tar: Path | None = None) -> None:
    """Build an image for one platform; `docker import` would give it the engine's own."""
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
    """Build the images from the image registry's; returns whether that worked."""
    if snapshot.archives():  # the registry's have other versions
        return False
    try:
        with timed(STEP, f"asking the image registry for {BASE_TAG}"):
            for tag, architecture in images.items():
                _build(docker, architecture, tag, f"FROM {BASE_TAG}\n")
    except Problem:
        say(STEP, "the image registry does not answer; asking the Debian mirror instead")
        return False
    return True


def missing(docker: str, own_architecture: str) -> dict[str, str]:
    """The architectures of the base images that have to be made, by tag.

    Such an image is not on the engine, is for another processor, or is from other archives than the
    project names.

    Raises:
        Problem: images/build/debian-archives.txt is wrong.
    """
    images = {TARGET: TARGET_ARCHITECTURE, BUILD: own_architecture}
    archives = _archives()
    shown = f'{{{{.Architecture}}}} from {{{{index .Config.Labels "{LABEL}"}}}}.'

    def found(*tags: str) -> list[str]:
        show = [docker, "image", "inspect", "--format", shown, *tags]
        return (output(show) or "").splitlines()

    wanted = {tag: f"{architecture} from {archives}." for tag, architecture in images.items()}
    if found(*images) == list(wanted.values()):  # one call when there is nothing to do
        return {}
    return {tag: images[tag] for tag in images if found(tag) != [wanted[tag]]}


def ensure(own_architecture: str) -> None:
    """Get both base images onto the engine.

    Args:
        own_architecture: of the engine, in Docker's words.

    Raises:
        Problem: neither a registry nor a Debian mirror has them, or the engine cannot run them.
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
        # Both, even if one is cached: another source may have another point release.
        bootstrap(list(dict.fromkeys([TARGET_ARCHITECTURE, own_architecture])))
    for tag, architecture in wanted.items():
        _build(docker, architecture, tag, FROM_TAR, _tar(architecture))
    _try_all(docker, wanted)


def _try_all(docker: str, images: dict[str, str]) -> None:
    """Run a container from each image.

    Raises:
        Problem: one does not run.
    """
    for tag, architecture in images.items():
        run(
            STEP,
            [docker, "run", "--rm", "--platform", f"linux/{architecture}", tag, "uname", "-m"],
            fix=f"The engine cannot run {architecture} containers. What is missing: make doctor",
        )
        say(STEP, f"{tag} is on the engine and runs")


def refresh(own_architecture: str) -> None:
    """Get both base images anew.

    Raises:
        Problem: no source has them; the images on the engine are unchanged.
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
