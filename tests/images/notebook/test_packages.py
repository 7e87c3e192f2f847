"""Debian packages that a site adds work as Debian made them. Each is used."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import docker
import pytest
import yaml

from components.settings import machine
from tests.built import build, site_args
from tests.images.notebook.serving import serving
from tests.images.notebook.test_notebook import home  # noqa: F401 - a fixture
from toolchain import base
from toolchain.places import ROOT

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("native")]

Z = "linux/s390x"

#: A few with what slimming once took away: headers, static libraries, tests that are imported.
FEW = ("gcc", "libc6-dev", "python3-networkx")

HDF5 = """
    python3 - <<'END'
    import h5py, netCDF4, numpy
    with h5py.File("/tmp/b.h5", "w") as file:
        file["little"] = numpy.arange(3, dtype="<f8")
        file["big"] = numpy.arange(3, dtype=">f8")
    with h5py.File("/tmp/b.h5") as file:
        print(float(file["little"][:].sum() + file["big"][:].sum()))
    with netCDF4.Dataset("/tmp/b.nc", "w") as file:
        file.createDimension("n", 3)
        file.createVariable("x", "f8", ("n",))[:] = numpy.arange(3)
    with netCDF4.Dataset("/tmp/b.nc") as file:
        print("and", float(file["x"][:].sum()))
    END
    """

LEARNING = """
    python3 - <<'END'
    import numpy, onnx, onnxruntime, skimage.filters, torch, xgboost
    x = numpy.arange(40.0).reshape(-1, 1)
    model = xgboost.XGBRegressor(n_estimators=20).fit(x, x[:, 0])
    image = numpy.zeros((8, 8))
    image[:, 4:] = 1
    weight = torch.nn.Parameter(torch.zeros(1))
    ((weight - 3) ** 2).backward()
    value = onnx.helper.make_tensor_value_info
    nodes = [onnx.helper.make_node("Add", ["x", "x"], ["y"])]
    graph = onnx.helper.make_graph(nodes, "g", [value("x", 1, [1])], [value("y", 1, [1])])
    opset = [onnx.helper.make_opsetid("", 17)]
    made = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9)
    session = onnxruntime.InferenceSession(made.SerializeToString())
    print("learned", abs(float(model.predict([[20.0]])[0]) - 20) < 3,
          0 < skimage.filters.threshold_otsu(image) < 1, float(weight.grad),
          session.run(None, {"x": numpy.ones(1, "f4")})[0].tolist())
    END
    """

#: Each ODBC driver says itself that it finds no server.
DATABASES = """
    python3 - <<'END'
    import oracledb, psycopg, pymssql, pymysql, pyodbc, sqlalchemy
    found = []
    for driver in ("PostgreSQL Unicode", "FreeTDS", "MariaDB Unicode"):
        try:
            pyodbc.connect(f"DRIVER={{{driver}}};SERVER=127.0.0.1;PORT=9;UID=x;PWD=x")
        except pyodbc.Error as error:
            words = ("Connection refused", "Adaptive Server is unavailable", "Can't connect")
            found.append(any(word in str(error) for word in words))
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection:
        print("asked", connection.scalar(sqlalchemy.text("select 6 * 7")), found)
    for url in ("postgresql+psycopg://x", "mssql+pyodbc://x", "mssql+pymssql://x",
                "mysql+pymysql://x", "oracle+oracledb://x"):
        sqlalchemy.create_engine(url)
    END
    """

TIDY = r"""
    Rscript -e 'suppressMessages(library(tidyverse))' \
        -e 'd <- tibble(g = c("a", "b", "a"), x = 1:3) |> group_by(g) |> summarise(x = sum(x))' \
        -e 'cat("sums", d$x, "\n")'
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
    mkdir -p /tmp/r/R /tmp/r/src && cd /tmp/r
    printf 'Package: own\nVersion: 1.0\nTitle: T\nDescription: D.\nLicense: GPL\n' >DESCRIPTION
    printf 'useDynLib(own)\nexport(one)\n' >NAMESPACE
    echo 'one <- function() .C("one", 0L)[[1]]' >R/one.R
    printf '#include <R.h>\nvoid one(int *x) { *x = 1; }\n' >src/one.c
    Rscript -e 'install.packages("/tmp/r", repos = NULL, type = "source")'
    Rscript -e 'library(own); cat("R says", one(), "\\n")'
    jupyter kernelspec list
    """

PDF = r"""
    cd /tmp
    cat >a.ipynb <<'END'
    {"cells": [{"cell_type": "markdown", "metadata": {}, "source": ["# Grüße: $x^2$"]}],
     "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    END
    jupyter nbconvert --to pdf a.ipynb
    head -c 5 a.pdf; echo
    """

#: How each of the sets in docs/packages.md is used, and what that prints.
USES = {
    "build-essential": (EXTENSION, "own is compiled"),
    "python3-h5py": (HDF5, "6.0\nand 3.0"),
    "python3-xgboost": (LEARNING, "learned True True -6.0 [2.0]"),
    "python3-sqlalchemy": (DATABASES, "asked 42 [True, True, True]"),
    "pandoc": (PDF, "%PDF-"),
    "r-base-dev": (R, "R says 1"),
    "r-cran-tidyverse": (TIDY, "sums 4 2"),
    "r-cran-irkernel": ("jupyter kernelspec list", "ir  "),
    "nodejs": ("node -e 'console.log(6 * 7)'", "42"),
    "man-db": ("man -P cat 7 ascii", "EOT"),
    "locales-all": ("LC_ALL=de_DE.UTF-8 locale -k d_fmt", "%d.%m.%Y"),
}


def native(engine: docker.DockerClient) -> str:
    """The platform of the engine's machine."""
    machine = engine.version()["Arch"]
    return f"linux/{machine}"


def built(
    engine: docker.DockerClient, name: str, *packages: str, platform: str | None = None
) -> str:
    """Build a notebook image with packages, natively by default; return its name."""
    tag = f"zhub-test-notebook-{name}:latest"
    platform = platform or native(engine)
    target = base.TARGET if platform == Z else base.BUILD
    args = {"BASE_IMAGE": target, "NOTEBOOK_PACKAGES": " ".join(packages), **site_args()}
    build("notebook", tag, args, platform)
    return tag


def use(
    engine: docker.DockerClient,
    image: str,
    script: str,
    *,
    platform: str | None = None,
    volumes: Sequence[str] = (),
) -> str:
    """Run a shell script in a container of an image, without a network; return what it printed."""
    printed: bytes = engine.containers.run(
        image,
        ["bash", "-euc", textwrap.dedent(script)],
        platform=platform or native(engine),
        volumes=list(volumes),
        network_mode="none",
        remove=True,
        stderr=True,
    )
    return printed.decode()


def test_headers_libraries_and_tests_of_a_package_are_there(engine: docker.DockerClient) -> None:
    image = built(engine, "few", *FEW)
    assert use(engine, image, PROGRAM) == "compiled\ncompiled\n"
    printed = use(engine, image, "python3 -c 'import networkx.tests as t; print(t.__name__)'")
    assert printed == "networkx.tests\n"


def column(heading: str, number: int) -> set[str]:
    """Return the names in a column of the table of docs/packages.md that has this heading."""
    page = (ROOT / "docs/packages.md").read_text()
    rows = page.partition(f"\n{heading}\n|---|---|\n")[2].partition("\n\n")[0].splitlines()
    return {name for row in rows for name in re.findall("`([^`]+)`", row.split("|")[number])}


def named() -> set[str]:
    """The packages that docs/packages.md names to be added."""
    return column("| for | `notebookPackages`, besides the default |", 2)


def missing() -> set[str]:
    """The packages that s390x does not have, as docs/packages.md says."""
    return column("| missing | for |", 1)


@pytest.fixture(scope="module")
def documented(engine: docker.DockerClient) -> str:
    settings = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    default: list[str] = settings["notebookPackages"]["default"]
    return built(engine, "documented", *sorted(named().union(default)))


def test_the_sets_of_the_page_are_used_here() -> None:
    together = {"libc6-dev", "python3-dev", "lmodern", "manpages", "python3-netcdf4"}
    together |= {"python3-skimage", "python3-torch", "python3-onnx", "python3-onnxruntime"}
    together |= {"python3-psycopg", "python3-pyodbc", "odbc-postgresql", "tdsodbc"}
    together |= {"odbc-mariadb", "python3-oracledb", "python3-pymssql", "python3-pymysql"}
    assert named() >= USES.keys()
    assert {name for name in named() - USES.keys() if not name.startswith("texlive-")} <= together


#: Asks apt for s390x, on any machine: whether the named packages go together, and which of the
#: missing ones can be installed.
ON_Z = """
    echo 'APT::Architecture "s390x"; APT::Architectures { "s390x"; };' >/tmp/apt.conf
    echo 'Dir::State::status "/dev/null"; APT::Sandbox::User "root";' >>/tmp/apt.conf
    export APT_CONFIG=/tmp/apt.conf
    apt-get -qq update
    apt-get -qq --simulate --no-install-recommends install $NAMED >/tmp/named
    grep -q '^Inst python3-torch ' /tmp/named
    for name in $MISSING; do
        if apt-get -qq --simulate install "$name" >/tmp/missing 2>&1; then echo "has $name"; fi
    done
    echo asked
    """


@pytest.mark.long
def test_debian_has_the_sets_of_the_page_for_s390x_and_not_what_it_calls_missing(
    engine: docker.DockerClient,
) -> None:
    """The sets are built natively, and Debian lacks some packages on s390x alone."""
    debian = [f"python3-{name.replace('_', '-')}" for name in sorted(missing())]
    names = {"NAMED": " ".join(sorted(named())), "MISSING": " ".join(debian)}
    command = ["bash", "-euc", textwrap.dedent(ON_Z)]
    printed = engine.containers.run(
        base.BUILD, command, environment=names, remove=True, stderr=True
    )
    assert debian
    assert printed.decode().endswith("asked\n")
    assert b"has " not in printed


#: Packages whose newest version of all is nothing but Python: what has none is another package,
#: or a version of this one that is in use.
OTHERWISE = {"polars": "polars-runtime-32>=1", "fastparquet": "fastparquet>=2024"}


@pytest.mark.long
@pytest.mark.parametrize("package", sorted(missing()))
def test_pypi_has_no_wheel_for_s390x_of_what_the_page_calls_missing(
    tmp_path: Path, package: str
) -> None:
    platforms = [f"--platform=manylinux_2_{glibc}_s390x" for glibc in range(17, 42)]
    options = ["--no-deps", "--only-binary=:all:", "--python-version=3.13", f"--dest={tmp_path}"]
    index = machine.pip_index_url()
    asked = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", *options, *platforms),
            *([f"--index-url={index}"] if index else []),
            *("--platform=manylinux2014_s390x", OTHERWISE.get(package, package)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "No matching distribution found" in asked.stderr, asked.stderr
    assert "from versions: none" in asked.stderr or package in OTHERWISE, asked.stderr


@pytest.mark.long
@pytest.mark.parametrize("package", USES)
def test_a_set_of_the_page_works(
    engine: docker.DockerClient, documented: str, package: str
) -> None:
    script, expected = USES[package]
    assert expected in use(engine, documented, script)


#: Those with Python packages are used on s390x in test_byte_order.py, TeX below.
NOT_HERE = {"python3-h5py", "python3-xgboost", "python3-sqlalchemy", "pandoc"}

#: How the names of the packages for export as PDF begin.
TEX = ("texlive-", "lmodern", "pandoc")


@pytest.fixture(scope="module")
def documented_for_z(engine: docker.DockerClient) -> str:
    others = ("python3-", "odbc-", "tdsodbc", *TEX)
    names = {name for name in named() if not name.startswith(others)}
    return built(engine, "documented-z", *sorted(names | {"python3-dev"}), platform=Z)


@pytest.mark.long
@pytest.mark.parametrize("package", [name for name in USES if name not in NOT_HERE])
def test_a_set_of_the_page_works_on_s390x(
    engine: docker.DockerClient, documented_for_z: str, package: str
) -> None:
    script, expected = USES[package]
    assert expected in use(engine, documented_for_z, script, platform=Z)


#: What JupyterLab offers to export a notebook as, only where there are TeX and pandoc.
EXPORTS = {"asciidoc", "latex", "pdf", "rst"}


@pytest.mark.long
@pytest.mark.timeout(2 * 3600)
def test_a_notebook_is_exported_as_pdf_on_s390x(engine: docker.DockerClient) -> None:
    """While it is installed, TeX loads what each of its programs begins with: long, emulated."""
    tex = sorted(name for name in named() if name.startswith(TEX))
    image = built(engine, "tex-z", *tex, platform=Z)
    script, expected = USES["pandoc"]
    assert expected in use(engine, image, script, platform=Z)
    with serving(engine, image, [], Z) as server:
        assert server.get("api/nbconvert").keys() >= EXPORTS
        server.shell(textwrap.dedent(script).partition("jupyter")[0].replace("cd /tmp", "cd ~"))
        status, body = server.request("GET", "nbconvert/pdf/a.ipynb?download=true")
        assert (status, body[:5]) == (200, expected), body


@pytest.mark.long
def test_a_notebook_of_r_computes_plots_and_installs(
    engine: docker.DockerClient, documented: str
) -> None:
    """In a kernel, R asks nobody whether it may make the folder of a user's packages."""
    with serving(engine, documented, [], native(engine)) as server:
        server.shell(textwrap.dedent(R).partition("Rscript")[0])
        install = 'install.packages("/tmp/r", repos = NULL, type = "source")'
        use_it = 'library(own); cat("R says", one())'
        printed = server.run(install, use_it, "plot(1:3)", kernel="ir")
        assert printed.endswith("R says 1['image/png', 'text/plain']\n"), printed
        server.shell("ls ~/R/*/*/own")


@pytest.mark.long
def test_a_kernel_of_r_in_the_home_is_offered_after_a_restart(
    engine: docker.DockerClient,
    documented: str,
    home: str,  # noqa: F811 - the fixture
) -> None:
    volumes = [f"{home}:/home/jovyan"]
    with serving(engine, documented, volumes, native(engine)) as server:
        own = 'IRkernel::installspec(name = "mine", displayname = "Mine")'
        server.shell(f"Rscript -e '{own}'")
    with serving(engine, documented, volumes, native(engine)) as server:
        kernels = server.get("api/kernelspecs")["kernelspecs"]
        assert kernels["mine"]["spec"]["display_name"] == "Mine"
        printed = server.run('cat(Sys.getenv("JUPYTERHUB_API_TOKEN"), 6 * 7)', kernel="mine")
        assert printed.strip() == "42"
