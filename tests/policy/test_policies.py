"""The policy pack: the program's own resources pass, and each dangerous change is found."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import allowed
import own_settings
import policies
import pytest
from pulumi_policy import (
    EnforcementLevel,
    PolicyResource,
    PolicyResourceOptions,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.deserialize import deserialize_properties
from pulumi_policy.policy import PolicyCustomTimeouts
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, unknown_checking_proxy
from rules import shown

from components.hub import REMOVE_NOTEBOOKS
from components.images import Images, ImagesArgs
from components.names import Names
from components.nodes import Nodes, NodesArgs
from components.settings.swarm import Swarm
from tests.components.recorder import Declared, Recording, run, run_alone
from tests.components.stack_config import read
from tests.pki import Identity, quick_key
from tests.policy.worse_containers import CONTAINERS
from tests.policy.worse_proxy import PROXY
from tests.policy.worse_resources import (
    BUILDS,
    CERTIFICATES,
    COMMANDS,
    IMAGES,
    KEYS,
    NETWORKS,
    PROVIDERS,
    VOLUMES,
)
from tests.policy.worse_services import SERVICES
from toolchain.places import ROOT

REMOTE = {"docker:host": "ssh://ops@z.example.com"}
DEMO = REMOTE | {"zhub:demoDirectory": "true"}

SEPARATE = {"zhub:separateProxy": "true"}

#: One of them with an image of its own.
PROFILES = {
    "zhub:profiles": '[{"name": "a"}, {"name": "with-r", "packages": ["r-base-dev"]}]',
}

#: Serves on all addresses, with every setting of a site.
SITE = REMOTE | {
    "zhub:hostname": "hub.example.com",
    "zhub:port": "8443",
    "zhub:ldapServer": "ldap1.example.com, ldap2.example.com",
    "zhub:ldapTls": "ldaps",
    "zhub:ldapBindDn": "uid=hub,o=example",
    "zhub:ldapBindPassword": "a password",
    "zhub:ldapSearchBase": "o=example",
    "zhub:ldapAllowedGroups": '["cn=jupyter,o=example"]',
    "zhub:engineSocket": "/run/user/1000/docker.sock",
    "zhub:registry": "registry.example.com:5000/jupyter",
    "zhub:registryUsername": "builder",
    "zhub:registryPassword": "a password",
    "zhub:subdomainHost": "hub.example.com",
    "zhub:hstsSeconds": "31536000",
    "zhub:userInternetAccess": "false",
    "zhub:notebookPackages": '["python3-numpy"]',
    "zhub:hubServices": json.dumps(
        [{"name": "class-start", "scopes": ["servers"], "token": "0123456789abcdef" * 2}]
    ),
    "zhub:hubRoles": json.dumps([{"name": "tutors", "scopes": ["servers"], "users": ["bob"]}]),
}

#: Of `on_nodes`.
NODES = SITE | PROFILES

NOW = PolicyCustomTimeouts(0, 0, 0)
OPTIONS = PolicyResourceOptions(
    protect=False,
    ignore_changes=[],
    delete_before_replace=None,
    aliases=[],
    custom_timeouts=NOW,
    additional_secret_outputs=[],
)


@pytest.fixture(autouse=True)
def config(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Policies know the settings of the demo stack, until a test calls this with others."""

    def take(settings: dict[str, str]) -> None:
        for key in own_settings.KEYS:
            if key in settings:
                monkeypatch.setitem(own_settings.CONFIG, key, settings[key])
            else:
                monkeypatch.delitem(own_settings.CONFIG, key, raising=False)

    take(DEMO)
    return take


def judged(inputs: Any) -> Any:
    """Return properties as the SDK passes them to a policy."""
    return unknown_checking_proxy(deserialize_properties(inputs))


