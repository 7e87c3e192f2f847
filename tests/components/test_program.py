"""What the program declares: the whole of it, run against Pulumi's mocks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components import directory
from plugins.docker.volume import Volume
from tests.components.recorder import Declared, Recording, environment, key_pem, labels, run, texts
from tests.components.stacks import DEMO, LDAP_PASSWORD, REGISTRY_PASSWORD, SITE

TOKEN = "0123456789abcdef" * 4


def objects(recording: Recording) -> Iterator[Declared]:
    """What there is on the engine, but for images."""
    for kind in ("Container", "Network", "Volume"):
        yield from recording.all(kind)


def test_the_demo_stack_consists_of_these(demo: Recording) -> None:
    found = sorted((one.type.rpartition(":")[2], one.name) for one in demo.declared)
    assert found == [
        ("Certificate", "certificate"),
        ("Certificate", "directory"),
        ("Command", "remove-notebooks"),
        ("Container", "directory"),
        ("Container", "files"),
        ("Container", "filterimage"),
        ("Container", "guard"),
        ("Container", "hub"),
        ("Container", "notebookimage"),
        ("Directory", "directory"),
        ("Guard", "guard"),
        ("Hub", "hub"),
        ("Image", "directory"),
        ("Image", "filter"),
        ("Image", "hub"),
        ("Image", "hub-latest"),
        ("Image", "notebook"),
        ("Image", "notebook-latest"),
        ("Images", "images"),
        ("Network", "directory"),
        ("Network", "hub"),
        ("PrivateKey", "certificate"),
        ("PrivateKey", "directory"),
        ("SelfSignedCert", "certificate"),
        ("SelfSignedCert", "directory"),
        ("Stack", "zhub-test"),
        ("Volume", "certs"),
        ("Volume", "guardaudit"),
        ("Volume", "guardsocket"),
        ("Volume", "state"),
        ("docker", "engine"),
    ]


def test_a_site_with_its_own_directory_and_certificate_has_no_demo(brought: dict[str, str]) -> None:
    recording = run(brought)
    containers = {one.name for one in recording.all("Container")}
    assert containers == {"hub", "files", "guard", "notebookimage", "filterimage"}
    assert [one.name for one in recording.all("PrivateKey")] == ["certificate"]
    assert not recording.all("SelfSignedCert")
    assert "demoUsers" not in recording.outputs


def test_every_docker_object_is_named_and_labelled_after_its_stack(demo: Recording) -> None:
    roles = {}
    for one in objects(demo):
        assert one.inputs["name"].startswith("zhub-test-")
        assert labels(one)["zhub.stack"] == "zhub-test"
        roles[one.inputs["name"], one.type.rpartition(":")[2]] = labels(one)["zhub.role"]
    assert roles == {
        ("zhub-test-hub", "Container"): "hub",
        ("zhub-test-directory", "Container"): "directory",
        ("zhub-test-files", "Container"): "files",
        ("zhub-test-guard", "Container"): "guard",
        ("zhub-test-notebookimage", "Container"): "notebookimage",
        ("zhub-test-filterimage", "Container"): "filterimage",
        ("zhub-test-hub", "Network"): "network",
        ("zhub-test-directory", "Network"): "network",
        ("zhub-test-certs", "Volume"): "certs",
        ("zhub-test-guardsocket", "Volume"): "guardsocket",
        ("zhub-test-audit", "Volume"): "audit",
        ("zhub-test-state", "Volume"): "state",
    }


def test_two_stacks_share_no_name(demo: Recording) -> None:
    second = run(DEMO, stack="second")
    assert {one.inputs["name"] for one in objects(demo)}.isdisjoint(
        one.inputs["name"] for one in objects(second)
    )
    clean_up = second.one("Command", "remove-notebooks").inputs
    assert clean_up["environment"]["ZHUB_PREFIX"] == "zhub-second"
    assert environment(second.one("Container", "hub"))["ZHUB_PREFIX"] == "zhub-second"


def test_all_docker_resources_go_to_the_stacks_engine(demo: Recording) -> None:
    engine = demo.one("docker", "engine")
    assert engine.inputs["host"] == DEMO["docker:host"]
    for one in [*demo.all("Image"), *objects(demo)]:
        assert one.request.provider.startswith(engine.urn)


@pytest.mark.parametrize("protect", ["true", "false"])
def test_only_the_state_is_protected_when_configured(protect: str) -> None:
    recording = run(DEMO | {"zhub:protect": protect})
    protected = {
        (one.type.rpartition(":")[2], one.name) for one in recording.declared if one.request.protect
    }
    assert protected == ({("Volume", "state")} if protect == "true" else set())


@pytest.mark.parametrize("retain", [True, False])
def test_a_destroy_leaves_database_and_audit_log_in_place_which_needs_no_protection(
    *, retain: bool
) -> None:
    recording = run(DEMO | {"zhub:protect": "true", "zhub:retain": str(retain).lower()})
    assert recording.one("Volume", "state").request.retainOnDelete is retain
    assert recording.one("Volume", "state").request.protect is not retain
    kept = [one.name for one in recording.declared if one.request.retainOnDelete]
    assert kept == (["state", "guardaudit"] if retain else [])


def test_what_would_replace_database_or_audit_log_is_ignored(demo: Recording) -> None:
    """All but their names, by which the stack's own are found."""
    (token,) = {one.type for one in demo.all("Volume")}
    assert token == Volume.token
    replacing = {row.name for row in Volume.properties if row.replaces}
    ignored = {one.name: set(one.request.ignoreChanges) for one in objects(demo)}
    assert {name: found for name, found in ignored.items() if found} == dict.fromkeys(
        ("state", "guardaudit"), replacing - {"name"}
    )


