"""What the program declares: the whole of it, run against Pulumi's mocks."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import shutil
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes

from components import directory
from components.settings.build import Platform
from components.settings.engine import Engine
from plugins.docker.context import digest
from tests.components.recorder import (
    Declared,
    Recording,
    certificate_pem,
    identity,
    key_pem,
    run,
    texts,
)
from tests.pki import Identity
from toolchain.places import ROOT

REGISTRY_PASSWORD = "correct horse battery staple"
LDAP_PASSWORD = "grün & blau"

#: With an engine elsewhere: nothing on this machine is looked at.
REMOTE = {"docker:host": "ssh://ops@z.example.com"}
DEMO = REMOTE | {"zhub:demoDirectory": "true", "zhub:protect": "false"}
SITE = REMOTE | {
    "zhub:hostname": "hub.example.com",
    "zhub:ldapServer": "ldap1.example.com, ldap2.example.com",
    "zhub:ldapTls": "ldaps",
    "zhub:ldapBindDn": "racfid=HUB,profiletype=user,o=example",
    "zhub:ldapBindPassword": LDAP_PASSWORD,
    "zhub:ldapDnTemplates": '["racfid={username},profiletype=user,o=example"]',
    "zhub:ldapAdminGroups": '["cn=admins,o=example"]',
    "zhub:ldapAllowedGroups": '["cn=jupyter,o=example"]',
    "zhub:adminUsers": '["JDOE"]',
    "zhub:userMemory": "4G",
    "zhub:hubMemory": "512M",
}


@pytest.fixture(scope="module")
def demo() -> Recording:
    return run(DEMO)


@pytest.fixture(scope="module")
def site() -> Recording:
    return run(SITE)


@pytest.fixture
def brought(tmp_path: Path) -> dict[str, str]:
    """Config of a stack with a certificate of its own, and a registry."""
    Identity.create("hub.example.com").write(tmp_path, "hub")
    Identity.create("ldap.example.com").write(tmp_path, "ldap-ca")
    return SITE | {
        "zhub:tlsCertFile": str(tmp_path / "hub.crt"),
        "zhub:tlsKeyFile": str(tmp_path / "hub.key"),
        "zhub:ldapCaFile": str(tmp_path / "ldap-ca.crt"),
        "zhub:registry": "registry.example.com:5000/jupyter",
        "zhub:registryUsername": "builder",
        "zhub:registryPassword": REGISTRY_PASSWORD,
    }


def environment(container: Declared) -> dict[str, str]:
    return dict(line.split("=", 1) for line in container.inputs["envs"])


def labels(resource: Declared) -> dict[str, str]:
    return {pair["label"]: pair["value"] for pair in resource.inputs["labels"]}


def uploads(container: Declared) -> dict[str, dict[str, str]]:
    return {upload["file"]: upload for upload in container.inputs["uploads"]}


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
        ("Container", "guard"),
        ("Container", "hub"),
        ("Directory", "directory"),
        ("Guard", "guard"),
        ("Hub", "hub"),
        ("Image", "directory"),
        ("Image", "filter"),
        ("Image", "hub"),
        ("Image", "notebook"),
        ("Images", "images"),
        ("Network", "directory"),
        ("Network", "hub"),
        ("PrivateKey", "certificate"),
        ("PrivateKey", "directory"),
        ("SelfSignedCert", "certificate"),
        ("SelfSignedCert", "directory"),
        ("Stack", "zhub-test"),
        ("Volume", "certs"),
        ("Volume", "guard"),
        ("Volume", "state"),
        ("docker", "engine"),
    ]


def test_a_site_with_its_own_directory_and_certificate_has_no_demo(brought: dict[str, str]) -> None:
    recording = run(brought)
    assert {one.name for one in recording.all("Container")} == {"hub", "files", "guard"}
    assert not recording.all("PrivateKey")
    assert "demoUsers" not in recording.outputs


@pytest.mark.parametrize("platform", Platform)
def test_every_image_is_for_the_configured_platform(platform: Platform) -> None:
    recording = run(DEMO | {"zhub:platform": platform})
    images = recording.all("Image")
    assert {image.inputs["build"]["platform"] for image in images} == {platform}
    architecture = platform.removeprefix("linux/")
    assert {image.inputs["imageName"] for image in images} == {
        f"jupyter_notebook_{architecture}:latest",
        f"jupyter_hub_{architecture}:latest",
        f"zhub_directory_{architecture}:latest",
        f"zhub_filter_{architecture}:latest",
    }


def test_no_container_names_a_platform(demo: Recording) -> None:
    """The engine reports it without the processor: every `up` would replace the container."""
    assert [one for one in demo.all("Container") if "platform" in one.inputs] == []


def test_a_new_notebook_image_makes_a_new_hub_image_and_a_new_container(demo: Recording) -> None:
    notebook, hub = demo.one("Image", "notebook"), demo.one("Image", "hub")
    container = demo.one("Container", "hub")
    digests = {name: demo.outputs[f"{name}Digest"]["value"] for name in ("notebook", "hub")}

    assert notebook.urn in hub.dependencies
    assert hub.inputs["build"]["args"]["NOTEBOOK_DIGEST"] == digests["notebook"]
    assert hub.inputs["build"]["args"]["NOTEBOOK_IMAGE"] == notebook.inputs["imageName"]
    assert container.inputs["image"] == digests["hub"]
    assert hub.urn in container.dependencies
    assert environment(container)["ZHUB_NOTEBOOK_IMAGE"] == digests["notebook"]


def test_images_are_built_from_folders_that_exist(demo: Recording) -> None:
    for image in demo.all("Image"):
        build = image.inputs["build"]
        assert build["context"] == "images"
        assert build["dockerfile"] == f"images/{image.name}/Dockerfile"
        assert build["builderVersion"] == "BuilderBuildKit"
        dockerfile = ROOT / build["dockerfile"]
        declared = set(dockerfile.read_text().split())
        unknown = {arg for arg in build["args"] if not any(w.startswith(arg) for w in declared)}
        assert unknown == set(), f"{dockerfile} takes no such build argument"


def test_an_edit_of_one_image_does_not_rebuild_another(demo: Recording, tmp_path: Path) -> None:
    """All images have one context; what each Dockerfile's ignore file leaves of it is its own."""
    copy = tmp_path / "images"
    shutil.copytree(ROOT / "images", copy)

    def digests() -> dict[str, str]:
        return {
            image.name: digest(str(copy), str(copy / image.name / "Dockerfile"))
            for image in demo.all("Image")
        }

    before = digests()
    (copy / "hub" / "zhub" / "jupyterhub_config.py").open("a").write("# edited\n")
    (copy / "directory" / "rootfs" / "etc" / "new").touch()
    after = digests()
    assert {name for name in before if before[name] != after[name]} == {"hub", "directory"}