class Reports:
    """Collects what a policy reports."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def report(self, message: str, _: str | None = None) -> None:
        self.messages.append(message)


def violations(resource: Declared, inputs: Any = None, **more: str) -> dict[str, list[str]]:
    """Return each policy's reports about a resource, with these inputs instead of its own."""
    props = judged(resource.raw if inputs is None else inputs)
    kind, name = more.get("type", resource.type), more.get("name", resource.name)
    # The mocks' URNs have no stack.
    urn = f"urn:pulumi:{more.get('stack', 'test')}::zhub::{kind}::{name}"
    args = ResourceValidationArgs(kind, props, urn, name, OPTIONS, None)
    found: dict[str, list[str]] = {}
    for policy in policies.POLICIES:
        if isinstance(policy, ResourceValidationPolicy):
            reports = Reports()
            policy.validate(args, reports.report)
            found |= {policy.name: reports.messages} if reports.messages else {}
    return found


def stack_violations(recording: Recording, **images: str) -> list[str]:
    """Return reports of the policy for the whole stack, with other images for containers."""
    resources: dict[str, PolicyResource] = {}
    for one in recording.declared:
        outputs = dict(one.outputs)
        if one.type == policies.IMAGE:
            outputs.setdefault("repoDigest", UNKNOWN_STRING_VALUE)
        if one.type == policies.CONTAINER and one.name in images:
            outputs["image"] = images[one.name]
        if one.type == policies.SERVICE and one.name in images:
            outputs = deepcopy(outputs)
            outputs["taskSpec"]["containerSpec"]["image"] = images[one.name]
        resources[one.urn] = PolicyResource(
            one.type, judged(outputs), one.urn, one.name, OPTIONS, None, None, [], {}
        )
    for one in recording.declared:
        for key, found in one.request.propertyDependencies.items():
            own = resources[one.urn].property_dependencies
            own[key] = [resources[urn] for urn in found.urns]
    reports = Reports()
    for policy in policies.POLICIES:
        if isinstance(policy, StackValidationPolicy):
            args = StackValidationArgs(list(resources.values()))
            policy.validate(args, reports.report)
    return reports.messages


def brought(folder: Path) -> dict[str, str]:
    Identity.create("hub.example.com", key=quick_key()).write(folder, "hub")
    Identity.create("ldap.example.com", key=quick_key()).write(folder, "ldap-ca")
    return {
        "zhub:tlsCertFile": str(folder / "hub.crt"),
        "zhub:tlsKeyFile": str(folder / "hub.key"),
        "zhub:ldapCaFile": str(folder / "ldap-ca.crt"),
        "zhub:extraCaFile": str(folder / "ldap-ca.crt"),
    }


