"""A second CPython in a user's home, of another version than the image's, as a kernel."""

from __future__ import annotations

import textwrap

import docker
import pytest

from tests.built import Images
from tests.images.notebook.serving import serving
from tests.images.notebook.test_notebook import home  # noqa: F401 - a fixture
from toolchain import base

pytestmark = [pytest.mark.engine, pytest.mark.long]

#: Unpacks Python 3.11, with its own ipykernel, into the home: that of the Debian before, for s390x.
UNPACK = """
    mkdir -p /tmp/apt/state/lists/partial /tmp/apt/cache/archives/partial
    cd /tmp/apt
    cat >apt.conf <<'END'
    APT::Architecture "s390x"; APT::Architectures { "s390x"; }; APT::Sandbox::User "root";
    Dir::State "/tmp/apt/state"; Dir::State::status "/dev/null"; Dir::Cache "/tmp/apt/cache";
    Dir::Etc::sourcelist "/tmp/apt/sources.list"; Dir::Etc::sourceparts "/dev/null";
    END
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
        sed -En 's/ (stable|trixie) / bookworm /p' >sources.list
    export APT_CONFIG=/tmp/apt/apt.conf
    apt-get -qq update
    apt-get -qq -y --no-install-recommends --download-only install python3-ipykernel
    for package in cache/archives/python3*.deb cache/archives/libpython3*.deb; do
        dpkg -x "$package" /home/jovyan/python
    done
    chown -R 1000:1000 /home/jovyan
    """

OWN = "/home/jovyan/python/usr/bin/python3.11"

#: What there is of the server for a kernel, and what it can change of it.
ATTEMPTS = """
import os, pathlib, sys
print(sys.version_info[:2], sys.byteorder, repr(os.environ["JUPYTERHUB_API_TOKEN"]))
servers = [file.parent for file in pathlib.Path("/proc").glob("[0-9]*/cmdline")
           if b"-m\\0zsingleuser" in file.read_bytes()]
print(len(servers))
for server in servers:
    for name in ("environ", "mem", "maps", "fd", "root", "cwd"):
        try:
            os.listdir(server / name) if name in ("fd", "root", "cwd") else open(server / name)
            print("opens", name)
        except OSError:
            pass
for place in ("/opt/jupyter/bin/python3", "/etc/jupyter/x", "/usr/lib/python3/dist-packages/x.pth"):
    try:
        open(place, "ab")
        print("writes", place)
    except OSError:
        pass
print("looked")
"""


def test_it_is_offered_after_a_restart_and_is_nowhere_near_the_server(
    engine: docker.DockerClient,
    images: Images,
    home: str,  # noqa: F811 - the fixture
) -> None:
    volumes = [f"{home}:/home/jovyan"]
    command = ["bash", "-euc", textwrap.dedent(UNPACK)]
    engine.containers.run(base.BUILD, command, volumes=volumes, remove=True)
    with serving(engine, images.notebook, volumes) as server:
        # As docs/users.md has it.
        install = "ipykernel install --user --name mine --display-name Mine"
        server.shell(f"{OWN} -m {install}")
        assert server.get("api/kernelspecs")["kernelspecs"].keys() == {"python3", "mine"}
    with serving(engine, images.notebook, volumes) as server:
        assert server.get("api/kernelspecs")["kernelspecs"].keys() == {"python3", "mine"}
        printed = server.run(textwrap.dedent(ATTEMPTS), kernel="mine")
        assert printed == "(3, 11) big ''\n2\nlooked\n"
        # The image's own kernel is as it was.
        assert server.run("import sys; print(sys.version_info[:2])") == "(3, 13)\n"