def test_images_stay_on_the_engine_or_go_to_the_registry(
    demo: Recording, brought: dict[str, str]
) -> None:
    assert all(image.inputs["skipPush"] for image in demo.all("Image"))
    for image in run(brought).all("Image"):
        assert not image.inputs["skipPush"]
        repository = image.inputs["imageName"].removeprefix("registry.example.com:5000/jupyter/")
        assert repository.startswith(("jupyter_", "zhub_filter_"))
        assert image.inputs["registry"] == {
            "server": "registry.example.com:5000",
            "username": "builder",
            "password": REGISTRY_PASSWORD,
        }


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
        ("zhub-test-hub", "Network"): "network",
        ("zhub-test-directory", "Network"): "network",
        ("zhub-test-certs", "Volume"): "certs",
        ("zhub-test-guard", "Volume"): "guard",
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


def test_the_hub_is_told_its_settings(site: Recording) -> None:
    hub = site.one("Container", "hub")
    assert hub.inputs["command"] == ["--port=11119", "--ldap=ldap1.example.com,ldap2.example.com"]
    digest = site.outputs["notebookDigest"]["value"]
    assert environment(hub) == {
        "DOCKER_HOST": "unix:///run/guard/engine.sock",
        "ZHUB_PREFIX": "zhub-test",
        "ZHUB_CONFINED": "true",
        "ZHUB_USER_ALLOWED_NETWORKS": "[]",
        "ZHUB_NOTEBOOK_IMAGE": digest,
        "ZHUB_LDAP_PORT": "",
        "ZHUB_LDAP_TLS": "ldaps",
        "ZHUB_LDAP_CA_FILE": "",
        "ZHUB_LDAP_BIND_DN": "racfid=HUB,profiletype=user,o=example",
        "ZHUB_LDAP_BIND_PASSWORD_FILE": "/certs/ldap-password",
        "ZHUB_LDAP_SEARCH_BASE": "",
        "ZHUB_LDAP_NAME_ATTRIBUTES": '["uid"]',
        "ZHUB_LDAP_USER_FILTER": "",
        "ZHUB_LDAP_DN_TEMPLATES": '["racfid={username},profiletype=user,o=example"]',
        "ZHUB_LDAP_ALLOWED_GROUPS": '["cn=jupyter,o=example"]',
        "ZHUB_LDAP_ALLOW_EVERYONE": "false",
        "ZHUB_LDAP_ADMIN_GROUPS": '["cn=admins,o=example"]',
        "ZHUB_LDAP_GROUP_BASE": "",
        "ZHUB_LDAP_NESTED_GROUPS": "false",
        "ZHUB_LDAP_RECHECK": "300",
        "ZHUB_ADMIN_USERS": '["jdoe"]',
        "ZHUB_ADMIN_ACCESS": "false",
        "ZHUB_TOKEN_MAX_AGE": "2592000",
        "ZHUB_USER_MEMORY": "4096M",
        "ZHUB_USER_CPUS": "2.0",
        "ZHUB_USER_PIDS": "512",
        "ZHUB_MAX_SERVERS": "500",
        "ZHUB_USER_INTERNET": "true",
        "ZHUB_USER_NETWORK_POOL": "10.213.0.0/16",
        "ZHUB_IDLE_TIMEOUT": "3600",
        "ZHUB_START_TIMEOUT": "300",
        "ZHUB_SUBDOMAIN_HOST": "",
        "ZHUB_HSTS_SECONDS": "0",
        "ZHUB_TRUSTED_PROXIES": "[]",
    }


