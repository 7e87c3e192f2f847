"""Runs the program, or one component of it, against Pulumi's mocks and records what it declares."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import json
import logging
import runpy
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from typing import Any

import pulumi
import pulumi.runtime
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.protobuf import json_format
from pulumi.runtime import resource
from pulumi.runtime.mocks import MockMonitor, MockResourceArgs, Mocks, set_mocks
from pulumi.runtime.proto.source_pb2 import StackTrace

from components.settings.deployed import READ_RESOURCES
from components.settings.entries import SETTINGS
from tests.pki import Identity, quick_key
from toolchain.places import ROOT

# Where in the program a resource is declared: no test asks, and it takes a seventh of a run.
resource._get_stack_trace = StackTrace

#: How the SDK writes a secret to the engine (sdk/go/common/resource/properties.go).
SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"


@cache
def identity(name: str) -> Identity:
    """The key and certificate that stand for those the provider would make for a resource."""
    return Identity.create(name, key=quick_key())


def key_pem(name: str) -> str:
    """The key that the PrivateKey of that name gets."""
    key = identity(name).key
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def certificate_pem(name: str) -> str:
    """The certificate that the SelfSignedCert of that name gets."""
    return identity(name).certificate.public_bytes(Encoding.PEM).decode()


@dataclass(frozen=True)
class Declared:
    """One resource as the program asked the engine for it."""

    type: str
    name: str
    urn: str
    raw: dict[str, Any]
    """Inputs as they are sent, secrets marked."""
    request: Any
    outputs: dict[str, Any]
    """What the mocks answered, secrets marked."""

    @property
    def inputs(self) -> Any:
        """Inputs with secrets in clear."""
        return unwrapped(self.raw)

    @property
    def dependencies(self) -> set[str]:
        """URNs of the resources this one waits for."""
        return set(self.request.dependencies)


class EngineMocks(Mocks):
    """Fills in what the providers compute; nothing of it is known in a preview."""

    def __init__(self, *, preview: bool, deployed: Mapping[str, Any]) -> None:
        self.preview = preview
        self.deployed = deployed

    def call(self, args: Any) -> Any:
        if args.token == READ_RESOURCES:
            return {"outputs": self.deployed}
        raise AssertionError(f"the program asks a provider for {args.token} in every preview")

    def new_resource(self, args: MockResourceArgs) -> tuple[str, dict[str, Any]]:
        if self.preview:
            return "", args.inputs
        # Of a container, as the engine's are: another one gets its network by it.
        own = hashlib.sha256(args.name.encode()).hexdigest()
        made = own if args.typ.endswith(":Container") else f"{args.name}-id"
        return made, {**args.inputs, **self.computed(args)}

    def computed(self, args: MockResourceArgs) -> dict[str, Any]:
        match args.typ:
            case "docker:index/image:Image":
                text = json.dumps(args.inputs, sort_keys=True)
                return {"repoDigest": f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"}
            case "tls:index/privateKey:PrivateKey":
                return {"privateKeyPem": {SIGNATURE: SECRET, "value": key_pem(args.name)}}
            case "tls:index/selfSignedCert:SelfSignedCert":
                return {"certPem": certificate_pem(args.name)}
            case _:
                return {}


class Recorder(MockMonitor):
    """Keeps the requests: the mocks do not get to see resource options."""

    def __init__(self, mocks: Mocks) -> None:
        super().__init__(mocks)
        self.lock = threading.Lock()
        self.declared: list[Declared] = []
        self.registered: dict[str, dict[str, Any]] = {}

    def RegisterResource(self, request: Any) -> Any:
        urn = self.make_urn(request.parent, request.type, request.name)
        raw = json_format.MessageToDict(request.object)
        answer = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        outputs = json_format.MessageToDict(answer.object)
        with self.lock:
            self.declared.append(Declared(request.type, request.name, urn, raw, request, outputs))
        return answer

    def RegisterResourceOutputs(self, request: Any) -> Any:
        with self.lock:
            self.registered[request.urn] = json_format.MessageToDict(request.outputs)
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Recording:
    """What a run of the program declared, exported and warned about."""

    declared: list[Declared]
    outputs: dict[str, Any]
    warnings: list[str]
    registered: dict[str, dict[str, Any]]
    """Outputs of components and of the stack, by URN; secrets marked."""

    def all(self, kind: str) -> list[Declared]:
        """Resources by the last part of their type, such as Container."""
        return [one for one in self.declared if one.type.rpartition(":")[2] == kind]

    def one(self, kind: str, name: str) -> Declared:
        """The resource of that kind and name; there must be exactly one."""
        [found] = [one for one in self.all(kind) if one.name == name]
        return found


class _Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def run(
    config: Mapping[str, str],
    *,
    stack: str = "test",
    preview: bool = False,
    deployed: Mapping[str, Any] | None = None,
) -> Recording:
    """Run the whole program with this config, of which what must be encrypted is.

    Args:
        config: values by full key.
        stack: its name.
        preview: whether what providers compute stays unknown.
        deployed: types and outputs of the resources in the stack's state before, by URN.

    Raises:
        pulumi.RunError: when the program refuses the config.
    """

    def program() -> None:
        runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__")

    return _isolated(program, config, stack=stack, preview=preview, deployed=deployed)


def run_alone(declare: Callable[[], object], *, preview: bool = False) -> Recording:
    """Run what declares a component or two, in a stack without config."""
    return _isolated(declare, {}, stack="test", preview=preview)


def _isolated(
    declare: Callable[[], object],
    config: Mapping[str, str],
    *,
    stack: str,
    preview: bool,
    deployed: Mapping[str, Any] | None = None,
) -> Recording:
    # The SDK keeps the root resource, with the stack's outputs, in a context variable.
    context = contextvars.copy_context()
    mocks = EngineMocks(preview=preview, deployed=deployed or {})
    # In a thread, the stack is short. The SDK reads all of it for each resource.
    with closing(asyncio.new_event_loop()) as loop, ThreadPoolExecutor(1) as thread:
        return thread.submit(context.run, _run, declare, config, mocks, stack, loop).result()


def _run(
    declare: Callable[[], object],
    config: Mapping[str, str],
    mocks: EngineMocks,
    stack: str,
    loop: asyncio.AbstractEventLoop,
) -> Recording:
    asyncio.set_event_loop(loop)  # the SDK takes that of its thread
    preview = mocks.preview
    recorder = Recorder(mocks)
    warnings = _Warnings()
    logger = logging.getLogger("tests.components.program")
    logger.handlers = [warnings]
    set_mocks(mocks, project="zhub", stack=stack, preview=preview, logger=logger, monitor=recorder)
    secret = [f"zhub:{one}" for one in SETTINGS if one.secret or one.secret_member]
    pulumi.runtime.set_all_config(dict(config), secret)
    outputs: dict[str, Any] = {}

    @pulumi.runtime.test  # type: ignore[untyped-decorator]
    def program() -> Any:
        declare()

        async def collect() -> None:
            root: Any = pulumi.runtime.get_root_resource()
            for name, value in root.outputs.items():
                output = pulumi.Output.from_input(value)
                outputs[name] = {
                    "value": await output.future(),
                    "known": await output.is_known(),
                    "secret": await output.is_secret(),
                }

        return collect()

    program()
    return Recording(recorder.declared, outputs, warnings.texts, recorder.registered)


def unwrapped(value: Any) -> Any:
    """A value without the marks of secrets."""
    if isinstance(value, dict):
        if value.get(SIGNATURE) == SECRET:
            return unwrapped(value["value"])
        return {key: unwrapped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unwrapped(item) for item in value]
    return value


def texts(value: Any, *, secret: bool) -> Iterator[str]:
    """All texts in a value that are marked as secrets, or all that are not."""
    if isinstance(value, dict):
        if value.get(SIGNATURE) == SECRET:
            if secret:
                yield from texts(unwrapped(value["value"]), secret=False)
            return
        for key, item in value.items():
            if not secret:
                yield key
            yield from texts(item, secret=secret)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item, secret=secret)
    elif isinstance(value, str) and not secret:
        yield value


def environment(container: Declared) -> dict[str, str]:
    """Variables of a container by name."""
    return dict(line.split("=", 1) for line in container.inputs["envs"])


def labels(resource: Declared) -> dict[str, str]:
    """Labels of a container, network or volume by name."""
    return {pair["label"]: pair["value"] for pair in resource.inputs["labels"]}


def uploads(container: Declared) -> dict[str, dict[str, str]]:
    """Files that are uploaded into a container, by path."""
    return {upload["file"]: upload for upload in container.inputs["uploads"]}
