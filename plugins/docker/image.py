"""docker:index/image:Image, an image that the engine builds and, if asked to, pushes."""

from __future__ import annotations

import json
import platform
import posixpath
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

from docker.errors import APIError
from docker.utils import parse_repository_tag

from plugins.calls import Call, CheckCall, Created, ResourceError
from plugins.docker import buildkit, context
from plugins.docker.engine import CONNECTION_ERRORS, Engine
from plugins.docker.registries import Account, full_name
from plugins.properties import Object, Property
from plugins.property_types import BOOLEAN, STRING, Change, Failure, ListOf, MapOf, one_of
from plugins.resource import Resource
from plugins.values import UNKNOWN, Properties, Secret, has_unknown

#: Docker's names of processors that Python calls by another name.
PROCESSORS = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}

BUILD = Object(
    "docker:index/dockerBuild:DockerBuild",
    (
        Property("context", STRING),
        Property("dockerfile", STRING),
        Property("contextDigest", STRING, derived=True),
        Property("args", MapOf(STRING)),
        Property("target", STRING),
        Property("platform", STRING),
        Property("builderVersion", one_of("BuilderV1", "BuilderBuildKit")),
        Property(
            "cacheFrom",
            Object(
                "docker:index/cacheFrom:CacheFrom",
                (Property("images", ListOf(STRING), required=True),),
            ),
        ),
        Property("addHosts", ListOf(STRING)),
        Property("network", STRING),
    ),
)
REGISTRY = Object(
    "docker:index/registry:Registry",
    (
        Property("server", STRING),
        Property("username", STRING),
        Property("password", STRING, secret=True),
    ),
)


class Image(Resource):
    """An image. A change rebuilds it under the same name; nothing is replaced or removed."""

    token = "docker:index/image:Image"
    properties: ClassVar = (
        Property("imageName", STRING, required=True),
        Property("build", BUILD),
        Property("registry", REGISTRY),
        Property("skipPush", BOOLEAN),
        Property("buildOnPreview", BOOLEAN, default=False),
        Property("baseImageName", STRING, output=True, stable=False),
        Property("context", STRING, output=True, stable=False),
        Property("dockerfile", STRING, output=True, stable=False),
        Property("platform", STRING, output=True, stable=False),
        Property("registryServer", STRING, output=True, stable=False),
        Property("repoDigest", STRING, output=True, stable=False),
    )

    def check(self, inputs: Properties, old: Properties, call: CheckCall) -> list[Failure]:
        build = inputs.setdefault("build", {})
        if build is UNKNOWN:
            return []
        failures = [*_complete(build), *_name_failures(inputs)]
        if "platform" not in build:
            build["platform"] = "linux/" + PROCESSORS.get(platform.machine(), platform.machine())
            call.info(
                f"Building for {build['platform']}, the platform of this machine. "
                "Set `platform` in `build` to say so, or to build for another one."
            )
        return failures

    def diff(
        self, changes: list[Change], old: Properties, new: Properties, state: Properties
    ) -> list[Change]:
        # Credentials change often, and do not change the image.
        kinds = {
            change.property: change.kind if change.path == change.property else "update"
            for change in changes
            if change.property != "registry" or change.path in ("registry", "registry.server")
        }
        return [Change(name, kind, replaces=False) for name, kind in kinds.items()]

    def preview(self, inputs: Properties, state: Properties | None, call: Call) -> Properties:
        if inputs.get("buildOnPreview") is True:
            build = inputs.get("build", UNKNOWN)
            if not (has_unknown(build) or has_unknown(inputs["imageName"])):
                return self._made({**inputs, "skipPush": True}, inputs, call)
            call.warn(
                "The image is not built in this preview: its name, context, Dockerfile or "
                "arguments are known only after other resources have been made."
            )
        return super().preview(inputs, state, call)

    def create(self, inputs: Properties, call: Call) -> Created:
        return Created(inputs["imageName"], self._made(inputs, inputs, call))

    def read(self, id: str, state: Properties, call: Call) -> Properties | None:
        # Like the official plugin, do not notice an image that was removed from the engine.
        if not state:
            raise ResourceError(
                "an image cannot be imported: the program that declares it builds it"
            )
        return state

    def update(self, id: str, state: Properties, new: Properties, call: Call) -> Properties:
        return self._made(new, new, call)

    def delete(self, id: str, state: Properties, call: Call) -> None:
        """Keep the image: others may use it, and `docker image prune` removes unused ones."""

    def _made(self, inputs: Properties, stored: Properties, call: Call) -> Properties:
        """Build, push unless `skipPush` is set, and return the outputs."""
        engine: Engine = self.provider.engine
        name, build = inputs["imageName"], inputs["build"]
        account = Account(inputs, call)
        with engine.explained(f"build {name}"):
            _build(engine, name, build, account, call)
            if inputs.get("skipPush"):
                digest = engine.client.inspect_image(name)["Id"]
        if not inputs.get("skipPush"):
            with engine.explained(f"push {name}"):
                digest = _push(engine, name, account, call)
        return {
            "imageName": name,
            "baseImageName": name,
            "context": build["context"],
            "dockerfile": context.relative_dockerfile(build["context"], build["dockerfile"]),
            "platform": build["platform"],
            "registryServer": inputs.get("registry", {}).get("server", ""),
            "repoDigest": digest,
            # The official plugin compares the next inputs with these.
            "__inputs": Secret(stored),
        }