@pytest.mark.parametrize("config", [DEMO, SITE], ids=["demo", "site"])
def test_the_hubs_own_code_takes_what_it_is_told(config: dict[str, str], tmp_path: Path) -> None:
    """The other end of the environment is the package in images/hub."""
    from zhub import settings as hub_settings

    recording = run(config)
    hub = recording.one("Container", "hub")
    told = environment(hub)
    hub_settings.add_arguments(told, hub.inputs["command"])
    files = uploads(recording.one("Container", "files"))
    for name in ("ZHUB_LDAP_CA_FILE", "ZHUB_LDAP_BIND_PASSWORD_FILE"):
        if told[name]:
            (tmp_path / name).write_text(files[told[name]]["content"])
            told[name] = str(tmp_path / name)
    settings = hub_settings.read(told)
    assert settings.prefix == "zhub-test"
    assert settings.port == 11119
    assert settings.user_pids == 512


def test_the_guard_is_told_the_same_by_the_stack(site: Recording, demo: Recording) -> None:
    from zhub import settings as hub_settings

    told = environment(site.one("Container", "guard"))
    of_hub = environment(site.one("Container", "hub"))
    own = {
        "ZHUB_USER_BLOCKED_NETWORKS",
        "ZHUB_FILTER_IMAGE",
        "ZHUB_DIRECTORY_NETWORK",
        # Arguments of the hub, which is run by hand with them as well.
        "ZHUB_PORT",
        "ZHUB_LDAP_SERVERS",
    }
    assert {name: of_hub[name] for name in told.keys() - own} == {
        name: value for name, value in told.items() if name not in own
    }
    read = hub_settings.read_guard(told)
    assert read.user_memory == "4096M"
    assert read.notebook_image == site.outputs["notebookDigest"]["value"]
    assert read.hub_port == 11119
    assert read.directory_servers == (("ldap1.example.com", 636), ("ldap2.example.com", 636))
    assert read.directory_network == "bridge"
    of_demo = hub_settings.read_guard(environment(demo.one("Container", "guard")))
    assert of_demo.directory_servers == (("directory", 389),)
    assert of_demo.directory_network == "zhub-test-directory"
    networks = {
        "zhub:userAllowedNetworks": '["10.20.30.40"]',
        "zhub:userBlockedNetworks": '["198.51.100.0/24"]',
    }
    read = hub_settings.read_guard(environment(run(SITE | networks).one("Container", "guard")))
    assert read.user_allowed_networks == (IPv4Network("10.20.30.40"),)
    assert read.user_blocked_networks == (IPv4Network("198.51.100.0/24"),)