@pytest.mark.parametrize("preview", [False, True])
@pytest.mark.parametrize(
    "variant",
    ["demo", "native", "site", "brought", "local", "tls", "renamed", "separate", "profiles"],
)
def test_the_programs_own_resources_pass(
    variant: str,
    *,
    preview: bool,
    config: Callable[[dict[str, str]], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = {
        "demo": DEMO,
        "native": DEMO | {"zhub:platform": "linux/amd64", "zhub:bindAddress": "127.0.0.1"},
        "site": SITE,
        "separate": SITE | SEPARATE,
        "profiles": SITE | SEPARATE | PROFILES,
        "renamed": SITE | {"zhub:prefix": "zhub-old"},
        "brought": {key: v for key, v in SITE.items() if "subdomain" not in key},
        "local": DEMO | {"docker:host": "unix:///run/user/1000/docker.sock", "zhub:port": "12161"},
        "tls": DEMO | {"docker:host": "tcp://z.example.com:2376", "docker:certPath": "certs"},
    }[variant]
    if variant == "brought":
        given |= brought(tmp_path)
    config(given)
    if variant == "renamed":
        monkeypatch.setitem(own_settings.CONFIG, policies.PREFIX, given["zhub:prefix"])
    if variant == "tls":
        for name in ("ca", "cert", "key"):
            (tmp_path / f"{name}.pem").touch()
        given["docker:certPath"] = str(tmp_path)
    recording = run(given, preview=preview)
    assert {one.urn: violations(one) for one in recording.declared} == {
        one.urn: {} for one in recording.declared
    }
    assert stack_violations(recording) == []


@cache
def recorded(*, preview: bool, separate: bool = False) -> Recording:
    return run(DEMO | SEPARATE if separate else DEMO, preview=preview)


@pytest.fixture(scope="module")
def demo() -> Recording:
    return recorded(preview=False)


@pytest.fixture(scope="module")
def separate() -> Recording:
    return recorded(preview=False, separate=True)


@cache
def on_nodes(*, preview: bool = False) -> Recording:
    """What a stack on a swarm has besides: the program itself does not declare it yet."""
    names = Names("zhub-test")

    def declare() -> None:
        settings, _ = read(NODES)
        images = Images(
            "images",
            ImagesArgs(
                names=names,
                build=settings.build,
                separate_proxy=False,
                profiles=settings.users.profiles,
            ),
        )
        Nodes(
            "nodes",
            NodesArgs(
                names=names,
                swarm=Swarm(label="zhub=servers"),
                platform=settings.build.platform,
                engine_socket="/var/run/docker.sock",
                image=images.hub,
                notebook_image=images.notebook,
                filter_image=images.filter,
                profile_images=images.profiles,
                registry=settings.build.registry,
                users=settings.users,
                logs=settings.logs,
            ),
        )

    return run_alone(declare, preview=preview)


@pytest.mark.parametrize("preview", [False, True])
def test_what_runs_on_nodes_passes(
    *, preview: bool, config: Callable[[dict[str, str]], None]
) -> None:
    config(NODES)
    recording = on_nodes(preview=preview)
    services = recording.all("Service")
    assert len(services) > 3
    assert {one.name: violations(one) for one in services} == {one.name: {} for one in services}
    assert stack_violations(recording) == []


@pytest.mark.parametrize(
    ("name", "path", "value", "message"),
    SERVICES,
    ids=[f"{name}-{path}-{number}" for number, (name, path, *_) in enumerate(SERVICES)],
)
def test_a_service_changed_for_the_worse_is_found(
    name: str, path: str, value: Any, message: str
) -> None:
    service = on_nodes().one("Service", name)
    inputs = deepcopy(service.raw)
    *parents, last = path.split(".")
    place = inputs
    for parent in parents:
        place = place[parent]
    place[last] = value
    if value is None:
        del place[last]
    # Others follow from it: of a log that goes nowhere, the options are not known either.
    found, *_ = violations(service, inputs)["services"]
    assert found.startswith(f"{name}: {message or f'{path} is {shown(value)}; allowed: not set'}")


def test_a_service_that_runs_something_else_is_found() -> None:
    other = f"sha256:{'1' * 64}"
    found = stack_violations(on_nodes(), nodeguard=other)
    assert found == [f"nodeguard: image is {shown(other)}; allowed: that of the Image hub"]


#: Containers of stacks with a separate proxy only.
OF_SEPARATE = {"hub-beside-proxy", "proxy", "front"}


ALL = {
    "Container": ("containers", [*CONTAINERS, *PROXY]),
    "Volume": ("volumes", VOLUMES),
    "Network": ("networks", NETWORKS),
    "Image": ("images", IMAGES),
    "Command": ("commands", COMMANDS),
    "PrivateKey": ("keys", KEYS),
    "SelfSignedCert": ("keys", CERTIFICATES),
    "docker": ("providers", PROVIDERS),
}
CASES = {
    (kind, policy, name): [(change, message) for other, change, message in cases if other == name]
    for kind, (policy, cases) in ALL.items()
    for name, *_ in cases
}


def expected(name: str, change: dict[str, Any], message: str) -> list[str]:
    [(key, value), *_] = change.items()
    message = message or f"{key} is {shown(value)}; allowed: not set"
    return [f"{name}: {one}" for one in message.split("\n")]


def changed(inputs: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**inputs, **change}.items() if value is not None}


@pytest.mark.parametrize(("kind", "policy", "name"), CASES)
def test_a_change_for_the_worse_is_found(
    demo: Recording, separate: Recording, kind: str, policy: str, name: str
) -> None:
    resource = (separate if name in OF_SEPARATE else demo).one(kind, name)
    for change, message in CASES[kind, policy, name]:
        found = violations(resource, changed(resource.raw, change))
        # Of other variables than the program's, some are missing.
        found.pop("own-settings", None)
        assert found == {policy: expected(name, change, message)}, change


@pytest.mark.parametrize(("name", "change", "message"), BUILDS)
def test_a_build_changed_for_the_worse_is_found(
    demo: Recording, name: str, change: dict[str, Any], message: str
) -> None:
    image = demo.one("Image", name)
    build = changed(image.raw["build"], change)
    message = "\n".join(f"build.{one}" for one in message.split("\n")) if message else ""
    prefixed = {f"build.{key}": value for key, value in change.items()}
    found = violations(image, {**image.raw, "build": build})
    assert found == {"images": expected(name, prefixed, message)}


def test_values_that_the_provider_fills_in_pass(demo: Recording) -> None:
    """Inputs as the plugins' Check returns them; the official one records what it filled in."""
    filled = {
        "containerReadRefreshTimeoutMilliseconds": 15000,
        "mustRun": True,
        "removeVolumes": True,
        "start": True,
        "__defaults": ["mustRun", "start"],
    }
    hub, network = demo.one("Container", "hub"), demo.one("Network", "hub")
    port = {**hub.raw["ports"][0], "protocol": "tcp", "__defaults": ["protocol"]}
    assert violations(hub, {**hub.raw, **filled, "ports": [port]}) == {}
    assert violations(network, {**network.raw, "ipamDriver": "default", "__defaults": []}) == {}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("Container", "tool"),
        ("Volume", "home"),
        ("Network", "bridge"),
        ("Image", "other"),
        ("Command", "other"),
        ("docker", "default_5_2_0"),
        ("Hub", "other"),
    ],
)
def test_an_additional_resource_is_found(demo: Recording, kind: str, name: str) -> None:
    resource = demo.all(kind)[0]
    [found] = violations(resource, name=name).values()
    assert found[0].startswith(f"{name}: is not one of this project's: ")