def _complete(build: Properties) -> Iterator[Failure]:
    """Fill in context, Dockerfile and the digest of their content, as far as known."""
    folder = build.setdefault("context", ".")
    if folder is UNKNOWN:
        return
    dockerfile = build.setdefault(
        "dockerfile", posixpath.normpath(f"{folder}/{context.DOCKERFILE}")
    )
    if dockerfile is UNKNOWN:
        return
    if not Path(folder).is_dir():
        yield Failure("build.context", f"is {folder!r}, which is not a directory here")
    elif not Path(dockerfile).is_file():
        beside = Path(folder, dockerfile)
        hint = f"; did you mean {str(beside)!r}?" if beside.is_file() else ""
        yield Failure(
            "build.dockerfile",
            f"is {dockerfile!r}, which is no file here (it is looked for from the directory the "
            f"program runs in, not from the context){hint}",
        )
    else:
        try:
            build["contextDigest"] = context.digest(folder, dockerfile)
        except context.ContextError as problem:
            yield Failure("build.context", f"is {folder!r}: {problem}")


def _name_failures(inputs: Properties) -> Iterator[Failure]:
    """Refuse a name without a registry if one is needed: for a push, or to pull a cache."""
    name = inputs["imageName"]
    pushes = inputs.get("skipPush") is not True
    cached = inputs["build"].get("cacheFrom") not in (None, UNKNOWN)
    server = inputs.get("registry") not in (None, UNKNOWN) and inputs["registry"].get("server")
    if name is UNKNOWN or server or not (pushes or cached):
        return
    if full_name(name) != name:
        yield Failure(
            "imageName",
            f"is {name!r}: for a push or cacheFrom it must name the registry, such as "
            f"{full_name(name)!r}. To keep the image on the engine only, set skipPush",
        )


def _build(engine: Engine, name: str, build: Properties, account: Account, call: Call) -> None:
    cached = build.get("cacheFrom", {}).get("images", [])
    for image in cached:
        _pull_cache(engine, image, build["platform"], account, call)
    legacy = build.get("builderVersion") == "BuilderV1"
    held = nullcontext("") if legacy else buildkit.session(engine, account.pair)
    with tempfile.TemporaryFile() as tar, held as session:
        try:
            dockerfile = context.write_tar(build["context"], build["dockerfile"], tar)
        except context.ContextError as problem:
            raise ResourceError(f"cannot build {name}: {problem}") from None
        tar.seek(0)
        query: dict[str, Any] = {
            "t": name,
            "dockerfile": dockerfile,
            "platform": build["platform"].lower(),
            "version": "1" if legacy else "2",
            "session": session,
            "target": build.get("target", ""),
            "networkmode": build.get("network", ""),
            "extrahosts": build.get("addHosts", []),
            "buildargs": json.dumps(build.get("args", {})),
            "cachefrom": json.dumps(cached),
            # Otherwise the older builder leaves a container for each step.
            "rm": "1",
            "forcerm": "1",
        }
        headers = {"Content-Type": "application/x-tar", **account.headers()}
        call.status("Starting the build")
        messages = engine.stream(call, "/build", query, tar, headers)
        progress = buildkit.OlderProgress() if legacy else buildkit.Progress()
        _follow(messages, progress, name, call)


def _follow(
    messages: Iterator[dict[str, Any]],
    progress: buildkit.Progress | buildkit.OlderProgress,
    name: str,
    call: Call,
) -> None:
    """Show a build's progress; raise ResourceError with its last lines if it fails."""
    image, shown = "", 0.0
    for message in messages:
        if "error" in message:
            raise ResourceError(f"cannot build {name}: {progress.failure(message['error'])}")
        for line in progress.lines(message):
            # A build can print thousands of lines a second: show only a few.
            if time.monotonic() - shown > 0.1:
                shown = time.monotonic()
                call.status(line.strip())
        if isinstance(message.get("aux"), dict):
            image = message["aux"].get("ID", image)
    if not image:
        raise ResourceError(f"cannot build {name}: the engine ended the build without an image")
    call.status(f"Built {image}")


def _pull_cache(engine: Engine, image: str, wanted: str, account: Account, call: Call) -> None:
    """Pull an image to reuse build steps from; a missing one is no error."""
    repository, tag = parse_repository_tag(image)
    query = {"fromImage": repository, "tag": tag or "latest", "platform": wanted}
    headers = account.header(full_name(image))
    reason = ""
    try:
        for message in engine.stream(call, "/images/create", query, headers=headers):
            reason = message.get("error", reason)
    except (APIError, *CONNECTION_ERRORS) as problem:
        reason = str(problem)
    if reason:
        call.info(f"cacheFrom: {image} is not available: {reason}")


def _push(engine: Engine, name: str, account: Account, call: Call) -> str:
    """Push and return `repository@digest`."""
    repository, tag = parse_repository_tag(name)
    digest = ""
    stream = engine.stream(
        call,
        f"/images/{repository}/push",
        {"tag": tag or "latest"},
        headers=account.header(account.server),
    )
    call.status(f"Pushing {name}")
    for message in stream:
        if "error" in message:
            raise ResourceError(
                f"cannot push {name}: {_push_error(message['error'], account.server)}"
            )
        digest = (message.get("aux") or {}).get("Digest", digest)
        if message.get("progress") or message.get("status"):
            call.status(" ".join(filter(None, (message.get("status"), message.get("progress")))))
    if not digest:
        raise ResourceError(f"cannot push {name}: the registry reported no digest")
    return f"{full_name(repository)}@{digest}"


def _push_error(message: str, server: str) -> str:
    refusals = ("unauthorized", "denied", "no basic auth credentials")
    if message == "EOF" or any(refusal in message for refusal in refusals):
        return (
            f"the registry {server} refused it ({message}). Set the credentials in the image's "
            f"`registry`, or log in on this machine: docker login {server}"
        )
    return message