def writable(container: Declared) -> set[str]:
    volumes = container.inputs["volumes"]
    return {volume["containerPath"] for volume in volumes if not volume.get("readOnly")}


def test_the_hubs_container_is_confined(site: Recording) -> None:
    container = site.one("Container", "hub")
    hub = container.inputs
    assert hub["readOnly"] is True
    assert "uploads" not in hub, "uploads fail in a container with a read-only root"
    assert hub["user"] == "1000:1000"
    assert hub["capabilities"] == {"drops": ["ALL"], "adds": []}
    assert hub["securityOpts"] == ["no-new-privileges:true"]
    assert "privileged" not in hub
    assert hub["memory"] == hub["memorySwap"] == 512
    assert hub["sysctls"] == {"net.ipv4.ip_forward": "0"}
    assert writable(container) == {"/srv/jupyterhub"}
    assert [volume for volume in hub["volumes"] if "hostPath" in volume] == []
    assert set(hub["tmpfs"]) == {"/run", "/tmp"}  # noqa: S108 - inside the container


def test_the_guard_alone_has_the_engines_socket_and_no_network(site: Recording) -> None:
    container = site.one("Container", "guard")
    guard = container.inputs
    assert guard["networkMode"] == "none"
    assert not guard.get("networksAdvanced")
    assert guard["readOnly"] is True
    assert guard["securityOpts"] == ["no-new-privileges:true"]
    assert guard["capabilities"] == {"drops": ["ALL"], "adds": ["CAP_SETGID", "CAP_SETUID"]}
    assert guard["memory"] == guard["memorySwap"]
    mounted = {
        one.name
        for one in site.all("Container")
        for volume in one.inputs.get("volumes", ())
        if volume.get("hostPath")
    }
    assert mounted == {"guard"}
    # In memory, its folder the guard's own; the hub only gets to the socket in it.
    volume = site.one("Volume", "guard").inputs
    assert volume["driverOpts"]["type"] == "tmpfs"
    assert volume["driverOpts"]["o"].startswith("uid=1001,gid=1000,mode=0751,")
    [shared] = [
        one
        for one in site.one("Container", "hub").inputs["volumes"]
        if one.get("volumeName") == volume["name"]
    ]
    assert shared["readOnly"] is True
    assert container.urn in site.one("Container", "hub").dependencies


def test_the_port_is_open_on_the_configured_address_only(site: Recording) -> None:
    assert site.one("Container", "hub").inputs["ports"] == [
        {"internal": 11119, "external": 11119, "ip": "0.0.0.0"}  # noqa: S104 - the default
    ]
    other = run(SITE | {"zhub:port": "8443", "zhub:bindAddress": "127.0.0.1"})
    hub = other.one("Container", "hub").inputs
    assert hub["ports"] == [{"internal": 8443, "external": 8443, "ip": "127.0.0.1"}]
    assert hub["command"][0] == "--port=8443"
    assert hub["healthcheck"]["tests"][-1] == "8443"
    assert other.outputs["url"]["value"] == "https://hub.example.com:8443"
    for recording in (site, other):
        others = [one for one in recording.all("Container") if one.name != "hub"]
        assert [one.name for one in others if "ports" in one.inputs] == []


@pytest.mark.parametrize("name", ["hub", "directory"])
def test_services_are_healthy_before_up_ends_and_replaced_when_they_were_not(
    demo: Recording, name: str
) -> None:
    container = demo.one("Container", name)
    inputs = container.inputs
    assert inputs["wait"] is True
    assert inputs["healthcheck"]["tests"][0] == "CMD"
    assert inputs["restart"] == "unless-stopped"
    assert inputs["destroyGraceSeconds"] == 30
    assert set(container.request.replaceOnChanges) >= {"healthcheck", "tmpfs", "#initerror"}
    # Unset, these show a change in every preview or keep logs for ever.
    assert inputs["networkMode"] == "bridge"
    assert inputs["memorySwap"] == inputs["memory"]
    assert inputs["logOpts"] == {"max-size": "10m", "max-file": "3"}


