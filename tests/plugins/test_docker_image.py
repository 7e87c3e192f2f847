"""Images, built, pushed and kept as by the official plugin, with a real engine and registry."""

from __future__ import annotations

import base64
import ctypes
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from plugins.values import UNKNOWN, Secret, reveal
from tests.plugins.docker_tools import (
    IMAGE,
    TINY_DOCKERFILE,
    debian_tool,
    server,
)
from tests.plugins.plugin_driver import (
    CheckError,
    Plugin,
    PluginError,
    Resource,
    changed,
    running,
    wait_until,
)
from tests.ports import free_port

pytestmark = pytest.mark.engine

#: Seconds until the engine begins a build, while it builds whole images.
BUSY = 300


def declared(name: str, context: Path, **changes: Any) -> dict[str, Any]:
    """Return an image's inputs; `build_…` changes go into `build`."""
    build = {
        key.removeprefix("build_"): changes.pop(key) for key in list(changes) if "build_" in key
    }
    return {
        "imageName": f"{name}:1",
        "skipPush": True,
        "build": {"context": str(context), **build},
        **changes,
    }


class TestLife:
    def test_built_and_kept(self, docker: Plugin, engine: Any, name: str, context: Path) -> None:
        made = docker.create(IMAGE, declared(name, context, build_platform="linux/amd64"))
        digest = made.outputs["repoDigest"]
        assert made.id == f"{name}:1"
        assert digest == engine.inspect_image(f"{name}:1")["Id"]
        assert made.outputs == {
            "imageName": f"{name}:1",
            "baseImageName": f"{name}:1",
            "context": str(context),
            "dockerfile": "Dockerfile",
            "platform": "linux/amd64",
            "registryServer": "",
            "repoDigest": digest,
            "__inputs": Secret(made.inputs),
        }
        assert (
            changed(docker.diff(made, declared(name, context, build_platform="linux/amd64"))) == {}
        )
        docker.delete(made)
        assert engine.inspect_image(f"{name}:1")["Id"] == digest

    def test_a_change_rebuilds_it_under_the_same_name(
        self, docker: Plugin, engine: Any, name: str, context: Path
    ) -> None:
        made = docker.create(IMAGE, declared(name, context))
        (context / "more").write_text("more")
        (context / "Dockerfile").write_text(TINY_DOCKERFILE + "COPY more /more\n")
        answer = docker.diff(made, declared(name, context))
        assert (changed(answer), list(answer.replaces)) == ({"build": "UPDATE"}, [])
        updated = docker.update(made, declared(name, context))
        assert updated.id == made.id
        assert updated.outputs["repoDigest"] != made.outputs["repoDigest"]
        assert engine.inspect_image(f"{name}:1")["Id"] == updated.outputs["repoDigest"]

    def test_a_removed_image_goes_unnoticed(
        self, docker: Plugin, engine: Any, name: str, context: Path
    ) -> None:
        made = docker.create(IMAGE, declared(name, context))
        engine.remove_image(f"{name}:1")
        assert docker.read(made) == made

    def test_an_import_is_refused(self, docker: Plugin) -> None:
        with pytest.raises(PluginError, match="cannot be imported"):
            docker.read(Resource(IMAGE, "it", "some:1", {}, {}))