def test_names_are_free_before_what_replaces_their_holder_comes(demo: Recording) -> None:
    for one in objects(demo):
        assert one.request.deleteBeforeReplace, one.urn


def test_outputs_say_where_the_hub_is(demo: Recording) -> None:
    assert set(demo.outputs) == {
        "url",
        "basePath",
        "certificateFingerprint",
        "certificateExpires",
        "prefix",
        "notebookDigest",
        "hubDigest",
        "filterDigest",
        "directoryDigest",
        "container",
        "engine",
        "demoUsers",
        "demoRoles",
    }
    assert demo.outputs["url"]["value"] == "https://localhost:11119/zhub-test"
    assert demo.outputs["basePath"]["value"] == "/zhub-test/"
    assert demo.outputs["container"]["value"] == "zhub-test-hub"
    for image in ("notebook", "hub", "filter", "directory"):
        digest = demo.one("Image", image).outputs["repoDigest"]
        assert demo.outputs[f"{image}Digest"]["value"] == digest
    assert demo.outputs["engine"]["value"] == "ssh://ops@z.example.com"
    assert {name for name, output in demo.outputs.items() if output["secret"]} == {"demoUsers"}


def test_outputs_with_digests_are_the_images_that_the_stack_runs(tmp_path: Path) -> None:
    """`make sbom` and `make audit` take every output that ends so for an image."""
    (tmp_path / "own.py").write_text("c.A.b = 1\n")
    everything = DEMO | {
        "zhub:separateProxy": "true",
        "zhub:hubConfigFile": str(tmp_path / "own.py"),
        "zhub:profiles": '[{"name": "with-r", "packages": ["r-base-dev"]}]',
    }
    recording = run(everything)
    found = {
        name.removesuffix("Digest"): output["value"]
        for name, output in recording.outputs.items()
        if name.endswith("Digest")
    }
    assert found == {
        image.name: image.outputs["repoDigest"]
        for image in recording.all("Image")
        if not image.name.endswith("-latest")
    }