def test_key_and_certificate_come_into_the_volume_by_a_container_that_never_runs(
    demo: Recording,
) -> None:
    files = demo.one("Container", "files")
    hub = demo.one("Container", "hub")
    assert files.inputs["start"] is False
    assert files.inputs["mustRun"] is False
    content = {file: upload["content"] for file, upload in uploads(files).items()}
    assert content == {
        "/certs/hub.key": key_pem("certificate"),
        "/certs/hub.crt": certificate_pem("certificate"),
        "/certs/ldap-ca.pem": certificate_pem("directory"),
        "/certs/ldap-password": directory.passwords(key_pem("directory"))["hub"],
    }
    modes = {(u["permissions"], u["owner"], u["group"]) for u in uploads(files).values()}
    assert modes == {("0600", "1000", "1000")}
    assert files.urn in hub.dependencies
    mounted = {one["containerPath"]: one.get("volumeName") for one in hub.inputs["volumes"]}
    assert mounted["/certs"] == files.inputs["volumes"][0]["volumeName"] == "zhub-test-certs"


def test_another_certificate_or_directory_ca_or_password_restarts_the_hub(
    brought: dict[str, str], tmp_path: Path
) -> None:
    first = run(brought).one("Container", "hub")
    Identity.create("hub.example.com").write(tmp_path, "hub")
    second = run(brought).one("Container", "hub")
    Identity.create("ldap.example.com").write(tmp_path, "ldap-ca")
    third = run(brought).one("Container", "hub")
    changed = [name for name in labels(first) if labels(first)[name] != labels(second)[name]]
    assert changed == ["zhub.certificate", "zhub.ldap-password"], "the latter has the key in it"
    changed = [name for name in labels(second) if labels(second)[name] != labels(third)[name]]
    assert changed == ["zhub.ldap-ca"]
    brought["zhub:ldapBindPassword"] = "another"
    fourth = run(brought).one("Container", "hub")
    changed = [name for name in labels(third) if labels(third)[name] != labels(fourth)[name]]
    assert changed == ["zhub.ldap-password"]


def test_the_mark_of_the_service_accounts_password_does_not_let_it_be_guessed(
    brought: dict[str, str], tmp_path: Path
) -> None:
    """Labels are for everybody who may inspect containers; the key is not."""
    hub = run(brought).one("Container", "hub")
    mark = labels(hub)["zhub.ldap-password"]
    key = (tmp_path / "hub.key").read_bytes()
    assert mark == hmac.new(key, LDAP_PASSWORD.encode(), "sha256").hexdigest()
    assert mark in texts(hub.raw["labels"], secret=False), "previews would hide all labels"


def test_the_service_accounts_password_is_a_file_that_the_hub_alone_reads(site: Recording) -> None:
    upload = uploads(site.one("Container", "files"))["/certs/ldap-password"]
    assert upload["content"] == LDAP_PASSWORD
    assert (upload["permissions"], upload["owner"], upload["group"]) == ("0600", "1000", "1000")
    without = run({key: value for key, value in SITE.items() if "ldapBind" not in key})
    assert "/certs/ldap-password" not in uploads(without.one("Container", "files"))
    assert labels(without.one("Container", "hub"))["zhub.ldap-password"] == ""


def test_the_fingerprint_is_what_browsers_show(demo: Recording) -> None:
    digest = identity("certificate").certificate.fingerprint(hashes.SHA256())
    assert demo.outputs["certificateFingerprint"]["value"] == digest.hex(":").upper()


def test_a_made_certificate_is_for_all_names_and_renewed_in_time() -> None:
    names = '["hub", "192.0.2.7", "2001:db8::7"]'
    recording = run(SITE | {"zhub:extraNames": names})
    certificate = recording.one("SelfSignedCert", "certificate").inputs
    assert certificate["subject"] == {"commonName": "hub.example.com"}
    assert certificate["dnsNames"] == ["hub.example.com", "hub"]
    assert certificate["ipAddresses"] == ["192.0.2.7", "2001:db8::7"]
    assert certificate["validityPeriodHours"] == 365 * 24
    assert certificate["earlyRenewalHours"] >= 30 * 24
    assert "server_auth" in certificate["allowedUses"]
    key = recording.one("PrivateKey", "certificate").inputs
    assert key == {"algorithm": "RSA", "rsaBits": 2048}


