"""A site's mirrors over TLS, with certificates of the site's own CAs and the internet closed.

One of the CAs is as `openssl req -x509` made it for years, without keyUsage.
"""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import docker
import pytest
from cryptography import x509

from components.settings import machine
from tests.docs.commands import runs
from tests.engine.conftest import native, running_stack
from tests.engine.mirror import (
    MODULE,
    PACKAGE,
    R_PACKAGE,
    address_of_its_own,
    fill,
    fill_cran,
    fill_npm,
    fill_wheels,
    served,
)
from tests.engine.people import Entrance
from tests.engine.stack import Stack
from tests.hubclient import Kernel, User
from tests.pki import Identity, quick_key
from tests.ports import free_port

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.xdist_group("native")]

#: The newer names of platforms, as wheels on PyPI have them; pip takes each for itself alone.
NEWER = [f"manylinux_2_{minor}" for minor in range(17, 42)]

#: What a kernel asks of a mirror: Python's own library, and one that users have.
PYTHON = """
import ssl, urllib.error, urllib.request, requests
try:
    found = urllib.request.urlopen("{url}/plain").read().decode()
except urllib.error.URLError as error:
    found = str(error)
try:
    print(requests.get("{url}/plain").text, found)
except requests.exceptions.SSLError as error:
    print(error, found)
"""


@dataclass(frozen=True)
class Mirror:
    """Two servers with the same content, each with a certificate of another CA."""

    url: str
    older: str
    """The URL of the one whose CA's certificate lacks keyUsage."""
    address: str
    authorities: Path
    content: Path
    """The folder that they serve."""


@pytest.fixture(scope="module")
def site(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirror]:
    folder = tmp_path_factory.mktemp("site")
    content = folder / "content"
    content.mkdir()
    fill(content)
    fill_cran(content)
    (content / "plain").write_text("the mirror")
    cas = [
        Identity.create("Authority", authority=True, key=quick_key()),
        Identity.create("Old authority", authority=True, key=quick_key(), without=[x509.KeyUsage]),
    ]
    trusted = machine.ca_certificates().decode() + "".join(ca.pem for ca in cas)
    (folder / "ca.pem").write_text(trusted)
    with ExitStack() as stack:
        address = stack.enter_context(address_of_its_own(engine, "zhub-test-tls-mirror"))
        urls = []
        for number, ca in enumerate(cas):
            own = Identity.create(address, issuer=ca, key=quick_key())
            own.write(folder, f"server{number}")
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(folder / f"server{number}.crt", folder / f"server{number}.key")
            port = stack.enter_context(served(content, tls))
            urls.append(f"https://{address}:{port}")
        fill_npm(content, urls[0])
        yield Mirror(urls[0], urls[1], address, folder / "ca.pem", content)


