"""Pulumi's language host for Python, itself in Python over the SDK's own protocol stubs.

Pulumi ships its host as a binary for amd64 and arm64 only. The engine starts this file, reads the
port from the first line of standard output and calls it over gRPC; the calls are defined in
https://github.com/pulumi/pulumi/blob/master/proto/pulumi/language.proto.

Runs in the project's virtual environment. Imports nothing of this package, to start quickly.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import queue
import signal
import subprocess
import sys
import sysconfig
import threading
import types
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

if __name__ == "__main__":
    # The protocol's modules alone: the SDK around them takes longer to load than all the rest, and
    # every pulumi command waits for it.
    _sdk = Path(sysconfig.get_path("purelib"), "pulumi")
    for _name, _folder in (("pulumi", _sdk), ("pulumi.runtime", _sdk / "runtime")):
        sys.modules[_name] = types.ModuleType(_name)
        sys.modules[_name].__path__ = [str(_folder)]

import grpc
from google.protobuf import empty_pb2, json_format
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

RUNNER = Path(__file__).with_name("program_runner.py")

#: What the runner exits with once it has told the engine what went wrong.
REPORTED = 32

#: Seconds a program has to end after Ctrl-C before it is killed.
GRACE = 5.0

#: As the engine has it on its side; gRPC's default of 4 MiB is too small for a large configuration.
SIZE_LIMIT = ("grpc.max_receive_message_length", 400 << 20)

#: Runtime options of Pulumi.yaml this host acts on. Others are refused: the author relies on them.
KNOWN_OPTIONS = {"virtualenv", "toolchain"}


class OptionError(Exception):
    """A runtime option of Pulumi.yaml this host cannot honour; the text is for the operator."""


class Environment:
    """The Python environment a program asks for.

    Args:
        info: what the engine knows of the program, options included.

    Raises:
        OptionError: an option is unknown, unsupported, or of the wrong type.
    """

    def __init__(self, info: language_pb2.ProgramInfo) -> None:
        options: dict[str, Any] = json_format.MessageToDict(info.options)
        if unknown := sorted(options.keys() - KNOWN_OPTIONS):
            raise OptionError(
                f"Pulumi.yaml: runtime option {unknown[0]!r} is unknown to this language host. "
                "Remove it, or use Pulumi's own: ZHUB_TOOLCHAIN=official make up"
            )
        if (toolchain := options.get("toolchain", "pip")) != "pip":
            raise OptionError(
                f"Pulumi.yaml: runtime option toolchain is {toolchain!r}; this language host knows "
                "only 'pip'"
            )
        virtualenv = options.get("virtualenv", "")
        if not isinstance(virtualenv, str):
            raise OptionError("Pulumi.yaml: runtime option virtualenv must be a string")
        self.folder: Path | None = None
        if virtualenv:
            self.folder = Path(info.root_directory, virtualenv)
        elif active := os.environ.get("VIRTUAL_ENV"):
            self.folder = Path(active)

    @property
    def python(self) -> Path:
        """The interpreter; the host's own where neither option nor shell names an environment."""
        return self.folder / "bin" / "python" if self.folder else Path(sys.executable)

    def require(self) -> None:
        """Refuse to go on without the interpreter.

        Raises:
            OptionError: it is not there.
        """
        if not self.python.exists():
            raise OptionError(
                f"the virtual environment {self.folder} does not exist; type: pulumi install"
            )

    def site_packages(self) -> list[str]:
        """The folders packages are installed in."""
        root = self.folder or Path(sys.prefix)
        return [str(folder) for folder in sorted(root.glob("lib/python3*/site-packages"))]

    def variables(self, inherited: Mapping[str, str] = os.environ) -> dict[str, str]:
        """The process environment a program gets, as after `activate`."""
        variables = dict(inherited)
        if self.folder:
            variables["VIRTUAL_ENV"] = str(self.folder)
            variables["PATH"] = (
                f"{self.folder / 'bin'}{os.pathsep}{variables.get('PATH', os.defpath)}"
            )
            variables.pop("PYTHONHOME", None)
        return variables


def plugin_of(
    description: dict[str, Any], version: str
) -> language_pb2.GetRequiredPackagesResponse:
    """One package's plugin as its pulumi-plugin.json describes it; empty when it has none.

    Args:
        description: the parsed file.
        version: of the Python package, which counts where the file names none.
    """
    response = language_pb2.GetRequiredPackagesResponse()
    if not description.get("resource"):
        return response
    package = response.packages.add(
        name=description["name"],
        kind="resource",
        version="v" + str(description.get("version") or version).removeprefix("v"),
        server=description.get("server", ""),
    )
    if parameterization := description.get("parameterization"):
        json_format.ParseDict(parameterization, package.parameterization)
    return response