def test_users_own_names_are_in_the_certificate_and_known_to_the_hub() -> None:
    recording = run(SITE | {"zhub:subdomainHost": "hub.example.com"})
    certificate = recording.one("SelfSignedCert", "certificate").inputs
    assert certificate["dnsNames"] == ["hub.example.com", "*.hub.example.com"]
    told = environment(recording.one("Container", "hub"))
    assert told["ZHUB_SUBDOMAIN_HOST"] == "hub.example.com"


def test_a_long_host_name_does_not_make_an_invalid_subject() -> None:
    """RFC 5280 allows a common name of 64 characters."""
    name = f"{'a' * 60}.{'b' * 60}.example.com"
    certificate = run(SITE | {"zhub:hostname": name}).one("SelfSignedCert", "certificate").inputs
    assert certificate["subject"]["commonName"] == name[:64]
    assert certificate["dnsNames"] == [name]


def test_the_brought_certificate_is_what_the_hub_gets(
    brought: dict[str, str], tmp_path: Path
) -> None:
    recording = run(brought)
    files = uploads(recording.one("Container", "files"))
    assert files["/certs/hub.crt"]["content"] == (tmp_path / "hub.crt").read_text()
    assert files["/certs/hub.key"]["content"] == (tmp_path / "hub.key").read_text()
    assert files["/certs/ldap-ca.pem"]["content"] == (tmp_path / "ldap-ca.crt").read_text()


def test_the_brought_key_may_be_an_encrypted_setting(
    brought: dict[str, str], tmp_path: Path
) -> None:
    brought["zhub:tlsKey"] = (tmp_path / "hub.key").read_text()
    brought.pop("zhub:tlsKeyFile")
    recording = run(brought)
    files = uploads(recording.one("Container", "files"))
    assert files["/certs/hub.key"]["content"] == brought["zhub:tlsKey"]


@pytest.mark.parametrize("protect", ["true", "false"])
def test_state_and_key_are_protected_when_configured(protect: str) -> None:
    recording = run(DEMO | {"zhub:protect": protect})
    protected = {
        (one.type.rpartition(":")[2], one.name) for one in recording.declared if one.request.protect
    }
    expected = {("Volume", "state"), ("PrivateKey", "certificate")}
    assert protected == (expected if protect == "true" else set())


def test_on_destroy_hub_and_guard_go_first_then_what_they_started_then_networks(
    demo: Recording,
) -> None:
    """Pulumi deletes in the opposite order of the dependencies."""
    clean_up = demo.one("Command", "remove-notebooks")
    assert clean_up.urn in demo.one("Container", "hub").dependencies
    assert clean_up.urn in demo.one("Container", "guard").dependencies
    assert demo.one("Network", "hub").urn in clean_up.dependencies
    assert demo.one("Network", "directory").urn in demo.one("Container", "hub").dependencies


def test_clean_up_asks_the_stacks_own_engine(demo: Recording) -> None:
    command = demo.one("Command", "remove-notebooks").inputs
    assert command["environment"] == {
        "ZHUB_PREFIX": "zhub-test",
        "DOCKER_HOST": "ssh://ops@z.example.com",
    }
    assert "zhub.role=notebook" in command["delete"]
    assert "zhub.role=guard-helper" in command["delete"]
    assert "zhub.role=user-network" in command["delete"]
    assert "volume rm" not in command["delete"], "users' homes are theirs"


def test_clean_up_uses_the_engines_client_certificates() -> None:
    engine = Engine(host="tcp://z:2376", cert_path="certs", socket="/var/run/docker.sock")
    assert engine.environment == {
        "DOCKER_HOST": "tcp://z:2376",
        "DOCKER_CERT_PATH": "certs",
        "DOCKER_TLS_VERIFY": "1",
    }


