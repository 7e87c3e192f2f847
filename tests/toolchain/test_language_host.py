"""The language host, called over gRPC as the engine calls it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2
from pulumi.runtime.proto import language_pb2, language_pb2_grpc

from tests.toolchain.conftest import require_toolchain
from toolchain import pins
from toolchain.places import CLI, ROOT, VENV

pytestmark = pytest.mark.slow

HOST = [sys.executable, "-P", str(ROOT / "toolchain" / "language_host.py")]


def port_of(host: subprocess.Popen[str]) -> str:
    assert host.stdout
    return host.stdout.readline().strip()


@contextmanager
def running(**environment: str) -> Iterator[language_pb2_grpc.LanguageRuntimeStub]:
    with subprocess.Popen(
        [*HOST, "127.0.0.1:1"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    ) as host:
        with grpc.insecure_channel(f"127.0.0.1:{port_of(host)}") as channel:
            yield language_pb2_grpc.LanguageRuntimeStub(channel)
        host.terminate()


def info(folder: Path, **options: Any) -> language_pb2.ProgramInfo:
    message = language_pb2.ProgramInfo(
        root_directory=str(folder), program_directory=str(folder), entry_point="."
    )
    message.options.update(options)
    return message


@pytest.fixture(scope="module")
def host() -> Iterator[language_pb2_grpc.LanguageRuntimeStub]:
    with running() as stub:
        yield stub


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with a package that needs a plugin, and one that needs none."""
    folder = tmp_path_factory.mktemp("program")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    (site,) = folder.glob("venv/lib/python3*/site-packages")
    for name, plugin in (
        ("pulumi_example", '{"resource": true, "name": "example"}'),
        ("pulumi_library", '{"resource": false}'),
    ):
        (site / name).mkdir()
        (site / name / "pulumi-plugin.json").write_text(plugin)
        metadata = site / f"{name}-1.2.3.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2.3\n")
        (metadata / "RECORD").write_text(f"{name}/pulumi-plugin.json,,\n")
    return folder


def test_required_packages_are_the_plugins_of_the_installed_packages(
    host: language_pb2_grpc.LanguageRuntimeStub, environment: Path
) -> None:
    request = language_pb2.GetRequiredPackagesRequest(info=info(environment, virtualenv="venv"))
    (package,) = host.GetRequiredPackages(request).packages
    assert (package.name, package.kind, package.version) == ("example", "resource", "v1.2.3")


def test_required_packages_of_this_project_have_the_pinned_versions(
    host: language_pb2_grpc.LanguageRuntimeStub,
) -> None:
    request = language_pb2.GetRequiredPackagesRequest(info=info(ROOT, virtualenv=str(VENV)))
    found = {
        package.name: package.version for package in host.GetRequiredPackages(request).packages
    }
    assert found == {"docker": "v5.2.0", "tls": "v5.6.2", "command": "v1.2.1"}


def test_dependencies_are_listed_with_versions(
    host: language_pb2_grpc.LanguageRuntimeStub, environment: Path
) -> None:
    request = language_pb2.GetProgramDependenciesRequest(info=info(environment, virtualenv="venv"))
    found = [(one.name, one.version) for one in host.GetProgramDependencies(request).dependencies]
    assert found == [("pulumi_example", "1.2.3"), ("pulumi_library", "1.2.3")]


def test_about_names_the_programs_interpreter(
    host: language_pb2_grpc.LanguageRuntimeStub, environment: Path
) -> None:
    request = language_pb2.AboutRequest(info=info(environment, virtualenv="venv"))
    response = host.About(request)
    assert response.executable == str(environment / "venv" / "bin" / "python")
    assert response.version == ".".join(map(str, sys.version_info[:3]))


def test_plugin_info_has_the_version_of_the_sdk(
    host: language_pb2_grpc.LanguageRuntimeStub,
) -> None:
    locked = pins.locked(ROOT / "requirements.txt")
    assert host.GetPluginInfo(empty_pb2.Empty()).version == locked["pulumi"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"virtualenv": "absent"}, "absent does not exist. Type: pulumi install"),
        ({"virtualenv": 3}, "virtualenv is 3.0; it must be a string"),
        ({"toolchain": "poetry"}, "toolchain is 'poetry'; this language host takes only 'pip'"),
        ({"typechecker": "mypy"}, "does not know the runtime option 'typechecker'"),
    ],
)
def test_an_unsupported_option_is_refused(
    host: language_pb2_grpc.LanguageRuntimeStub,
    tmp_path: Path,
    options: dict[str, Any],
    message: str,
) -> None:
    request = language_pb2.GetRequiredPackagesRequest(info=info(tmp_path, **options))
    with pytest.raises(grpc.RpcError, match=message) as caught:
        host.GetRequiredPackages(request)
    assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION


