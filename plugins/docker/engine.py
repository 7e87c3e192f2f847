"""Connections to an engine (unix socket, tcp, TLS, ssh), and its errors in plain words."""

from __future__ import annotations

import json
import os
import shlex
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.parse import SplitResult, urlencode, urlsplit

import requests.adapters
import requests.exceptions
import urllib3
import urllib3.connection
from docker import APIClient
from docker.errors import APIError, DockerException

from plugins.calls import Call, Cancelled, ResourceError
from plugins.docker.errors import explain, innermost, message_of
from plugins.docker.material import Tls, TlsFiles, TlsMaterial, Unreachable
from plugins.values import Properties

DEFAULT_HOST = "unix:///var/run/docker.sock"
#: Docker Desktop's socket if it runs without administrator rights.
USER_SOCKETS = ("~/.docker/run/docker.sock", "~/.docker/desktop/docker.sock")
#: The newest API version of the official plugin's client (docker/docker 28.5). A newer one could
#: answer with fields that this plugin would handle differently.
NEWEST_API = (1, 51)
CONNECT_SECONDS = 30
#: Seconds. Replaces docker-py's limit of a minute, which would end a slow stop or a large upload.
#: Whatever waits has its own limit.
LONGEST_CALL = 24 * 3600

#: Exceptions for a lost connection; which one depends on the layer that notices first.
CONNECTION_ERRORS = (OSError, HTTPException, requests.exceptions.RequestException)


