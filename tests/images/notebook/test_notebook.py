"""What users do in a notebook, on the target: kernels run as the server runs them."""

from __future__ import annotations

import textwrap
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import docker
import docker.errors
import pytest

from tests.built import Images, build, site_args
from toolchain import base

pytestmark = pytest.mark.engine

PYTHON = "/opt/jupyter/bin/python3"

#: Runs the code of its argument in a kernel.
IN_A_KERNEL = """
import sys
from jupyter_client.manager import start_new_kernel
def show(message):
    content = message["content"]
    print(content.get("text") or sorted(content.get("data", {})) or content.get("evalue", ""))
manager, client = start_new_kernel(startup_timeout=240)
try:
    reply = client.execute_interactive(sys.argv[1], output_hook=show, timeout=240)
finally:
    manager.shutdown_kernel(now=True)
sys.exit(reply["content"]["status"] != "ok")
"""


@pytest.fixture
def home(engine: docker.DockerClient) -> Iterator[str]:
    """Name of a volume for a user's home."""
    volume = engine.volumes.create(f"zhub-test-{uuid.uuid4().hex[:8]}")
    yield str(volume.name)
    volume.remove(force=True)


def run(engine: docker.DockerClient, image: str, *command: str, volumes: list[str]) -> str:
    """Run a command in a new container of the image; return what it printed.

    Raises:
        docker.errors.ContainerError: when it fails.
    """
    printed: bytes = engine.containers.run(
        image,
        list(command),
        platform="linux/s390x",
        volumes=volumes,
        network_mode="none",
        remove=True,
        stderr=True,
    )
    return printed.decode()


def kernel(engine: docker.DockerClient, image: str, code: str, *, volumes: list[str]) -> str:
    """Run code in a kernel in a new container; return what it printed."""
    command = (PYTHON, "-I", "-c", IN_A_KERNEL, textwrap.dedent(code))
    return run(engine, image, *command, volumes=volumes)


def test_the_scientific_stack_computes_and_plots(
    engine: docker.DockerClient, images: Images, home: str
) -> None:
    printed = kernel(
        engine,
        images.notebook,
        """
        import platform, matplotlib.pyplot as plt, numpy, pandas, scipy.linalg, sklearn.linear_model
        x = numpy.arange(6.0)
        frame = pandas.DataFrame({"x": x, "y": 3 * x + 1})
        model = sklearn.linear_model.LinearRegression().fit(frame[["x"]], frame["y"])
        print(platform.machine(), round(model.coef_[0], 6), scipy.linalg.det(numpy.eye(3) * 2))
        frame.plot(x="x", y="y", title="Grüße")
        plt.savefig("plot.png")
        print(open("plot.png", "rb").read(8))
        """,
        volumes=[f"{home}:/home/jovyan"],
    )
    assert "s390x 3.0 8.0" in printed
    assert r"b'\x89PNG\r\n\x1a\n'" in printed
    # Also shown in the notebook, without %matplotlib.
    assert "['image/png', 'text/plain']" in printed


def test_lab_asks_for_no_language_servers(engine: docker.DockerClient, images: Images) -> None:
    """There are none, and the server could not answer: jupyter_lsp is off."""
    listed = run(engine, images.notebook, "jupyter", "labextension", "list", volumes=[])
    assert listed.partition("Disabled extensions:")[2].split() == [
        "@jupyterlab/fileeditor-extension:language-server",
        *("@jupyterlab/lsp-extension", "(all", "plugins)"),
        "@jupyterlab/notebook-extension:language-server",
    ]


def wheel(folder: Path, name: str, code: str, more: Mapping[str, str] | None = None) -> None:
    """Write a pure Python wheel of one module, and more files by their paths in it."""
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        info = f"{name}-1.0.dist-info"
        files = {
            f"{name}.py": code,
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            **(more or {}),
        }
        for path, content in files.items():
            archive.writestr(path, content)
        archive.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in [*files, info]))


def test_what_a_user_installs_stays_and_stays_out_of_the_server(
    engine: docker.DockerClient, images: Images, home: str, tmp_path: Path
) -> None:
    wheel(tmp_path, "greeting", "text = 'installed by a user'\n")
    # A module that the server imports: it must not get the user's version.
    wheel(tmp_path, "certipy", "raise SystemExit('the server runs what a user installed')\n")
    tmp_path.chmod(0o755)
    volumes = [f"{home}:/home/jovyan", f"{tmp_path}:/wheels:ro"]
    kernel(
        engine,
        images.notebook,
        """
        %pip install --quiet --no-index --find-links /wheels greeting
        %pip install --quiet --no-index --force-reinstall --find-links /wheels certipy==1.0
        """,
        volumes=volumes,
    )
    code = "import greeting; print(greeting.text, greeting.__file__)"
    restarted = kernel(engine, images.notebook, code, volumes=volumes)
    place = "/home/jovyan/.local/lib/python3.13/site-packages/greeting.py"
    assert f"installed by a user {place}" in restarted
    own = "import certipy, jupyterhub.singleuser; print(certipy.__file__)"
    assert "/opt/jupyter/" in run(engine, images.notebook, PYTHON, "-I", "-c", own, volumes=volumes)
    with pytest.raises(docker.errors.ContainerError):
        run(engine, images.notebook, PYTHON, "-I", "-c", "import greeting", volumes=volumes)


@pytest.mark.parametrize("setting", ["baseImage", "buildImage"])
def test_another_release_of_debian_is_refused(
    engine: docker.DockerClient, images: Images, tmp_path: Path, setting: str
) -> None:
    old = f"zhub-test-bookworm-{setting.lower()}:latest"
    (tmp_path / "status").write_text("Package: base-files\nVersion: 12.4+deb12u12\n\n")
    (tmp_path / "os-release").write_text(
        'ID=debian\nVERSION_CODENAME=bookworm\nPRETTY_NAME="Debian GNU/Linux 12"\n'
    )
    (tmp_path / "Dockerfile").write_text(
        f"FROM {base.TARGET if setting == 'baseImage' else base.BUILD}\n"
        "COPY status /var/lib/dpkg/status\nCOPY os-release /etc/os-release\n"
    )
    platform = "linux/s390x" if setting == "baseImage" else None
    engine.images.build(path=str(tmp_path), tag=old, platform=platform)
    args = {"BASE_IMAGE": base.TARGET, **site_args()}
    args["BASE_IMAGE" if setting == "baseImage" else "BUILD_IMAGE"] = old
    with pytest.raises(AssertionError) as failure:
        build("notebook", "zhub-test-notebook-old:latest", args)
    assert "must be Debian 13 (trixie), but" in str(failure.value)
    assert "pulumi config set baseImage debian:trixie-slim" in str(failure.value)
    engine.images.remove(old)


def test_an_unknown_package_is_named(images: Images) -> None:
    wrong = {"NOTEBOOK_PACKAGES": "python3-numpy python3-nmpy", "BASE_IMAGE": base.TARGET}
    with pytest.raises(AssertionError) as failure:
        build("notebook", "zhub-test-notebook-unknown:latest", {**wrong, **site_args()})
    error = str(failure.value)
    assert (
        "notebookPackages: Debian has no package for s390x that is called python3-nmpy\n" in error
    )
    assert "pulumi config rm notebookPackages" in error