@pytest.mark.parametrize(
    "kind",
    [
        "docker:index/plugin:Plugin",
        "docker:index/remoteImage:RemoteImage",
        "docker-build:index:Image",
        "command:remote:Command",
        "command:remote:CopyToRemote",
        "pulumi-python:dynamic:Resource",
        "pulumi-nodejs:dynamic:Resource",
        "pulumi:pulumi:StackReference",
        "pulumi:providers:pulumi-python",
        "pulumi:providers:random",
        "random:index/randomPassword:RandomPassword",
        "kubernetes:core/v1:Pod",
        "terraform:index:Anything",
        "zhub:other:Other",
    ],
)
def test_a_type_that_no_policy_knows_does_not_pass(demo: Recording, kind: str) -> None:
    found = violations(demo.one("Hub", "hub"), {}, type=kind)
    assert found == {"known-types": [f"hub: no policy knows the type {kind}"]}


def test_a_component_has_no_inputs(demo: Recording) -> None:
    found = violations(demo.one("Hub", "hub"), {"x": 1})
    assert found == {"components": ["hub: x is 1; allowed: not set"]}


def test_names_of_another_stack_are_found(demo: Recording) -> None:
    for kind in ("Container", "Volume", "Network", "Command"):
        for one in demo.all(kind):
            found = violations(one, stack="other")
            assert found, one.urn


@pytest.mark.parametrize(
    ("kind", "name", "key"),
    [
        ("Container", "hub", "networkMode"),
        ("Container", "hub", "user"),
        ("Container", "hub", "privileged"),
        ("Container", "guard", "volumes"),
        ("Volume", "state", "driverOpts"),
        ("Network", "hub", "driver"),
        ("Command", "remove-notebooks", "delete"),
    ],
)
def test_unknown_values_do_not_pass(demo: Recording, kind: str, name: str, key: str) -> None:
    """The SDK would only print advice, and the preview would pass."""
    resource = demo.one(kind, name)
    [found] = violations(resource, {**resource.raw, key: UNKNOWN_STRING_VALUE}).values()
    assert f"{name}: {key} is not known before `pulumi up`" in found


def test_a_changed_script_is_read_before_it_is_allowed() -> None:
    digest = hashlib.sha256(REMOVE_NOTEBOOKS.read_bytes()).hexdigest()
    assert allowed.SCRIPTS["delete"] == digest, (
        f"{REMOVE_NOTEBOOKS.name} has changed. It runs on the machine of whoever destroys a stack:"
        f" read it again, then set SCRIPTS in policy/allowed.py to {digest}"
    )


