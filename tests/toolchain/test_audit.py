"""The audit with its real tools, against services with findings, without, or out of order.

pip-audit asks a stand-in with OSV's API, npm one with its registry's, and apt, in an image made of
the notebook's, a repository inside that image.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.built import Images
from tests.docs.commands import runs
from toolchain import audit, snapshot
from toolchain.engine import client as docker_command
from toolchain.lock import HUB, NOTEBOOK
from toolchain.lock import PROXY as PROXY_FOLDER
from toolchain.places import ROOT

pytestmark = pytest.mark.slow

#: An address where nobody listens.
NOWHERE = "http://127.0.0.1:9"

#: Checks that do not depend on the images.
LOCKS = {question.about for question in audit.questions({})}

#: The proxy's packages, by name.
PROXY: dict[str, Any] = {
    folder.rpartition("node_modules/")[2]: package
    for folder, package in json.loads((ROOT / PROXY_FOLDER / "package-lock.json").read_text())[
        "packages"
    ].items()
    if folder
}


def pinned(folder: Path, name: str) -> str:
    """The version of a package in a folder's lock."""
    lock = (ROOT / folder / "requirements.txt").read_text()
    found = re.search(rf"^{name}==(\S+)", lock, re.MULTILINE)
    assert found
    return found[1]


class Services(ThreadingHTTPServer):
    """The services' advisories, by package name, in the services' own formats."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.osv: dict[str, dict[str, Any]] = {}
        self.npm: dict[str, dict[str, Any]] = {}
        self.asked: set[tuple[str, str]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Services

    def answer(self, body: Any) -> None:
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/query":
            query = json.loads(body)
            assert query["package"]["ecosystem"] == "PyPI"
            name, version = query["package"]["name"], query["version"]
            self.server.asked.add((name, version))
            known = self.server.osv.get(name)
            self.answer({"vulns": [known]} if known else {})
        elif self.path == "/-/npm/v1/security/advisories/bulk":
            versions = json.loads(gzip.decompress(body))
            self.server.asked |= {(name, each) for name in versions for each in versions[name]}
            self.answer({name: [known] for name, known in self.server.npm.items()})
        else:
            self.send_error(404)

    def do_GET(self) -> None:
        """The versions of an npm package: the locked one and a newer one."""
        name = self.path.removeprefix("/").replace("%2f", "/")
        package = {**PROXY[name], "name": name}
        version = package["version"]
        versions = {each: {**package, "version": each} for each in (version, "1.99.0")}
        self.answer({"name": name, "dist-tags": {"latest": "1.99.0"}, "versions": versions})

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def services() -> Iterator[Services]:
    with Services() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@dataclass(frozen=True)
class Result:
    """An audit's output."""

    code: int
    output: str

    @property
    def answers(self) -> dict[str, str]:
        """The output after each check's title."""
        report = self.output.partition("\nerror: ")[0]
        parts = re.split(r"^(\w+ packages of .+)\n", report, flags=re.MULTILINE)
        return dict(zip(parts[1::2], parts[2::2], strict=True))

    @property
    def all_clear(self) -> set[str]:
        """The checks that found nothing."""
        return {about for about, answer in self.answers.items() if "nothing found" in answer}

    @property
    def named(self) -> set[str]:
        """The checks that the last message names."""
        return set(re.findall(r"^  (.+)", self.output.partition("see above:")[2], re.MULTILINE))