def secrets_of(config: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """What must never be seen, by what it is.

    Of an elliptic key, it is the line with most of the secret number.
    """
    if "zhub:demoDirectory" in config:
        users = directory.passwords(key_pem("directory"))
        keys = {name: key_pem(name).splitlines()[2] for name in ("certificate", "directory")}
        return keys | users
    key = (tmp_path / "hub.key").read_text().splitlines()[2]
    return {
        "registry password": REGISTRY_PASSWORD,
        "key": key,
        "LDAP": LDAP_PASSWORD,
        "token of a service": TOKEN,
    }


@pytest.mark.parametrize("variant", ["demo", "brought"])
def test_secrets_are_never_declared_in_clear(
    variant: str, brought: dict[str, str], tmp_path: Path
) -> None:
    service = {"name": "class-start", "scopes": ["read:servers"], "token": TOKEN}
    with_service = brought | {"zhub:hubServices": json.dumps([service])}
    config = DEMO if variant == "demo" else with_service
    recording = run(config)
    everything: list[Any] = [one.raw for one in recording.declared]
    plain = "\n".join(texts(everything, secret=False))
    hidden = "\n".join(texts(everything, secret=True))
    for name, secret in secrets_of(config, tmp_path).items():
        assert secret in hidden, f"{name}: not declared at all, so this test would show nothing"
        assert secret not in plain, name
    seen_by_everybody = ("command", "envs", "labels", "healthcheck", "build", "create", "delete")
    for one in recording.declared:
        for key in seen_by_everybody:
            shown = json.dumps(one.inputs.get(key))
            for name, secret in secrets_of(config, tmp_path).items():
                assert secret not in shown, f"{name} in {key} of {one.urn}"


@pytest.mark.parametrize("variant", ["demo", "brought"])
def test_components_have_no_secrets_among_their_outputs_but_the_demos_passwords(
    variant: str, brought: dict[str, str]
) -> None:
    """Nobody reads outputs of components, and the state would have each secret once more."""
    recording = run(DEMO if variant == "demo" else brought)
    components = {one.urn for one in recording.declared if one.type.startswith("zhub:")}
    assert components <= recording.registered.keys()
    secret = {
        (urn.rpartition("::")[2], name)
        for urn in components
        for name, value in recording.registered[urn].items()
        if list(texts(value, secret=True))
    }
    assert secret == ({("directory", "users")} if variant == "demo" else set())


@pytest.mark.parametrize("variant", ["demo", "site"])
def test_a_preview_knows_all_but_what_is_made_later(variant: str) -> None:
    config = {"demo": DEMO, "site": SITE}[variant]
    real, preview = run(config), run(config, preview=True)
    assert {one.urn for one in preview.declared} == {one.urn for one in real.declared}
    unknown = {name for name, output in preview.outputs.items() if not output["known"]}
    demo = {"demoUsers", "directoryDigest"} if variant == "demo" else set()
    digests = {"notebookDigest", "hubDigest", "filterDigest"}
    assert unknown == {"certificateFingerprint", "certificateExpires"} | digests | demo
    hub = preview.one("Container", "hub").inputs
    assert hub["ports"] == real.one("Container", "hub").inputs["ports"]


def test_settings_that_are_not_advised_are_warned_about(demo: Recording, site: Recording) -> None:
    one_origin, update = site.warnings
    assert one_origin.startswith("subdomainHost is not set")
    assert update.startswith(
        "separateProxy is not set, so an update of the hub ends all connections"
    )
    assert update.endswith("pulumi config set separateProxy true")
    first, one_origin, update, last = demo.warnings
    assert first.startswith("hostname is localhost")
    assert one_origin.startswith("subdomainHost is not set")
    assert update.startswith("separateProxy is not set")
    assert "pulumi config set bindAddress 127.0.0.1" in last
    apart = SITE | {"zhub:subdomainHost": "hub.example.com", "zhub:separateProxy": "true"}
    assert run(apart).warnings == []
    [warning] = run(apart | {"zhub:ldapTls": "none"}).warnings
    assert "ARE SENT TO THE DIRECTORY IN CLEAR" in warning
    [warning] = run(apart | {"zhub:hstsSeconds": "86400"}).warnings
    assert warning.startswith("hstsSeconds is set for a self-signed certificate")
    [warning] = run(apart | {"docker:host": "tcp://z.example.com:2375"}).warnings
    assert "root on the engine's machine" in warning
    [warning] = run(apart | {"zhub:ldapBindDn": "", "zhub:ldapBindPassword": ""}).warnings
    assert warning.startswith("ldapBindDn is empty")