def test_demo_passwords_are_this_deployments_own_and_nobody_elses() -> None:
    first, again = (directory.passwords("one key") for _ in range(2))
    second = directory.passwords("another")
    assert first == again
    assert set(first) == {"alice", "bob", "carol", "grace", "mallory", "hub"}
    assert len({*first.values(), *second.values()}) == 12
    assert all(len(password) >= 16 for password in first.values())


def test_the_directory_is_reached_by_the_hub_alone_and_with_tls(demo: Recording) -> None:
    container, hub = demo.one("Container", "directory"), demo.one("Container", "hub")
    network = demo.one("Network", "directory").inputs
    assert network["internal"] is True
    joined = [one["name"] for one in container.inputs["networksAdvanced"]]
    assert joined == [network["name"]]
    assert network["name"] in [one["name"] for one in hub.inputs["networksAdvanced"]]
    assert container.inputs["networksAdvanced"][0]["aliases"] == ["directory"]
    assert hub.inputs["command"][1] == "--ldap=directory"
    assert environment(hub)["ZHUB_LDAP_TLS"] == "starttls"
    assert environment(hub)["ZHUB_LDAP_CA_FILE"] == "/certs/ldap-ca.pem"
    assert demo.one("SelfSignedCert", "directory").inputs["dnsNames"] == ["directory"]
    files = uploads(container)
    assert files["/certs/directory.crt"]["content"] == certificate_pem("directory")
    told = json.loads(files["/certs/users.json"]["content"])
    users = {name: user["password"] for name, user in told.items() if user["unit"] == "people"}
    assert users == demo.outputs["demoUsers"]["value"]


def test_the_demo_shows_members_an_administrator_and_somebody_who_is_not_allowed(
    demo: Recording,
) -> None:
    told = json.loads(uploads(demo.one("Container", "directory"))["/certs/users.json"]["content"])
    told_hub = environment(demo.one("Container", "hub"))
    assert json.loads(told_hub["ZHUB_LDAP_ALLOWED_GROUPS"]) == [
        "cn=jupyter,ou=groups,dc=example,dc=org"
    ]
    assert json.loads(told_hub["ZHUB_LDAP_ADMIN_GROUPS"]) == [
        "cn=jupyter-admins,ou=groups,dc=example,dc=org"
    ]
    roles = demo.outputs["demoRoles"]["value"]
    assert roles.keys() == demo.outputs["demoUsers"]["value"].keys()
    for name, role in roles.items():
        assert ("jupyter" in told[name]["groups"]) == ("may not" not in role)
        assert ("jupyter-admins" in told[name]["groups"]) == ("administers" in role)
    assert len(set(roles.values())) == 3


def test_the_demo_has_a_service_account_whose_password_both_ends_know(demo: Recording) -> None:
    told = json.loads(uploads(demo.one("Container", "directory"))["/certs/users.json"]["content"])
    told_hub = environment(demo.one("Container", "hub"))
    assert told_hub["ZHUB_LDAP_BIND_DN"] == "uid=hub,ou=services,dc=example,dc=org"
    assert (told["hub"]["unit"], told["hub"]["groups"]) == ("services", [])
    upload = uploads(demo.one("Container", "files"))["/certs/ldap-password"]
    assert upload["content"] == told["hub"]["password"]
    assert "hub" not in demo.outputs["demoUsers"]["value"]


def test_outputs_say_where_the_hub_is(demo: Recording) -> None:
    assert set(demo.outputs) == {
        "url",
        "certificateFingerprint",
        "notebookDigest",
        "hubDigest",
        "container",
        "engine",
        "demoUsers",
        "demoRoles",
    }
    assert demo.outputs["url"]["value"] == "https://localhost:11119"
    assert demo.outputs["container"]["value"] == "zhub-test-hub"
    assert demo.outputs["engine"]["value"] == "ssh://ops@z.example.com"
    assert {name for name, output in demo.outputs.items() if output["secret"]} == {"demoUsers"}