class TestDiff:
    @pytest.mark.parametrize(
        ("change", "difference"),
        [
            ({"build_args": {"A": "1"}}, {"build": "UPDATE"}),
            ({"build_target": "x"}, {"build": "UPDATE"}),
            ({"build_platform": "linux/s390x"}, {"build": "UPDATE"}),
            ({"imageName": "other:1"}, {"imageName": "UPDATE"}),
            ({"skipPush": False, "imageName": "r:5000/x:1"}, "imageName skipPush"),
            ({"registry": {"server": "x"}}, {"registry": "ADD"}),
            ({"buildOnPreview": True}, {"buildOnPreview": "UPDATE"}),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
    )
    def test_what_is_a_change(
        self, docker: Plugin, name: str, context: Path, change: Any, difference: Any
    ) -> None:
        old = state(docker, declared(name, context))
        answer = docker.diff(old, declared(name, context, **change))
        if isinstance(difference, str):
            difference = dict.fromkeys(difference.split(), "UPDATE")
        assert changed(answer) == difference
        assert not answer.replaces

    def test_other_credentials_are_no_change(
        self, docker: Plugin, name: str, context: Path
    ) -> None:
        def with_login(user: str, password: str) -> dict[str, Any]:
            return declared(
                name,
                context,
                registry={"server": "r", "username": user, "password": Secret(password)},
            )

        old = state(docker, with_login("a", "b"))
        assert changed(docker.diff(old, with_login("c", "d"))) == {}


def state(docker: Plugin, inputs: dict[str, Any]) -> Resource:
    """Return an image's stored state without building it."""
    checked = docker.check(IMAGE, inputs)
    outputs = {"imageName": checked["imageName"], "repoDigest": "sha256:x"}
    return Resource(
        IMAGE, "it", checked["imageName"], checked, {**outputs, "__inputs": Secret(checked)}
    )


class TestCheck:
    def test_what_is_filled_in(self, docker: Plugin, name: str, context: Path) -> None:
        build = docker.check(IMAGE, declared(name, context))["build"]
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(
            os.uname().machine, os.uname().machine
        )
        assert build["dockerfile"] == f"{context}/Dockerfile"
        assert build["platform"] == f"linux/{machine}"
        assert len(build["contextDigest"]) == 64

    def test_a_dockerfile_relative_to_the_context_is_refused_with_the_fix(
        self, docker: Plugin, name: str, context: Path
    ) -> None:
        (context / "special").write_text("FROM scratch\n")
        with pytest.raises(CheckError, match=f"did you mean '{context}/special'"):
            docker.check(IMAGE, declared(name, context, build_dockerfile="special"))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                {"build_context": "/nowhere"},
                "build.context is '/nowhere', which is not a directory",
            ),
            ({"build_dockerfile": "/nowhere"}, "build.dockerfile is '/nowhere', which is no file"),
            ({"build_builderVersion": "X"}, "build.builderVersion must be one of BuilderV1"),
            ({"build_secrets": {}}, "build.secrets is not a property"),
            ({"skipPush": False}, "must name the registry, such as 'docker.io/library/"),
            ({"build_cacheFrom": {"images": ["x"]}}, "must name the registry"),
            ({"build_cacheFrom": {}}, "build.cacheFrom.images is required"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_what_is_refused(
        self, docker: Plugin, name: str, context: Path, change: Any, message: str
    ) -> None:
        with pytest.raises(CheckError) as refusal:
            docker.check(IMAGE, declared(name, context, **change))
        assert message in str(refusal.value)

    def test_unknown_values_are_left_alone(self, docker: Plugin, name: str) -> None:
        inputs = declared(name, Path("x"), build_context=UNKNOWN)
        assert "contextDigest" not in docker.check(IMAGE, inputs)["build"]
        assert docker.check(IMAGE, {**inputs, "build": UNKNOWN})["build"] is UNKNOWN


class TestPreview:
    def test_a_preview_does_not_build(
        self, docker: Plugin, engine: Any, name: str, context: Path
    ) -> None:
        made = docker.create(IMAGE, declared(name, context), preview=True)
        assert made.outputs["repoDigest"] is UNKNOWN
        assert not engine.images(name)

    def test_the_digest_of_a_changed_image_is_unknown(
        self, docker: Plugin, name: str, context: Path
    ) -> None:
        old = state(docker, declared(name, context))
        planned = docker.update(old, declared(name, context, build_args={"A": "1"}), preview=True)
        assert planned.outputs["repoDigest"] is UNKNOWN
        assert planned.outputs["imageName"] == f"{name}:1"

    def test_build_on_preview_builds_and_knows_the_digest(
        self, docker: Plugin, engine: Any, name: str, context: Path
    ) -> None:
        made = docker.create(IMAGE, declared(name, context, buildOnPreview=True), preview=True)
        assert made.outputs["repoDigest"] == engine.inspect_image(f"{name}:1")["Id"]

    def test_build_on_preview_waits_for_what_is_unknown(
        self, docker: Plugin, engine: Any, name: str, context: Path
    ) -> None:
        inputs = declared(name, context, buildOnPreview=True, build_args={"A": UNKNOWN})
        made = docker.create(IMAGE, inputs, preview=True)
        assert made.outputs["repoDigest"] is UNKNOWN
        assert any("is not built in this preview" in message for message in docker.messages())


class TestBuild:
    """What the builder gets, with BuildKit and with the older builder."""

    @pytest.fixture(params=["BuilderBuildKit", "BuilderV1"])
    def builder(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    def test_arguments_target_and_hosts(
        self, docker: Plugin, engine: Any, name: str, context: Path, builder: str
    ) -> None:
        (context / "Dockerfile").write_text(
            TINY_DOCKERFILE.replace("FROM scratch", "FROM scratch AS base")
            + "FROM base AS wanted\nARG WHO=nobody\n"
            "RUN grep buildhost /etc/hosts && echo $WHO > /who\n"
            "FROM base\nRUN false\n"
        )
        docker.create(
            IMAGE,
            declared(
                name,
                context,
                build_builderVersion=builder,
                build_args={"WHO": "me"},
                build_target="wanted",
                build_addHosts=["buildhost:10.1.2.3"],
            ),
        )
        assert run(engine, f"{name}:1", "cat /who") == "me\n"

    def test_a_failing_build_says_which_step_and_its_last_lines(
        self, docker: Plugin, name: str, context: Path, builder: str
    ) -> None:
        (context / "Dockerfile").write_text(
            TINY_DOCKERFILE + "RUN echo first; echo 'cannot find libz'; exit 7\n"
        )
        with pytest.raises(PluginError) as failure:
            docker.create(IMAGE, declared(name, context, build_builderVersion=builder))
        message = str(failure.value)
        assert message.startswith(f"cannot build {name}:1: the step ")
        assert "RUN echo first" in message
        assert "7" in message.partition("Its last lines")[0]
        assert message.rstrip().endswith("cannot find libz")
        assert "Traceback" not in message

    def test_an_unreadable_dockerfile_is_named(
        self, docker: Plugin, name: str, context: Path, builder: str
    ) -> None:
        (context / "Dockerfile").write_text("FORM scratch\n")
        with pytest.raises(PluginError, match="unknown instruction: FORM"):
            docker.create(IMAGE, declared(name, context, build_builderVersion=builder))

    def test_progress_is_shown_while_it_builds(
        self, docker: Plugin, name: str, context: Path, builder: str
    ) -> None:
        word = f"working-{name}-{builder}"
        (context / "Dockerfile").write_text(
            f"{TINY_DOCKERFILE}RUN echo {word}; sleep 2\nRUN sleep 1\n"
        )
        done = threading.Event()

        def build() -> None:
            docker.create(IMAGE, declared(name, context, build_builderVersion=builder))
            done.set()

        worker = threading.Thread(target=build)
        worker.start()
        wait_until(lambda: word in "\n".join(docker.messages()), 60)
        assert not done.is_set()
        worker.join()
        line = next(log for log in docker.logs if word in log.message)
        assert line.ephemeral
        assert line.urn.endswith("Image::it")

    def test_a_secret_argument_is_never_shown(
        self, docker: Plugin, name: str, context: Path
    ) -> None:
        secret = "correct-horse-battery"
        (context / "Dockerfile").write_text(f"{TINY_DOCKERFILE}ARG KEY\nRUN echo $KEY; exit 1\n")
        with pytest.raises(PluginError) as failure:
            docker.create(IMAGE, declared(name, context, build_args={"KEY": Secret(secret)}))
        assert secret not in str(failure.value)
        assert secret not in "\n".join(docker.messages())

    def test_the_dockerfile_may_lie_outside_of_the_context(
        self, docker: Plugin, engine: Any, name: str, context: Path, tmp_path: Path
    ) -> None:
        outside = tmp_path / "Special"
        outside.write_text(TINY_DOCKERFILE + "COPY . /all\n")
        (context / ".dockerignore").write_text("Dockerfile\n")
        made = docker.create(IMAGE, declared(name, context, build_dockerfile=str(outside)))
        assert made.outputs["dockerfile"] == "../Special"
        assert "Dockerfile\n" not in run(engine, f"{name}:1", "ls /all")

    def test_cancelling_ends_the_build(self, engine: Any, name: str, context: Path) -> None:
        mark = f"sleep 61.{int(name[-4:], 16)}"
        (context / "Dockerfile").write_text(f"{TINY_DOCKERFILE}RUN echo begun {name}; {mark}\n")
        with running("plugins.docker", {}) as plugin:
            failures: list[str] = []

            def build() -> None:
                try:
                    plugin.create(IMAGE, declared(name, context))
                except PluginError as error:
                    failures.append(str(error))

            worker = threading.Thread(target=build)
            worker.start()
            wait_until(lambda: f"begun {name}" in "\n".join(plugin.messages()), BUSY)
            before = time.monotonic()
            plugin.cancel()
            worker.join(30)
            assert failures == ["cancelled"]
            assert time.monotonic() - before < 10
        wait_until(lambda: mark not in processes())
        assert not engine.images(name)

    def test_a_plugin_killed_while_it_builds_leaves_no_file(
        self, engine: Any, name: str, context: Path, short_folder: Path
    ) -> None:
        assert engine
        mark = f"sleep 61.{int(name[-4:], 16)}"
        (context / "Dockerfile").write_text(f"{TINY_DOCKERFILE}RUN echo begun {name}; {mark}\n")
        # In a folder of its own with a short name: the path of a socket may have 107 characters.
        temporary = short_folder
        with running("plugins.docker", {}, {"TMPDIR": str(temporary)}) as plugin:

            def build() -> None:
                with pytest.raises(PluginError):
                    plugin.create(IMAGE, declared(name, context))

            worker = threading.Thread(target=build)
            worker.start()
            wait_until(lambda: f"begun {name}" in "\n".join(plugin.messages()), BUSY)
            assert list(temporary.rglob("*")) == []
            plugin.process.kill()
            worker.join(30)
        assert list(temporary.rglob("*")) == []
        wait_until(lambda: mark not in processes())


def processes() -> str:
    """Return the command lines of all processes of this machine."""
    lines = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            lines.append((folder / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue  # it has ended
    return "\n".join(lines)


def run(engine: Any, image: str, command: str) -> str:
    """Return the output of a command in a container of the image."""
    made = engine.create_container(image, ["sh", "-c", command])
    try:
        engine.start(made)
        assert engine.wait(made)["StatusCode"] == 0
        return str(engine.logs(made).decode())
    finally:
        engine.remove_container(made, force=True)


@dataclass
class Registry:
    """A registry on loopback that requires a login."""

    host: str
    username: str = "pusher"
    password: str = "pushes-things"

    @property
    def login(self) -> dict[str, Any]:
        return {
            "server": self.host,
            "username": self.username,
            "password": Secret(self.password),
        }


@pytest.fixture(scope="module")
def registry(engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    program = debian_tool("docker-registry", "usr/bin/docker-registry")
    folder = tmp_path_factory.mktemp("registry")
    port = free_port()
    found = Registry(f"localhost:{port}")
    (folder / "users").write_text(f"{found.username}:{bcrypt(found.password)}\n")
    (folder / "config.yml").write_text(
        "version: 0.1\n"
        f"http: {{addr: 127.0.0.1:{port}}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"auth: {{htpasswd: {{realm: tests, path: {folder}/users}}}}\n"
    )
    with server(
        [program, "serve", folder / "config.yml"], port, env={"OTEL_TRACES_EXPORTER": "none"}
    ):
        yield found


def bcrypt(password: str) -> str:
    """Return a password's hash, of the only kind that the registry accepts."""
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    return str(library.crypt(password.encode(), b"$2b$05$abcdefghijklmnopqrstuu").decode())


class TestRegistry:
    def test_a_push_gives_the_registrys_digest(
        self, docker: Plugin, engine: Any, name: str, context: Path, registry: Registry
    ) -> None:
        full = f"{registry.host}/{name}:1"
        inputs = declared(name, context, imageName=full, skipPush=False, registry=registry.login)
        made = docker.create(IMAGE, inputs)
        digest = made.outputs["repoDigest"]
        assert digest.startswith(f"{registry.host}/{name}@sha256:")
        assert digest in engine.inspect_image(full)["RepoDigests"]
        assert made.outputs["registryServer"] == registry.host
        assert registry.password not in json.dumps(reveal(made.outputs["repoDigest"]))
        # It can be run by that digest, from the registry.
        engine.remove_image(full, force=True)
        engine.pull(
            digest, auth_config={"username": registry.username, "password": registry.password}
        )

    def test_a_wrong_password_is_one_message(
        self, docker: Plugin, name: str, context: Path, registry: Registry
    ) -> None:
        login = {**registry.login, "password": Secret("of-another-one")}
        full = f"{registry.host}/{name}:1"
        inputs = declared(name, context, imageName=full, skipPush=False, registry=login)
        with pytest.raises(PluginError) as failure:
            docker.create(IMAGE, inputs)
        assert str(failure.value).startswith(
            f"cannot push {full}: the registry {registry.host} refused it"
        )
        assert "of-another-one" not in str(failure.value)

    def test_the_logins_of_this_user_are_used(
        self, engine: Any, name: str, context: Path, registry: Registry, tmp_path: Path
    ) -> None:
        token = base64.b64encode(f"{registry.username}:{registry.password}".encode()).decode()
        config = {"auths": {registry.host: {"auth": token}}}
        (tmp_path / "config.json").write_text(json.dumps(config))
        full = f"{registry.host}/{name}:1"
        with running("plugins.docker", {}, {"DOCKER_CONFIG": str(tmp_path)}) as plugin:
            pushed = plugin.create(IMAGE, declared(name, context, imageName=full, skipPush=False))
            # BuildKit also uses them: it asks for them while it builds.
            engine.remove_image(full, force=True)
            (context / "Dockerfile").write_text(f"FROM {full}\nRUN echo on top > /top\n")
            plugin.create(IMAGE, declared(f"{name}-b", context))
        assert pushed.outputs["repoDigest"].startswith(f"{registry.host}/{name}@sha256:")
        assert run(engine, f"{name}-b:1", "cat /top") == "on top\n"

    def test_a_private_base_image_is_named(
        self, docker: Plugin, name: str, context: Path, registry: Registry
    ) -> None:
        (context / "Dockerfile").write_text(f"FROM {registry.host}/{name}:secret\n")
        with pytest.raises(PluginError) as failure:
            docker.create(IMAGE, declared(name, context))
        assert f"{registry.host}/{name}:secret" in str(failure.value)

    def test_a_missing_cache_is_no_error(
        self, docker: Plugin, engine: Any, name: str, context: Path, registry: Registry
    ) -> None:
        full = f"{registry.host}/{name}:1"
        inputs = declared(
            name,
            context,
            imageName=full,
            registry=registry.login,
            build_cacheFrom={"images": [full]},
        )
        docker.create(IMAGE, inputs)
        assert engine.inspect_image(full)
        assert any(f"cacheFrom: {full} is not available" in m for m in docker.messages())
