"""A language host for Pulumi programs in Python, written in Python with the SDK's protocol stubs.

Pulumi releases its own host for amd64 and arm64 only. The engine starts this file, reads the port
from the first line of standard output and calls it over gRPC; the calls are defined in
https://github.com/pulumi/pulumi/blob/master/proto/pulumi/language.proto.

Runs in the project's virtual environment. Imports little, to start quickly.
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
from collections.abc import Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

if __name__ == "__main__":
    # Load the protocol's modules without the SDK: it takes longer to load than everything else, and
    # every pulumi command waits for it.
    _sdk = Path(sysconfig.get_path("purelib"), "pulumi")
    for _name, _folder in (("pulumi", _sdk), ("pulumi.runtime", _sdk / "runtime")):
        sys.modules[_name] = types.ModuleType(_name)
        sys.modules[_name].__path__ = [str(_folder)]

import grpc
from google.protobuf import empty_pb2, json_format
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

from toolchain.program_environment import Environment, OptionError

RUNNER = Path(__file__).with_name("program_runner.py")

#: The runner's exit code when it has already reported the error to the engine.
REPORTED = 32

#: Seconds a program has to end after Ctrl-C before it is killed.
GRACE = 5.0

#: The engine's own limit; gRPC's default of 4 MiB is too small for a large configuration.
SIZE_LIMIT = ("grpc.max_receive_message_length", 400 << 20)


def plugin_of(
    description: dict[str, Any], version: str
) -> language_pb2.GetRequiredPackagesResponse:
    """The plugin that a package's pulumi-plugin.json describes; empty if it needs none.

    Args:
        description: the parsed file.
        version: of the Python package; used if the file names none.
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
                continue  # reading every package's file list would take too long
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
        # On standard input, not in the environment: the configuration has secrets, which every
        # process that the program starts would inherit, and a variable has at most 128 KiB.
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

        Unlike Pulumi's own host, this one does not pass it the stack's config.
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
        """Start a process, and interrupt it if the call ends first.

        Args:
            command: program and arguments.
            context: of the call; aborted if the host was cancelled before.
            options: of Popen.
        """
        with self._lock:
            if self._cancelled:
                context.abort(grpc.StatusCode.CANCELLED, "cancelled before it was started")
            process = subprocess.Popen(command, **options)
            self._programs.add(process)
        # Also called at the normal end of the call, when there is nothing to stop.
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
        """End all running programs, and start no more."""
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
    """A process's output, line by line as it comes, until both streams are closed."""
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
    """Interrupt a program, and kill it if it does not end within `GRACE` seconds."""
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
    """Serve until a signal comes, or until the process that started this one is gone.

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
            break  # a killed engine sends no signal
    host.stop_programs()
    server.stop(GRACE).wait()


def main() -> None:
    """Entry point: the engine passes its address as the last argument."""
    parser = argparse.ArgumentParser(prog="pulumi-language-python", description=__doc__)
    parser.add_argument("--tracing", help="accepted, because the engine passes it; ignored")
    parser.add_argument("engine", nargs="?", default="", help="host:port of the engine")
    serve(parser.parse_args().engine, os.getppid())


if __name__ == "__main__":
    main()