def test_without_the_option_the_active_environment_is_used(environment: Path) -> None:
    with running(VIRTUAL_ENV=str(environment / "venv")) as stub:
        request = language_pb2.AboutRequest(info=info(environment))
        assert stub.About(request).executable == str(environment / "venv" / "bin" / "python")


def test_dependencies_are_installed_into_a_new_environment(
    host: language_pb2_grpc.LanguageRuntimeStub, tmp_path: Path
) -> None:
    (tmp_path / "requirements.txt").write_text("# nothing but the environment itself\n")
    request = language_pb2.InstallDependenciesRequest(info=info(tmp_path, virtualenv="venv"))
    list(host.InstallDependencies(request))
    python = tmp_path / "venv" / "bin" / "python"
    prefix = subprocess.run(
        [python, "-c", "import sys; print(sys.prefix)"], check=True, capture_output=True, text=True
    )
    assert prefix.stdout.strip() == str(tmp_path / "venv")


def test_a_failed_installation_is_an_error_with_pips_own_words(
    host: language_pb2_grpc.LanguageRuntimeStub, tmp_path: Path
) -> None:
    (tmp_path / "requirements.txt").write_text("no such requirement line\n")
    request = language_pb2.InstallDependenciesRequest(info=info(tmp_path, virtualenv=str(VENV)))
    printed = bytearray()

    def install() -> None:
        for response in host.InstallDependencies(request):
            printed.extend(response.stdout)

    with pytest.raises(grpc.RpcError, match="ended with 1"):
        install()
    assert b"Invalid requirement" in printed


def test_plugins_in_python_are_refused_except_policy_packs(
    host: language_pb2_grpc.LanguageRuntimeStub, tmp_path: Path
) -> None:
    request = language_pb2.RunPluginRequest(info=info(tmp_path), kind="resource")
    with pytest.raises(grpc.RpcError, match="runs no resource plugins in Python") as caught:
        list(host.RunPlugin(request))
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_policy_pack_ends_with_the_engines_call(
    host: language_pb2_grpc.LanguageRuntimeStub, tmp_path: Path
) -> None:
    (tmp_path / "__main__.py").write_text(
        "import os, signal, sys\n"
        "print(os.getpid())\n"
        "print(os.environ['GIVEN'], os.getcwd(), file=sys.stderr)\n"
        "signal.pause()\n"
    )
    request = language_pb2.RunPluginRequest(
        info=info(tmp_path, virtualenv=str(VENV)),
        kind="analyzer",
        args=["127.0.0.1:1"],
        env=["GIVEN=a=b", f"PATH={os.defpath}"],
    )
    call = host.RunPlugin(request)
    printed = {first.WhichOneof("output"): first for first in (next(call), next(call))}
    assert printed["stderr"].stderr == f"a=b {tmp_path}\n".encode()
    process = Path("/proc", printed["stdout"].stdout.decode().strip())
    assert process.exists()
    call.cancel()
    deadline = time.monotonic() + 10
    while process.exists():
        assert time.monotonic() < deadline, "the policy pack outlives the call"
        time.sleep(0.1)


def test_the_host_ends_when_the_engine_was_killed() -> None:
    # The shell stands for the engine; when it is killed, it cannot stop its host.
    engine = subprocess.Popen(
        ["sh", "-c", '"$@" & echo $!; wait', "sh", *HOST], stdout=subprocess.PIPE, text=True
    )
    assert engine.stdout
    pid = int(engine.stdout.readline())
    assert engine.stdout.readline().strip().isdigit()
    engine.kill()
    engine.wait()
    deadline = time.monotonic() + 10
    while Path("/proc", str(pid)).exists():
        assert time.monotonic() < deadline, "the host outlives its engine"
        time.sleep(0.1)
    engine.stdout.close()


def test_the_installed_host_serves_from_any_folder(tmp_path: Path) -> None:
    require_toolchain()
    (tmp_path / "grpc.py").write_text("raise SystemExit('the wrong grpc')")
    with subprocess.Popen(
        [CLI / "pulumi-language-python"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as host:
        assert port_of(host).isdigit()
        host.terminate()