@pytest.mark.parametrize("preview", [False, True])
@pytest.mark.parametrize("name", policies.IMAGE_OF)
def test_a_container_with_another_image_is_found(name: str, *, preview: bool) -> None:
    foreign = f"example.com/x@sha256:{'0' * 64}"
    recording = recorded(preview=preview, separate=name in OF_SEPARATE)
    found = stack_violations(recording, **{name: foreign})
    its = policies.IMAGE_OF[name]
    assert found == [f'{name}: image is "{foreign}"; allowed: that of the Image {its}']


def test_an_image_without_a_dependency_on_its_resource_is_found(demo: Recording) -> None:
    """Even with the right digest: only with a dependency does a new image replace the container."""
    hub = demo.one("Container", "hub")
    before = list(hub.request.propertyDependencies["image"].urns)
    del hub.request.propertyDependencies["image"].urns[:]
    try:
        [found] = stack_violations(demo)
    finally:
        hub.request.propertyDependencies["image"].urns.extend(before)
    assert found.startswith("hub: image is ")


@pytest.mark.parametrize("other", ["", "hub", "notebook", "filter"])
@pytest.mark.parametrize("its", ["notebook", "filter"])
def test_the_guards_images_are_the_stacks_own(demo: Recording, its: str, other: str) -> None:
    variable = f"ZHUB_{its.upper()}_IMAGE"
    image = demo.one("Image", other).outputs["repoDigest"] if other else "debian"
    envs = demo.one("Container", "guard").outputs["envs"]
    number = next(n for n, line in enumerate(envs) if line.startswith(f"{variable}="))
    before, envs[number] = envs[number], f"{variable}={image}"
    message = f'guard: {variable} is "{image}"; allowed: that of the Image {its}'
    try:
        assert stack_violations(demo) == ([message] if other != its else [])
    finally:
        envs[number] = before


@pytest.mark.parametrize("name", ["hub", "guard"])
def test_the_images_of_profiles_are_the_stacks_own(name: str) -> None:
    recording = run(DEMO | PROFILES)
    assert stack_violations(recording) == []
    envs = recording.one("Container", name).outputs["envs"]
    number = next(n for n, line in enumerate(envs) if line.startswith("ZHUB_PROFILE_IMAGES="))
    other = recording.one("Image", "hub").outputs["repoDigest"]
    for profile in ("with-r", "a"):
        envs[number] = f'ZHUB_PROFILE_IMAGES={{"{profile}": "{other}"}}'
        its = f"profile_{profile.replace('-', '_')}"
        message = f'{name}: ZHUB_PROFILE_IMAGES[{profile}] is "{other}"; allowed: that of the Image'
        assert stack_violations(recording) == [f"{message} {its}"]
        envs[number] = f'ZHUB_PROFILE_IMAGES={{"{profile}": "debian"}}'
        container = recording.one("Container", name)
        [found] = violations(container, container.raw | {"envs": envs})["containers"]
        assert "envs has ZHUB_PROFILE_IMAGES, which is " in found


def test_what_holds_the_image_of_a_profile_runs_no_other() -> None:
    recording = run(DEMO | PROFILES)
    other = recording.one("Image", "notebook").outputs["repoDigest"]
    [found] = stack_violations(recording, profileimage_with_r=other)
    assert found.endswith("allowed: that of the Image profile_with_r")


def test_a_container_in_the_network_of_another_is_found(separate: Recording) -> None:
    """Even by the id of a container of this stack, such as the guard's or a user's."""
    hub = separate.one("Container", "hub-beside-proxy")
    depends = hub.request.propertyDependencies["networkMode"]
    before = list(depends.urns)
    assert stack_violations(separate) == []
    for others in ([], [separate.one("Container", "guard").urn]):
        depends.urns[:] = others
        try:
            [found] = stack_violations(separate)
        finally:
            depends.urns[:] = before
        assert found.startswith("hub-beside-proxy: networkMode is ")
        assert found.endswith("; allowed: that of front")