def secrets_of(config: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """What must never be seen, by what it is; of keys a line that no other key has."""
    if "zhub:demoDirectory" in config:
        users = directory.passwords(key_pem("directory"))
        keys = {name: key_pem(name).splitlines()[5] for name in ("certificate", "directory")}
        return keys | users
    key = (tmp_path / "hub.key").read_text().splitlines()[5]
    return {"registry password": REGISTRY_PASSWORD, "key": key, "LDAP": LDAP_PASSWORD}


@pytest.mark.parametrize("variant", ["demo", "brought"])
def test_secrets_are_never_declared_in_clear(
    variant: str, brought: dict[str, str], tmp_path: Path
) -> None:
    config = DEMO if variant == "demo" else brought
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
    assert unknown == {"certificateFingerprint", "notebookDigest", "hubDigest"} | (
        {"demoUsers"} if variant == "demo" else set()
    )
    hub = preview.one("Container", "hub").inputs
    assert hub["ports"] == real.one("Container", "hub").inputs["ports"]


def test_what_is_not_advised_is_said(demo: Recording, site: Recording) -> None:
    [warning] = site.warnings
    assert warning.startswith("subdomainHost is not set")
    first, one_origin, last = demo.warnings
    assert first.startswith("hostname is localhost")
    assert one_origin.startswith("subdomainHost is not set")
    assert "pulumi config set bindAddress 127.0.0.1" in last
    apart = SITE | {"zhub:subdomainHost": "hub.example.com"}
    assert run(apart).warnings == []
    [warning] = run(apart | {"zhub:ldapTls": "none"}).warnings
    assert "ARE SENT TO THE DIRECTORY IN CLEAR" in warning
    [warning] = run(apart | {"zhub:hstsSeconds": "86400"}).warnings
    assert warning.startswith("hstsSeconds is set for a self-signed certificate")
    [warning] = run(apart | {"docker:host": "tcp://z.example.com:2375"}).warnings
    assert "root on the engine's machine" in warning
    [warning] = run(apart | {"zhub:ldapBindDn": "", "zhub:ldapBindPassword": ""}).warnings
    assert warning.startswith("ldapBindDn is empty")


def test_build_arguments_of_a_site(tmp_path: Path) -> None:
    Identity.create("ca.example.com").write(tmp_path, "ca")
    recording = run(
        SITE
        | {
            "zhub:extraCaFile": str(tmp_path / "ca.crt"),
            "zhub:pipIndexUrl": "https://packages.example.com/simple",
            "zhub:npmRegistry": "https://packages.example.com/npm",
            "zhub:baseImage": f"registry.example.com/debian:trixie@sha256:{'0' * 64}",
            "zhub:notebookPackages": '["python3-scipy", "python3-numpy"]',
            "zhub:imageSource": "https://git.example.com/jupyterhub",
        }
    )
    ca = (tmp_path / "ca.crt").read_text()
    notebook = recording.one("Image", "notebook").inputs["build"]["args"]
    base = f"registry.example.com/debian:trixie@sha256:{'0' * 64}"
    assert re.fullmatch(r"4\.\d+\.\d+", notebook.pop("VERSION"))
    assert notebook == {
        "BASE_IMAGE": base,
        "BASE_DIGEST": f"sha256:{'0' * 64}",
        "BUILD_IMAGE": base,
        "NOTEBOOK_PACKAGES": "python3-numpy python3-scipy",
        "SOURCE": "https://git.example.com/jupyterhub",
        "EXTRA_CA": ca,
        "PIP_INDEX_URL": "https://packages.example.com/simple",
    }
    hub = recording.one("Image", "hub").inputs["build"]["args"]
    assert hub["EXTRA_CA"] == ca
    assert hub["NPM_REGISTRY"] == "https://packages.example.com/npm"


def test_same_certificates_in_another_file_do_not_rebuild(tmp_path: Path) -> None:
    """Order, comments and repetition in the file say nothing about whom to trust."""
    for name in ("a", "b"):
        Identity.create(f"{name}.example.com").write(tmp_path, name)
    first, second = ((tmp_path / f"{name}.crt").read_text() for name in ("a", "b"))
    digests = set()
    for content in (first + second, f"# ours\n{second}\n{first}{second}"):
        (tmp_path / "ca.pem").write_text(content)
        recording = run(SITE | {"zhub:extraCaFile": str(tmp_path / "ca.pem")})
        args = recording.one("Image", "notebook").inputs["build"]["args"]
        digests.add(hashlib.sha256(args["EXTRA_CA"].encode()).hexdigest())
    assert len(digests) == 1