@pytest.fixture
def run(services: Services, tmp_path: Path) -> Callable[..., Result]:
    """Runs the audit of images as `make audit` does; the services are set up as a site would."""

    def ask(*images: str, **settings: str) -> Result:
        environment = {
            "PIP_AUDIT_VULNERABILITY_SERVICE": "osv",
            "PIP_AUDIT_OSV_URL": f"{services.url}/v1/query",
            "npm_config_registry": services.url,
            "npm_config_cache": str(tmp_path / "npm"),  # npm keeps advisories, too
            "npm_config_fetch_retries": "0",
            **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1"),
        }
        result = subprocess.run(
            [sys.executable, "-m", "toolchain.audit", "dev", *images],
            cwd=ROOT,
            env={**os.environ, **environment, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        assert "Traceback" not in result.stdout
        assert result.stdout.endswith(f"{audit.FIX}\n") == ("see above:" in result.stdout)
        return Result(result.returncode, result.stdout)

    return ask


def test_without_findings_every_pin_was_checked(
    services: Services, run: Callable[..., Result]
) -> None:
    result = run()
    assert result.code == 0, result.output
    assert result.answers.keys() == result.all_clear == LOCKS
    assert "error" not in result.output.lower()
    assert "warning" not in result.output.lower()
    named = {"pulumi": Path(), "jupyterlab": NOTEBOOK, "dockerspawner": HUB}
    assert services.asked > {(name, pinned(folder, name)) for name, folder in named.items()}
    assert services.asked > {(name, package["version"]) for name, package in PROXY.items()}


def test_it_asks_the_services_that_the_page_has_a_site_set(
    services: Services, tmp_path: Path
) -> None:
    commands = runs(
        "docs/operations.md",
        "Packages in the images, and known vulnerabilities",
        "make audit",
        "export PIP_AUDIT_",
        "npm config set registry",
    )
    script = "\n".join(commands[1:]).replace("<stack>", "dev")
    assert commands[0].split()[:2] == commands[-1].split()[:2]
    for host in ("https://osv.example.com", "https://npm.example.com"):
        assert host in script
        script = script.replace(host, services.url)
    # Here, all is installed already, and npm's settings are those of the page alone.
    make = 'make() { command make --no-print-directory TOOLCHAIN=: "$@"; }'
    kept = {name: text for name, text in os.environ.items() if "npm_config" not in name.lower()}
    own = {"HOME": str(tmp_path), "MAKEFLAGS": "", "npm_config_fetch_retries": "0"}
    done = subprocess.run(
        ["bash", "-euc", f"{make}\n{script}"],
        cwd=ROOT,
        env={**kept, **own, **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert Result(done.returncode, done.stdout).all_clear >= LOCKS, done.stdout
    assert ("jupyterlab", pinned(NOTEBOOK, "jupyterlab")) in services.asked
    assert set(PROXY) & {name for name, _ in services.asked}


def test_an_advisory_on_a_python_package_is_shown_with_its_ids_and_the_fixed_version(
    services: Services, run: Callable[..., Result]
) -> None:
    services.osv["dockerspawner"] = {
        "id": "PYSEC-2099-1",
        "aliases": ["CVE-2099-1234"],
        "affected": [
            {
                "package": {"name": "dockerspawner", "ecosystem": "PyPI"},
                "ranges": [
                    {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}
                ],
            }
        ],
    }
    result = run()
    assert result.code == 1
    assert (
        result.named == LOCKS - result.all_clear == {f"Python packages of {HUB}/requirements.txt"}
    )
    row = ("dockerspawner", pinned(HUB, "dockerspawner"), "PYSEC-2099-1", "99.1", "CVE-2099-1234")
    [answer] = (result.answers[about] for about in result.named)
    assert re.search(" +".join(map(re.escape, row)), answer)


def test_an_advisory_on_an_npm_package_is_shown_whatever_npm_is_set_to(
    services: Services, run: Callable[..., Result]
) -> None:
    version = PROXY["follow-redirects"]["version"]
    services.npm["follow-redirects"] = {
        "id": 1,
        "url": "https://example.com/advisories/GHSA-2099",
        "title": "Follows too far",
        "severity": "low",
        "vulnerable_versions": f"<={version}",
    }
    result = run(npm_config_audit_level="critical", npm_config_offline="true")
    assert result.code == 1
    assert (
        result.named
        == LOCKS - result.all_clear
        == {f"npm packages of {PROXY_FOLDER}/package-lock.json"}
    )
    [answer] = (result.answers[about] for about in result.named)
    assert f"follow-redirects  {version}\n" in answer
    assert "Follows too far - https://example.com/advisories/GHSA-2099\nfix available" in answer


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"PIP_AUDIT_OSV_URL": NOWHERE, "npm_config_registry": NOWHERE}, "(?i)refused"),
        ({"PIP_AUDIT_OSV_URL": "{}/mirror", "npm_config_registry": "{}/mirror"}, "404"),
        (
            {
                "PIP_AUDIT_VULNERABILITY_SERVICE": "pypi",
                "npm_config_registry": NOWHERE,
                **dict.fromkeys(("HTTPS_PROXY", "https_proxy"), NOWHERE),
            },
            "(?i)refused",
        ),
    ],
    ids=["nobody there", "mirror without advisories", "no way to PyPI"],
)
def test_a_check_without_an_answer_fails(
    services: Services, run: Callable[..., Result], settings: dict[str, str], why: str
) -> None:
    result = run(**{name: value.format(services.url) for name, value in settings.items()})
    assert result.code == 1
    assert not result.all_clear
    assert result.named == LOCKS
    assert all(re.search(why, answer) for answer in result.answers.values()), result.output


def test_without_npm_the_other_checks_run(run: Callable[..., Result]) -> None:
    result = run(PATH="")
    assert result.code == 1
    assert (
        result.named
        == LOCKS - result.all_clear
        == {f"npm packages of {PROXY_FOLDER}/package-lock.json"}
    )
    assert "npm cannot be run: No such file" in result.output


