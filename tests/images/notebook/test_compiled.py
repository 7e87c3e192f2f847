"""Packages from PyPI without a wheel for the target are compiled while the image is built."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import textwrap
from collections.abc import Mapping
from pathlib import Path

import docker
import pytest

from tests.built import build, site_args
from tests.images.notebook.test_notebook import wheel
from tests.images.notebook.test_packages import FEW, Z, built, native, use
from tests.images.profile.test_profile import of_profile
from toolchain import base
from toolchain.places import ROOT

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("native")]

#: Builds a wheel with a library in it, with the compiler of the image.
BACKEND = """
    import os, subprocess, zipfile
    def build_wheel(folder, *_):
        subprocess.run(["gcc", "-shared", "-fPIC", "answer.c", "-o", "answer.so"], check=True)
        with zipfile.ZipFile(os.path.join(folder, NAME), "w") as made:
            made.write("answer.so", "own/answer.so")
            made.writestr("own/__init__.py", "import ctypes, pathlib\\n"
                "answer = ctypes.CDLL(pathlib.Path(__file__).with_name('answer.so')).answer\\n")
            made.writestr("own-1.0.data/scripts/own-tool", "#!python\\n")
            info = "own-1.0.dist-info/"
            made.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: own\\nVersion: 1.0\\n")
            made.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nTag: " + TAG)
            made.writestr(info + "RECORD", "")
        return NAME
    import sysconfig
    TAG = "cp313-cp313-" + sysconfig.get_platform().replace("-", "_")
    NAME = f"own-1.0-{TAG}.whl"
    """

#: The stages of the Dockerfile, one after the other. The image has pip for its server only.
STAGES = """
    architecture=$(dpkg --print-architecture)
    cp -r /mnt/. /build
    python3 /build/sets.py $architecture site
    cp /missing/requirements.txt /build/missing.txt
    cp -r /opt/jupyter/lib/python3.13/site-packages/pip /build/sets/
    sh /build/compile.sh $architecture
    rm -r /build/sets/pip
    sh /build/sets.sh $architecture
    cd /sets/usr/local/lib/python3.13/dist-packages
    PYTHONPATH=$PWD python3 -c 'import own, plain; print("answer", own.answer(), plain.text)'
    find . -name '*.map'
    ls /sets/usr/local/bin
    """


def source(folder: Path, program: str) -> str:
    """Make the source of the package `own` with a program in C; return its line of a lock."""
    files = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: own\nVersion: 1.0\n",
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\n'
        'backend-path = ["."]\n',
        "backend.py": textwrap.dedent(BACKEND),
        "answer.c": program,
    }
    with tarfile.open(folder / "own-1.0.tar.gz", "w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"own-1.0/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return locked("own", folder / "own-1.0.tar.gz")


def locked(name: str, file: Path) -> str:
    """Return the line of a lock that has this file."""
    return f"{name}==1.0 \\\n    --hash=sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}\n"


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """The scripts, and what an index has: `plain` as a wheel."""
    for script in ("sets.py", "pip.sh", "compile.sh", "sets.sh", "repair.py"):
        shutil.copy(ROOT / "images" / "notebook" / script, tmp_path)
    maps = {"glyphs.map": "of a font", "page.js.map": "of no use but to who writes page.js"}
    wheel(tmp_path, "plain", "text = 'and a wheel'\n", maps)
    (tmp_path / "requirements").mkdir()
    return tmp_path


def made(engine: docker.DockerClient, index: Path, *lock: str) -> str:
    """Have a lock installed, natively; return what was printed, also if it failed."""
    (index / "requirements" / "site.txt").write_text("".join(lock))
    stages = f"(set -eu; {textwrap.dedent(STAGES)}) 2>&1; echo ended with $?"
    printed: bytes = engine.containers.run(
        built(engine, "few", *FEW),
        ["bash", "-c", stages],
        user="0",
        environment={"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/mnt"},
        volumes=[f"{index}:/mnt:ro"],
        tmpfs={"/build": "exec"},
        platform=native(engine),
        network_mode="none",
        remove=True,
    )
    return printed.decode()


def test_what_has_no_wheel_is_compiled(engine: docker.DockerClient, index: Path) -> None:
    own = source(index, "int answer(void) { return 42; }")
    printed = made(engine, index, own, locked("plain", index / "plain-1.0-py3-none-any.whl"))
    assert "own: no wheel for this platform; it will be compiled\n" in printed
    assert "own==1.0" in printed.partition("compiling for ")[2].partition("\n")[0]
    assert "Building wheel for own" in printed
    there = "answer 42 and a wheel\n./glyphs.map\nown-tool\n"
    assert printed.endswith(f"{there}ended with 0\n"), printed


def test_what_cannot_be_compiled_is_named_with_what_to_do(
    engine: docker.DockerClient, index: Path
) -> None:
    printed = made(engine, index, source(index, "#include <ldap.h>\n"))
    assert "fatal error: ldap.h: No such file or directory" in printed, printed
    assert "notebookRequirements: PyPI has no wheel for" in printed
    assert "could not be\ncompiled; the reason is above: own==1.0" in printed
    assert "images/notebook/requirements/NAME.debian" in printed
    assert printed.endswith("ended with 1\n")


def test_what_has_neither_wheel_nor_source_is_named(
    engine: docker.DockerClient, index: Path
) -> None:
    """The index has a wheel for another machine only."""
    wheel(index, "elsewhere", "")
    file = index / "elsewhere-1.0-py3-none-any.whl"
    file = file.rename(index / "elsewhere-1.0-cp313-cp313-manylinux_2_17_ppc64le.whl")
    printed = made(engine, index, locked("elsewhere", file))
    assert "notebookRequirements: PyPI has neither a wheel of elsewhere==1.0 for" in printed
    assert "python3-elsewhere, and name that among the Debian packages" in printed
    assert "could not be" not in printed
    assert printed.endswith("ended with 1\n")


#: Two packages of which PyPI has nothing but the source, and two with wheels for all platforms.
SITE = """\
crcmod==1.7 \\
    --hash=sha256:dc7051a0db5f2bd48665a990d3ec1cc305a466a77358ca4492826f41f283601e
