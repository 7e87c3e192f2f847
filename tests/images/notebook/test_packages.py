"""Debian packages that a site adds work as Debian made them. Each is used, natively."""

from __future__ import annotations

import re
import textwrap

import docker
import pytest

from tests.built import build, site_args
from toolchain import base
from toolchain.places import ROOT

pytestmark = pytest.mark.engine

#: A few with what slimming once took away: headers, static libraries, tests that are imported.
FEW = ("gcc", "libc6-dev", "python3-tables")

TABLE = """
    import numpy, tables
    with tables.open_file("/tmp/a.h5", "w") as file:
        file.create_array("/", "a", numpy.arange(3))
    with tables.open_file("/tmp/a.h5") as file:
        print(file.root.a[:].sum() == 3)
    """

PROGRAM = r"""
    printf '#include <stdio.h>\nint main(void) { return puts("compiled") < 0; }\n' >/tmp/a.c
    gcc /tmp/a.c -o /tmp/a && /tmp/a
    gcc -static /tmp/a.c -o /tmp/static && /tmp/static
    """

EXTENSION = r"""
    mkdir /tmp/own && cd /tmp/own
    cat >own.c <<'END'
    #include <Python.h>
    #include <string>
    static PyModuleDef about = {PyModuleDef_HEAD_INIT, "own", 0, -1, 0};
    PyMODINIT_FUNC PyInit_own(void) { std::string text("x"); return PyModule_Create(&about); }
    END
    g++ -x c++ -shared -fPIC $(python3-config --includes) own.c -o own.so
    python3 -c 'import own; print(own.__name__, "is compiled")'
    """

R = r"""
    mkdir -p /tmp/r/R /tmp/r/src ~/R && cd /tmp/r
    printf 'Package: own\nVersion: 1.0\nTitle: T\nDescription: D.\nLicense: GPL\n' >DESCRIPTION
    printf 'useDynLib(own)\nexport(one)\n' >NAMESPACE
    echo 'one <- function() .C("one", 0L)[[1]]' >R/one.R
    printf '#include <R.h>\nvoid one(int *x) { *x = 1; }\n' >src/one.c
    Rscript -e 'install.packages("/tmp/r", lib = "~/R", repos = NULL, type = "source")'
    Rscript -e 'library(own, lib.loc = "~/R"); cat("R says", one(), "\\n")'
    jupyter kernelspec list
    """

PDF = r"""
    cd /tmp
    cat >a.ipynb <<'END'
    {"cells": [{"cell_type": "markdown", "metadata": {}, "source": ["# Grüße: $x^2$"]}],
     "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    END
    jupyter nbconvert --to pdf a.ipynb && head -c 5 a.pdf
    """

#: How each of the sets in docs/packages.md is used, and what that prints.
USES = {
    "build-essential": (EXTENSION, "own is compiled"),
    "python3-tables": (f"python3 - <<'END'\n{textwrap.dedent(TABLE)}END", "True"),
    "pandoc": (PDF, "%PDF-"),
    "r-base-dev": (R, "R says 1"),
    "r-cran-irkernel": ("jupyter kernelspec list", "ir  "),
    "nodejs": ("node -e 'console.log(6 * 7)'", "42"),
    "man-db": ("man -P cat 7 ascii", "EOT"),
    "locales-all": ("LC_ALL=de_DE.UTF-8 locale -k d_fmt", "%d.%m.%Y"),
}


def native(engine: docker.DockerClient) -> str:
    """The platform of the engine's machine."""
    machine = engine.version()["Arch"]
    return f"linux/{machine}"


def built(engine: docker.DockerClient, name: str, *packages: str) -> str:
    """Build a notebook image with packages; return its name."""
    tag = f"zhub-test-notebook-{name}:latest"
    platform = native(engine)
    target = base.TARGET if platform == "linux/s390x" else base.BUILD
    args = {"BASE_IMAGE": target, "NOTEBOOK_PACKAGES": " ".join(packages), **site_args()}
    build("notebook", tag, args, platform)
    return tag


def use(engine: docker.DockerClient, image: str, script: str) -> str:
    """Run a shell script in a container of an image, without a network; return what it printed."""
    printed: bytes = engine.containers.run(
        image,
        ["bash", "-euc", textwrap.dedent(script)],
        platform=native(engine),
        network_mode="none",
        remove=True,
        stderr=True,
    )
    return printed.decode()


def test_headers_libraries_and_tests_of_a_package_are_there(engine: docker.DockerClient) -> None:
    image = built(engine, "few", *FEW)
    assert use(engine, image, PROGRAM) == "compiled\ncompiled\n"
    assert use(engine, image, USES["python3-tables"][0]) == "True\n"


def named() -> set[str]:
    """The packages in the table of docs/packages.md."""
    page = (ROOT / "docs/packages.md").read_text()
    rows = page.partition("## Add Debian packages")[2].partition("\n## ")[0]
    cells = [row.split("|")[2] for row in rows.splitlines() if row.startswith("|")][2:]
    return {name for cell in cells for name in re.findall("`([^`]+)`", cell)}


@pytest.fixture(scope="module")
def documented(engine: docker.DockerClient) -> str:
    return built(engine, "documented", *sorted(named()))


def test_the_sets_of_the_page_are_used_here() -> None:
    together = {"libc6-dev", "python3-dev", "lmodern", "manpages"}
    assert named() >= USES.keys()
    assert {name for name in named() - USES.keys() if not name.startswith("texlive-")} <= together


@pytest.mark.long
@pytest.mark.parametrize("package", USES)
def test_a_set_of_the_page_works(
    engine: docker.DockerClient, documented: str, package: str
) -> None:
    script, expected = USES[package]
    assert expected in use(engine, documented, script)