@dataclass
class Engine:
    """One engine. Connects at the first use; can be used from several threads."""

    host: str
    tls: Tls | None = None
    ssh_options: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.address: SplitResult = urlsplit(self.host)
        if self.address.scheme not in ("unix", "tcp", "http", "https", "ssh"):
            raise Unreachable(
                f"docker:host is {self.host!r}: it must start with unix://, tcp:// or ssh://. "
                "Set it with: pulumi config set docker:host unix:///var/run/docker.sock"
            )
        self._lock = threading.Lock()
        self._client: Any = None

    @property
    def client(self) -> Any:
        """The engine's API, an `APIClient`; connects on first use. Raises Unreachable."""
        # Any: the stubs of docker-py type it in part only.
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _connect(self) -> APIClient:
        # docker-py needs paramiko for ssh and reads TLS files from its own settings. So it gets our
        # transport, which is the same for all kinds of addresses.
        try:
            found = self._client_of_version("1.24").version(api_version=False)["ApiVersion"]
        except (*CONNECTION_ERRORS, DockerException, KeyError) as problem:
            raise Unreachable(
                f"cannot reach the engine at {self.host}: {self._reason(problem)}"
            ) from None
        major, minor = (int(part) for part in found.split("."))
        version = min((major, minor), NEWEST_API)
        return self._client_of_version(f"{version[0]}.{version[1]}")

    def _client_of_version(self, version: str) -> APIClient:
        client = APIClient("unix:///dev/null", version=version, timeout=LONGEST_CALL)
        client.mount("http+docker://", _Adapter(self))
        return client

    def _reason(self, problem: Exception) -> str:
        if self.address.scheme == "ssh":
            # ssh knows the reason; the connection that ended does not.
            probe = subprocess.run(
                self._ssh("true"),
                check=False,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
            errors = probe.stderr.strip().splitlines()
            if probe.returncode and errors:
                return errors[-1]
        return innermost(problem)

    def _ssh(self, *command: str) -> list[str]:
        """Return the command line that runs a command on the host of an `ssh://` engine."""
        user = ["-l", self.address.username] if self.address.username else []
        port = ["-p", str(self.address.port)] if self.address.port else []
        host = self.address.hostname or ""
        # BatchMode: nobody can answer a plugin's questions. ConnectTimeout 30 and no terminal, as
        # in docker/cli. The operator's options come first: ssh uses the first value.
        fixed = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}", "-T"]
        return ["ssh", *self.ssh_options, *fixed, *user, *port, "--", host, *command]

    def dial(self) -> socket.socket:
        """Open a connection to the engine."""
        if self.address.scheme == "unix":
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(self.address.path)
            return connection
        if self.address.scheme == "ssh":
            ours, theirs = socket.socketpair()
            place = self.address.path.strip("/")
            remote = ["docker", *(["--host", f"unix:///{place}"] if place else [])]
            with theirs:
                end = theirs.fileno()
                # Ends when our end is closed. `_reason` gets its errors later: on a working
                # connection, standard error has only banners.
                subprocess.Popen(
                    self._ssh(*remote, "system", "dial-stdio"),
                    stdin=end,
                    stdout=end,
                    stderr=subprocess.DEVNULL,
                    # Pulumi's engine forwards Ctrl-C to the plugin, which ends a build cleanly.
                    start_new_session=True,
                )
            return ours
        host = self.address.hostname or ""
        secure = self.tls is not None or self.address.scheme == "https"
        port = self.address.port or (2376 if secure else 2375)
        plain = socket.create_connection((host, port), timeout=CONNECT_SECONDS)
        plain.settimeout(None)
        if not secure:
            return plain
        context = self.tls.context() if self.tls else ssl.create_default_context()
        return context.wrap_socket(plain, server_hostname=host)

    def stream(
        self,
        call: Call,
        path: str,
        query: Mapping[str, Any],
        body: IO[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """POST, and yield the JSON messages that the engine sends while it works.

        Raises Cancelled as soon as the operation must end: the engine stops the work when the
        connection is closed.
        """
        target = f"/v{self.client.api_version}{path}?{urlencode(query, doseq=True)}"
        connection = HTTPConnection("docker")
        wire = connection.sock = self.dial()

        def stop() -> None:
            wire.shutdown(socket.SHUT_RDWR)

        try:
            with call.on_cancel(stop):
                connection.request("POST", target, body, dict(headers or {}))
                response = connection.getresponse()
                if response.status >= 400:
                    raise APIError(message_of(response.read()))
                for line in response:
                    if line.strip():
                        yield json.loads(line)
        except CONNECTION_ERRORS:
            if call.cancelled:
                raise Cancelled from None
            raise
        finally:
            connection.close()
            wire.close()
        if call.cancelled:
            raise Cancelled

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Any:
        """POST a body as JSON, for calls or settings that docker-py lacks; return the answer."""
        return self._answer("POST", path, json=body, headers=headers)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Any:
        """GET, for calls or headers that docker-py lacks; return the answer."""
        return self._answer("GET", path, headers=headers)

    def _answer(self, method: str, path: str, **more: Any) -> Any:
        client = self.client
        url = f"{client.base_url}/v{client.api_version}{path}"
        answer = client.request(method, url, **more)
        if answer.status_code >= 400:
            raise APIError(message_of(answer.content), answer, message_of(answer.content))
        return answer.json() if answer.content else None

    @contextmanager
    def explained(self, doing: str) -> Iterator[None]:
        """Turn errors of the engine or the connection into one message for the operator."""
        try:
            yield
        except APIError as error:
            raise ResourceError(f"cannot {doing}: {explain(error, self)}") from None
        except CONNECTION_ERRORS as error:
            raise ResourceError(
                f"cannot {doing}: the connection to the engine at {self.host} was lost "
                f"({innermost(error)})"
            ) from None


class _Connection(urllib3.connection.HTTPConnection):
    """An HTTP connection over the socket that `Engine.dial` opens."""

    def __init__(self, engine: Engine) -> None:
        super().__init__("docker", timeout=LONGEST_CALL)
        self._engine = engine

    def connect(self) -> None:
        self.sock = self._engine.dial()


class _Pool(urllib3.HTTPConnectionPool):
    def __init__(self, engine: Engine) -> None:
        super().__init__("docker", timeout=LONGEST_CALL, maxsize=10)
        self._engine = engine

    def _new_conn(self) -> _Connection:
        return _Connection(self._engine)


class _Adapter(requests.adapters.HTTPAdapter):
    """docker-py's transport, with connections from `Engine.dial`."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._pool = _Pool(engine)

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> _Pool:
        return self._pool

    def request_url(self, request: Any, proxies: Any) -> str:
        # Never through a proxy: `Engine.dial` connects directly.
        return str(request.path_url)


def from_config(config: Properties) -> Engine:
    """Return the engine for a provider's configuration, completed from the environment.

    The order and the variables are those of `setConfiguration` and `configureDockerClientInner` in
    provider/ of pulumi/pulumi-docker. Raises Unreachable if settings contradict each other.
    """

    def setting(name: str, variable: str) -> str:
        return str(config.get(name) or os.environ.get(variable) or "")

    host = setting("host", "DOCKER_HOST")
    material = [
        setting("caMaterial", "DOCKER_CA_MATERIAL"),
        setting("certMaterial", "DOCKER_CERT_MATERIAL"),
        setting("keyMaterial", "DOCKER_KEY_MATERIAL"),
    ]
    folder = setting("certPath", "DOCKER_CERT_PATH")
    options = config.get("sshOpts") or shlex.split(os.environ.get("DOCKER_SSH_OPTS", ""))
    tls: Tls | None = None
    if any(material):
        if not all(material):
            raise Unreachable(
                "docker:caMaterial, docker:certMaterial and docker:keyMaterial go together: "
                "set all three or none"
            )
        if folder:
            raise Unreachable(
                "docker:certPath (or DOCKER_CERT_PATH) and docker:caMaterial, docker:certMaterial, "
                "docker:keyMaterial exclude each other: set one or the other"
            )
        tls = TlsMaterial(*material)
    elif folder:
        place = Path(folder).expanduser()
        tls = TlsFiles(place / "ca.pem", place / "cert.pem", place / "key.pem")
    if host:
        return Engine(host, tls, options)
    return _default_engine(tls)


def _default_engine(tls: Tls | None) -> Engine:
    engine = Engine(DEFAULT_HOST, tls)
    if not _answers(engine):
        for path in USER_SOCKETS:
            candidate = Engine(f"unix://{Path(path).expanduser()}", tls)
            if _answers(candidate):
                return candidate
    return engine


def _answers(engine: Engine) -> bool:
    try:
        return bool(engine.client)
    except Unreachable:
        return False