pyasn1==0.6.5 \\
    --hash=sha256:4017b0fce125096b8573b39c989fdb1a4b19cf761e683398184550fea0e66587 \\
    --hash=sha256:6b11616a6bcf3a40e635f082bb232fa57b5e0dd7f517bd7ddd69ec3794508a47
pyasn1-modules==0.4.2 \\
    --hash=sha256:29253a9207ce32b64c3ac6600edc75368f98473906e8fd1043bd6b5b1de2c14a \\
    --hash=sha256:677091de870a80aae844b1ca6134f54652fa2c8c5a52aa396440ac3106e941e6
python-ldap==3.4.8 \\
    --hash=sha256:18dc7460470c6ff64ed5c04ee21c56dbfee7ab433a53213ba91e407eea44c34c
"""

#: What compiling them needs, as in a file beside the lock.
DEBIAN = "# python-ldap\nlibldap-dev libsasl2-dev\n"

#: Sums of a string, as the parts in C have them: one of 16 bits, one of 64.
USED = """
    import crcmod.predefined, ldap, ldap.dn
    from crcmod import _crcfunext
    print(_crcfunext.__file__.split(".cpython")[0])
    made = crcmod.predefined.mkCrcFun
    print(hex(made("xmodem")(b"123456789")), hex(made("crc-64")(b"123456789")))
    print(ldap.__version__, ldap.dn.explode_dn("cn=Grüße,dc=example"))
    """
MADE = """\
/usr/local/lib/python3.13/dist-packages/crcmod/_crcfunext
0x31c3 0x46a5a9388a5beffe
3.4.8 ['cn=Grüße', 'dc=example']
"""


def used(engine: docker.DockerClient, image: str, platform: str) -> str:
    """Use the packages in an image; return what is printed."""
    return use(engine, image, f"python3 - <<'END'\n{textwrap.dedent(USED)}END", platform=platform)


@pytest.mark.long
@pytest.mark.parametrize("machine", ["s390x", "pc"])
def test_an_image_has_packages_that_pypi_has_as_source_only(
    engine: docker.DockerClient, tmp_path: Path, machine: str
) -> None:
    """Also the image of a profile. The headers for one are in a file beside the lock."""
    shutil.copytree(ROOT / "images", tmp_path / "images")
    folder = tmp_path / "images" / "notebook" / "requirements"
    (folder / "site.txt").write_text(SITE)
    (folder / "site.debian").write_text(DEBIAN)
    platform = Z if machine == "s390x" else native(engine)
    target = base.TARGET if platform == Z else base.BUILD
    base_args: Mapping[str, str | None] = {"BASE_IMAGE": target, **site_args()}
    packages = {"NOTEBOOK_PACKAGES": "libldap2"}
    notebook = f"zhub-test-notebook-compiled-{machine}:latest"
    args = {**base_args, **packages, "NOTEBOOK_REQUIREMENTS": "site"}
    build("notebook", notebook, args, platform, root=tmp_path)
    assert used(engine, notebook, platform) == MADE
    nothing = use(engine, notebook, "command -v gcc || echo none", platform=platform)
    assert nothing == "none\n"

    plain = f"zhub-test-notebook-plain-{machine}:latest"
    build("notebook", plain, {**base_args, **packages}, platform, root=tmp_path)
    image = of_profile(plain, f"compiled-{machine}", platform, root=tmp_path, REQUIREMENTS="site")
    assert used(engine, image, platform) == MADE