def repository(folder: Path, suite: str, label: str, packages: dict[str, str]) -> None:
    """Write a Debian mirror's index of versions, without packages.

    Each of them needs a package that is not there: no upgrade would take it.
    """
    stanzas = [
        f"Package: {name}\nVersion: {version}\nArchitecture: s390x\nDepends: not-there\n"
        f"Filename: {name}.deb\nSize: 1\nSHA256: {'0' * 64}\n"
        for name, version in packages.items()
    ]
    index = folder / "dists" / suite / "main/binary-s390x/Packages"
    index.parent.mkdir(parents=True)
    index.write_text("\n".join(stanzas))
    digest = hashlib.sha256(index.read_bytes()).hexdigest()
    (folder / "dists" / suite / "Release").write_text(
        f"Label: {label}\nSuite: {suite}\nCodename: {suite}\nArchitectures: s390x\n"
        f"Components: main\nDate: Tue, 24 Nov 2026 00:00:00 UTC\n"
        f"SHA256:\n {digest} {index.stat().st_size} main/binary-s390x/Packages\n"
    )


@pytest.fixture
def derived(
    engine: docker.DockerClient, images: Images, tmp_path: Path
) -> Iterator[Callable[[str, str], str]]:
    """Makes images from the notebook's, with apt sources in /site, a copy of tmp_path/site."""
    made = []

    def make(name: str, sources: str) -> str:
        """Returns the image's name."""
        (tmp_path / "sources.list").write_text(sources)
        (tmp_path / "Dockerfile").write_text(
            f"FROM {images.notebook}\nCOPY site /site\nCOPY sources.list /etc/apt/\n"
        )
        tag = f"zhub-test-audit-{name}-{uuid.uuid4().hex[:8]}"
        made.append(tag)
        subprocess.run(
            [
                *(docker_command(), "build", "--quiet", "--platform=linux/s390x"),
                f"--tag={tag}",
                tmp_path,
            ],
            env={**os.environ, "DOCKER_BUILDKIT": "1"},
            check=True,
        )
        return tag

    yield make
    for tag in made:
        engine.images.remove(tag, force=True)


@pytest.mark.engine
def test_debian_updates_are_looked_up_in_the_images(
    derived: Callable[[str, str], str],
    engine: docker.DockerClient,
    images: Images,
    run: Callable[..., Result],
    tmp_path: Path,
) -> None:
    site = tmp_path / "site"
    repository(site / "newer", "trixie-security", "Site", {"libc6": "99-1", "hello": "99-1"})
    repository(site / "older", "trixie", "Debian-Security", {"libc6": "1-1"})
    repository(site / "plain", "trixie", "Debian", {"libc6": "1-1"})
    # At the image's own date there is nothing newer; at the last midnight there is.
    repository(site / "20260101T000000Z", "trixie-security", "Site", {"libc6": "1-1"})
    repository(site / snapshot.last_midnight(), "trixie-security", "Site", {"libc6": "99-2"})
    option = "[trusted=yes]"  # whether apt verifies signatures is not the question here
    newer, older, plain, nobody, dated = (
        f"Debian packages of {derived(name, sources)}"
        for name, sources in {
            "newer": f"deb {option} file:/site/newer trixie-security main\n",
            "older": f"deb {option} file:/site/older trixie main\n",
            "plain": f"# deb {option} file:/site/newer trixie-security main\n"
            f"deb {option} file:/site/plain trixie main\n",
            "nobody": f"deb {option} {NOWHERE}/debian trixie main\n"
            f"deb {option} file:/site/older trixie main\n",
            "dated": "deb [trusted=yes check-valid-until=no] "
            "file:/site/20260101T000000Z trixie-security main\n",
        }.items()
    )
    result = run(*(about.rpartition(" ")[2] for about in (newer, older, plain, nobody, dated)))
    assert result.code == 1
    assert result.all_clear == {*LOCKS, older}
    assert result.named == {newer, plain, nobody, dated}

    show = ["dpkg-query", "--show", "--showformat=${Version}\n", "libc6"]
    installed: bytes = engine.containers.run(
        images.notebook, show, entrypoint=[], platform="linux/s390x", remove=True
    )
    assert result.answers[newer].strip() == (
        f"libc6/trixie-security 99-1 s390x [upgradable from: {installed.decode().strip()}]"
    )
    assert result.answers[dated].startswith("libc6/trixie-security 99-2 ")
    assert result.answers[older].strip() == "nothing found"
    assert result.answers[plain].strip().startswith("The image gets no security updates")
    assert "Unable to connect" in result.answers[nobody]


@pytest.mark.engine
def test_a_missing_image_is_reported_before_any_check_runs(
    services: Services, run: Callable[..., Result]
) -> None:
    result = run("zhub-test-nowhere")
    assert result.code == 1
    assert result.output == (
        "\nerror: the engine has no image zhub-test-nowhere. "
        "To build this project's images: make up\n"
    )
    assert not services.asked