class LanguageHost(language_pb2_grpc.LanguageRuntimeServicer):
    """Answers the engine's calls.

    Args:
        engine_address: `host:port` of the engine, which the program logs to.
    """

    def __init__(self, engine_address: str) -> None:
        self._engine_address = engine_address
        self._programs: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._cancelled = False

    def Handshake(
        self, request: language_pb2.LanguageHandshakeRequest, context: grpc.ServicerContext
    ) -> language_pb2.LanguageHandshakeResponse:
        self._engine_address = request.engine_address
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(
        self, request: empty_pb2.Empty, context: grpc.ServicerContext
    ) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=importlib.metadata.version("pulumi"))

    def GetRequiredPackages(
        self, request: language_pb2.GetRequiredPackagesRequest, context: grpc.ServicerContext
    ) -> language_pb2.GetRequiredPackagesResponse:
        environment = self._environment(request.info, context)
        response = language_pb2.GetRequiredPackagesResponse()
        for distribution in importlib.metadata.distributions(path=environment.site_packages()):
            if not distribution.name.startswith("pulumi"):
                continue  # reading the file list of every package would cost more than all the rest
            for file in distribution.files or []:
                if file.name == "pulumi-plugin.json":
                    description = json.loads(file.read_text())
                    response.MergeFrom(plugin_of(description, distribution.version))
        return response

    def GetProgramDependencies(
        self, request: language_pb2.GetProgramDependenciesRequest, context: grpc.ServicerContext
    ) -> language_pb2.GetProgramDependenciesResponse:
        environment = self._environment(request.info, context)
        found = importlib.metadata.distributions(path=environment.site_packages())
        return language_pb2.GetProgramDependenciesResponse(
            dependencies=[
                language_pb2.DependencyInfo(name=one.name, version=one.version)
                for one in sorted(found, key=lambda one: one.name.lower())
            ]
        )

    def About(
        self, request: language_pb2.AboutRequest, context: grpc.ServicerContext
    ) -> language_pb2.AboutResponse:
        environment = self._environment(request.info, context)
        version = subprocess.run(
            [environment.python, "--version"], check=True, capture_output=True, text=True
        )
        return language_pb2.AboutResponse(
            executable=str(environment.python),
            version=version.stdout.removeprefix("Python ").strip(),
            metadata={"languageHost": "zhub", "languageHostPython": platform.python_version()},
        )

    def InstallDependencies(
        self, request: language_pb2.InstallDependenciesRequest, context: grpc.ServicerContext
    ) -> Iterator[language_pb2.InstallDependenciesResponse]:
        environment = self._environment(request.info, context, must_exist=False)
        commands: list[list[str]] = []
        if environment.folder and not environment.python.exists():
            commands.append([sys.executable, "-m", "venv", str(environment.folder)])
        requirements = Path(request.info.program_directory, "requirements.txt")
        if requirements.exists():
            commands.append(
                [str(environment.python), "-m", "pip", "install", "-r", str(requirements)]
            )
        for command in commands:
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            ) as process:
                for line in process.stdout or ():
                    yield language_pb2.InstallDependenciesResponse(stdout=line)
            if process.returncode:
                context.abort(
                    grpc.StatusCode.INTERNAL, f"{' '.join(command)} ended with {process.returncode}"
                )

    def RuntimeOptionsPrompts(
        self, request: language_pb2.RuntimeOptionsRequest, context: grpc.ServicerContext
    ) -> language_pb2.RuntimeOptionsResponse:
        return language_pb2.RuntimeOptionsResponse()

    def Run(
        self, request: language_pb2.RunRequest, context: grpc.ServicerContext
    ) -> language_pb2.RunResponse:
        environment = self._environment(request.info, context)
        # By standard input, not by the environment: configuration holds secrets, which every
        # process that the program starts would inherit, and a variable is limited to 128 KiB.
        settings = {
            "engineAddress": self._engine_address,
            "monitorAddress": request.monitor_address,
            "organization": request.organization,
            "project": request.project,
            "stack": request.stack,
            "config": dict(request.config),
            "configSecretKeys": list(request.configSecretKeys),
            "dryRun": request.dryRun,
            "parallel": request.parallel,
            "rootDirectory": request.info.root_directory,
            "programDirectory": request.info.program_directory,
            "entryPoint": request.info.entry_point,
            "args": list(request.args),
        }
        with self._started(
            [environment.python, "-P", "-u", RUNNER],
            context,
            stdin=subprocess.PIPE,
            cwd=request.pwd or request.info.program_directory,
            env=environment.variables(),
        ) as program:
            program.communicate(json.dumps(settings).encode())
        if program.returncode == REPORTED or self._cancelled or not context.is_active():
            return language_pb2.RunResponse(bail=True)
        if program.returncode < 0:
            name = signal.Signals(-program.returncode).name
            return language_pb2.RunResponse(error=f"the program was ended by {name}")
        if program.returncode:
            return language_pb2.RunResponse(
                error=f"the program ended with exit code {program.returncode}"
            )
        return language_pb2.RunResponse()

    def RunPlugin(
        self, request: language_pb2.RunPluginRequest, context: grpc.ServicerContext
    ) -> Iterator[language_pb2.RunPluginResponse]:
        """Run a policy pack until the engine ends the call; its first line is its port.

        Unlike Pulumi's own host, this one does not tell it the stack's config.
        """
        if request.kind != "analyzer":
            context.abort(
                grpc.StatusCode.UNIMPLEMENTED,
                f"this language host runs no {request.kind} plugins in Python, only policy packs",
            )
        environment = self._environment(request.info, context)
        folder = request.info.program_directory
        with self._started(
            [environment.python, "-u", "-m", "pulumi.policy", *request.args, folder],
            context,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=environment.variables(dict(line.split("=", 1) for line in request.env)),
        ) as pack:
            yield from output(pack)
        yield language_pb2.RunPluginResponse(exitcode=pack.returncode)

    @contextmanager
    def _started(
        self, command: Sequence[str | Path], context: grpc.ServicerContext, **options: Any
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A process that is interrupted when the call ends before it does.

        Args:
            command: what to run.
            context: of the call; aborted where the host has been told to start nothing more.
            options: of Popen.
        """
        with self._lock:
            if self._cancelled:
                context.abort(grpc.StatusCode.CANCELLED, "cancelled before it was started")
            process = subprocess.Popen(command, **options)
            self._programs.add(process)
        # Called at the end of the call too, when there is nothing left to stop.
        context.add_callback(lambda: stop(process))
        try:
            with process:
                yield process
        finally:
            with self._lock:
                self._programs.discard(process)

    def Cancel(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> empty_pb2.Empty:
        self.stop_programs()
        return empty_pb2.Empty()

    def stop_programs(self) -> None:
        """End what runs, and start nothing more."""
        with self._lock:
            self._cancelled = True
            programs = list(self._programs)
        for program in programs:
            stop(program)

    @staticmethod
    def _environment(
        info: language_pb2.ProgramInfo, context: grpc.ServicerContext, *, must_exist: bool = True
    ) -> Environment:
        try:
            environment = Environment(info)
            if must_exist:
                environment.require()
        except OptionError as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        return environment


def output(process: subprocess.Popen[bytes]) -> Iterator[language_pb2.RunPluginResponse]:
    """What a process prints, line by line as it comes, until it closes both its streams."""
    lines: queue.SimpleQueue[language_pb2.RunPluginResponse | None] = queue.SimpleQueue()

    def read(stream: IO[bytes], name: str) -> None:
        for line in stream:
            message: dict[str, Any] = {name: line}
            lines.put(language_pb2.RunPluginResponse(**message))
        lines.put(None)

    streams = [(process.stdout, "stdout"), (process.stderr, "stderr")]
    for stream, name in streams:
        threading.Thread(target=read, args=(stream, name), daemon=True).start()
    for _ in streams:
        yield from iter(lines.get, None)


def stop(program: subprocess.Popen[bytes]) -> None:
    """Interrupt a program, and kill it when it does not end within `GRACE` seconds."""
    if program.poll() is not None:
        return
    program.send_signal(signal.SIGINT)

    def kill() -> None:
        if program.poll() is None:
            program.kill()

    timer = threading.Timer(GRACE, kill)
    timer.daemon = True
    timer.start()


def serve(engine_address: str, parent: int) -> None:
    """Serve until told to stop, or until the process that started this one is gone.

    Args:
        engine_address: `host:port` of the engine.
        parent: process id of the engine.
    """
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    host = LanguageHost(engine_address)
    server = grpc.server(futures.ThreadPoolExecutor(8), options=[SIZE_LIMIT])
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    while not ended.wait(1.0):
        if os.getppid() != parent:
            break  # a killed engine cannot say goodbye
    host.stop_programs()
    server.stop(GRACE).wait()


def main() -> None:
    """Entry point: the engine passes its address as the last argument."""
    parser = argparse.ArgumentParser(prog="pulumi-language-python", description=__doc__)
    parser.add_argument("--tracing", help="accepted for the engine's sake; nothing is traced")
    parser.add_argument("engine", nargs="?", default="", help="host:port of the engine")
    serve(parser.parse_args().engine, os.getppid())


if __name__ == "__main__":
    main()