@pytest.fixture(scope="module")
def stack(
    engine: docker.DockerClient, site: Mirror, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    config = native(engine) | {
        "port": free_port(),
        "notebookPackages": ["curl", "git", "npm", "r-base-core"],
        "notebookRequirements": [],
        "extraCaFile": str(site.authorities),
        "userInternetAccess": False,
        "userAllowedNetworks": [site.address],
        "userPipIndexUrl": f"{site.url}/simple",
        "userNpmRegistry": f"{site.url}/npm",
        "userCranMirror": f"{site.url}/cran",
        "userGitMirrors": [f"https://github.com/={site.url}/git/"],
    }
    yield from running_stack(engine, "e2e-mirrors", tmp_path_factory.mktemp("mirrors"), config)


@pytest.fixture(scope="module")
def carol(stack: Stack) -> Iterator[User]:
    user = Entrance.of(stack).logged_in("carol")
    user.start_server()
    yield user
    user.stop_server()


@pytest.fixture(scope="module")
def kernel(carol: User) -> Kernel:
    return carol.start_kernel()


def printed(kernel: Kernel, command: str) -> str:
    """The last line that a command prints."""
    code = f"import subprocess; print(subprocess.getoutput({command!r}))"
    return kernel.run(code, timeout=300).strip().splitlines()[-1]


def test_users_install_from_the_mirrors_as_elsewhere(kernel: Kernel) -> None:
    installed = kernel.run(f"%pip install {PACKAGE}\nimport {MODULE}; print({MODULE}.ORIGIN)")
    assert installed.splitlines()[-1] == "the mirror", installed
    require = f"""node -e 'console.log(require("{PACKAGE}"))'"""
    assert printed(kernel, f"npm install {PACKAGE} && {require}") == "the mirror"
    library = f"install.packages('{R_PACKAGE}'); cat({R_PACKAGE}::origin())"
    assert printed(kernel, f'Rscript -e "{library}"') == "the mirror"
    clone = "git clone --quiet https://github.com/team/data.git"
    assert printed(kernel, f"{clone} && git -C data log --format=%s") == "first"


def test_an_environment_and_a_kernel_of_ones_own(
    carol: User, kernel: Kernel, site: Mirror, tmp_path: Path
) -> None:
    """As the page for users has it, with the packages that PyPI has now."""
    python = kernel.run("import sys; print('%d.%d' % sys.version_info[:2])").strip()
    processor = kernel.run("import platform; print(platform.machine())").strip()
    platforms = [f"--platform={tag}_{processor}" for tag in ("manylinux2014", *NEWER)]
    chosen = ["--only-binary=:all:", f"--python-version={python}", *platforms, "ipykernel"]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", f"--dest={tmp_path}", *chosen]
    subprocess.run(pip, check=True)
    fill_wheels(site.content, tmp_path)
    [make] = runs("docs/users.md", "Environments and kernels of your own")
    with served(site.content) as port:
        index = f"PIP_INDEX_URL=http://{site.address}:{port}/simple"
        script = f"export {index} PIP_TRUSTED_HOST={site.address}\nset -e\n{make}"
        code = f"import subprocess; print(subprocess.getoutput({script!r}))"
        said = kernel.run(code, timeout=300)
    assert "Installed kernelspec mine in /home/jovyan/" in said, said
    offered = carol.request("GET", urljoin(carol.home, "api/kernelspecs")).json()["kernelspecs"]
    assert offered["mine"]["spec"]["display_name"] == "Mine"
    own = carol.start_kernel("mine")
    assert own.run("import sys, ipykernel; print(sys.prefix, ipykernel.__file__)").startswith(
        "/home/jovyan/env /home/jovyan/env/lib/"
    )
    own.end()
    # Over TLS, the pip of such an environment takes no index at a mere address. If it does, correct
    # docs/packages.md.
    download = f"~/env/bin/pip download --dest /tmp {PACKAGE}"
    said = kernel.run(f"import subprocess; print(subprocess.getoutput({download!r}))")
    assert "check_hostname requires server_hostname" in said


@pytest.mark.parametrize("older", [False, True])
def test_all_programs_trust_the_sites_cas_but_python_an_older_one(
    kernel: Kernel, site: Mirror, *, older: bool
) -> None:
    url = site.older if older else site.url
    plain = f"{url}/plain"
    for command in (
        f"curl -fsS {plain}",
        f"node -e 'fetch(\"{plain}\").then(a => a.text()).then(console.log)'",
        f"Rscript -e 'cat(readLines(url(\"{plain}\"), warn = FALSE))'",
    ):
        assert printed(kernel, command) == "the mirror", command
    assert printed(kernel, f"git ls-remote {url}/git/team/data.git HEAD").endswith("HEAD")
    download = f"pip download --no-deps --dest /tmp/{older} --index-url {url}/simple {PACKAGE}"
    assert printed(kernel, download) == f"Successfully downloaded {PACKAGE}"
    said = kernel.run(PYTHON.format(url=url)).strip()
    if older:
        # As docs/packages.md has it.
        assert said.count("CA cert does not include key usage extension") == 2
    else:
        assert said == "the mirror the mirror"


def test_the_preview_names_the_ca_that_python_does_not_take(stack: Stack) -> None:
    said = stack.on_stack("preview")
    assert "the certificate of CN=Old authority lacks keyUsage" in said
    assert "of CN=Authority lacks" not in said