def test_configuration_of_the_sites_own_is_allowed_and_named(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("c.JupyterHub.concurrent_spawn_limit = 5\n")
    recording = run(DEMO | {"zhub:hubConfigFile": str(file)})
    found = {one.name: violations(one) for one in recording.declared if violations(one)}
    [message] = found.pop("files").pop("own-configuration")
    assert found == {}
    assert message.startswith("files: hubConfigFile is set, so the hub runs a file of this stack's")
    [advice] = [one for one in policies.POLICIES if one.name == "own-configuration"]
    assert advice.enforcement_level is EnforcementLevel.ADVISORY


def without(lines: list[str], variable: str) -> list[str]:
    return [line for line in lines if not line.startswith(f"{variable}=")]


#: A variable, what a program must not say in place of the settings, and where.
OPENED = [
    ("guard", "ZHUB_USER_INTERNET", "false"),
    ("guard", "ZHUB_USER_ALLOWED_NETWORKS", '["10.0.0.0/8"]'),
    ("guard", "ZHUB_USER_ALLOWED_NETWORKS", "x"),
    ("guard", "ZHUB_USER_BLOCKED_NETWORKS", '["192.0.2.0/24"]'),
    ("hub", "ZHUB_LDAP_TLS", "none"),
    ("hub", "ZHUB_LDAP_ALLOW_EVERYONE", "true"),
    ("hub", "ZHUB_LDAP_ALLOWED_GROUPS", "[]"),
    ("hub", "ZHUB_LDAP_ADMIN_GROUPS", '["cn=jupyter,ou=groups,dc=example,dc=org"]'),
    ("hub", "ZHUB_ADMIN_USERS", '["mallory"]'),
    ("hub", "ZHUB_ADMIN_ACCESS", "true"),
    ("hub", "ZHUB_TRUSTED_PROXIES", '["10.0.0.0/8"]'),
]


@pytest.mark.parametrize(("name", "variable", "value"), OPENED)
def test_what_no_setting_opens_is_found(
    demo: Recording, separate: Recording, name: str, variable: str, value: str
) -> None:
    containers = [demo.one("Container", name)]
    if name == "hub" and variable != own_settings.PROXIES:
        containers.append(separate.one("Container", "hub-beside-proxy"))
    for one in containers:
        rest = without(one.raw["envs"], variable)
        [found] = violations(one, one.raw | {"envs": [*rest, f"{variable}={value}"]}).values()
        assert found[0].startswith(f"{one.name}: {variable} is {shown(value)}; allowed: ")
        # The image's own default is another one.
        lacking = violations(one, one.raw | {"envs": rest})
        assert lacking == {"own-settings": [f"{one.name}: lacks {variable}"]}


def test_what_a_setting_opens_passes(
    demo: Recording, config: Callable[[dict[str, str]], None]
) -> None:
    guard = demo.one("Container", "guard")
    variable = "ZHUB_USER_ALLOWED_NETWORKS"
    envs = [*without(guard.raw["envs"], variable), f'{variable}=["10.1.0.9/32"]']
    assert list(violations(guard, guard.raw | {"envs": envs})) == ["own-settings"]
    config(DEMO | {"zhub:userAllowedNetworks": '["10.1.0.9"]'})
    assert violations(guard, guard.raw | {"envs": envs}) == {}


@pytest.mark.parametrize("trusted", [["10.0.0.0/8"], None])
def test_a_proxy_trusts_whom_the_settings_name(separate: Recording, trusted: list[str]) -> None:
    proxy = separate.one("Container", "proxy")
    [text] = proxy.raw["command"]
    command = [json.dumps(json.loads(text) | {"trustedProxies": trusted})]
    [message] = violations(proxy, proxy.raw | {"command": command})["own-settings"]
    assert message.startswith("proxy: trustedProxies is ")


def test_every_policy_is_shown_to_find_something() -> None:
    """A new policy needs a test of its own."""
    elsewhere = {"known-types", "own-images", "own-network", "own-configuration", "components"}
    elsewhere |= {"services", "own-settings"}
    shown = {policy for _, policy, *_ in CASES} | elsewhere
    assert {policy.name for policy in policies.POLICIES} == shown


def test_the_page_on_security_says_what_each_policy_allows() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    [table] = re.findall(r"\| policy \| allows \|\n((?:\|.*\n)+)", page)
    named = re.findall("`([a-z-]+)`", "".join(row.split("|")[1] for row in table.splitlines()))
    assert sorted(named) == sorted(policy.name for policy in policies.POLICIES)
