"""The hub's container, its files and the clean-up behind it."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace
from pathlib import Path

import pulumi
import pytest

from components import directory
from components.files import UNUSED
from components.hub import Hub, HubArgs
from components.names import Names
from components.settings.address import Address
from components.settings.engine import Engine
from components.settings.ldap import Ldap
from components.settings.ldap_entries import LdapTls
from components.settings.login import Login
from components.settings.own_config import OwnConfig
from components.settings.services import Services
from tests.components.recorder import (
    Declared,
    Recording,
    certificate_pem,
    environment,
    key_pem,
    labels,
    run,
    run_alone,
    texts,
    uploads,
)
from tests.components.stack_config import read
from tests.components.stacks import DEMO, LDAP_PASSWORD, SITE
from tests.pki import Identity, quick_key


def test_the_hub_gets_its_settings_as_environment_variables(site: Recording) -> None:
    hub = site.one("Container", "hub")
    assert hub.inputs["command"] == ["--port=11119", "--ldap=ldap1.example.com,ldap2.example.com"]
    digest = site.outputs["notebookDigest"]["value"]
    assert environment(hub) == {
        "ZHUB_BASE_PATH": "/zhub-test/",
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
        "ZHUB_USER_SHARED_MEMORY": "1024M",
        "ZHUB_USER_PIDS": "512",
        "ZHUB_LOG_DRIVER": "json-file",
        "ZHUB_LOG_OPTIONS": '{"max-file": "3", "max-size": "10m"}',
        "ZHUB_LOG_LEVEL": "info",
        "ZHUB_LOG_FORMAT": "text",
        "ZHUB_USER_ENVIRONMENT": "{}",
        "ZHUB_MAX_SERVERS": "500",
        "ZHUB_SEPARATE_PROXY": "false",
        "ZHUB_PROFILES": "[]",
        "ZHUB_USER_INTERNET": "true",
        "ZHUB_USER_NETWORK_POOL": "10.213.0.0/16",
        "ZHUB_IDLE_TIMEOUT": "3600",
        "ZHUB_KERNEL_IDLE_TIMEOUT": "0",
        "ZHUB_ACTIVITY_INTERVAL": "60",
        "ZHUB_SERVER_MAX_AGE": "0",
        "ZHUB_START_TIMEOUT": "300",
        "ZHUB_SUBDOMAIN_HOST": "",
        "ZHUB_HSTS_SECONDS": "0",
        "ZHUB_TRUSTED_PROXIES": "[]",
    }


@pytest.mark.parametrize("config", [DEMO, SITE], ids=["demo", "site"])
def test_the_hubs_own_code_accepts_these_variables(config: dict[str, str], tmp_path: Path) -> None:
    """The other end of the environment is the package in images/hub."""
    from zhub import settings as hub_settings

    recording = run(config)
    hub = recording.one("Container", "hub")
    env = environment(hub)
    hub_settings.add_arguments(env, hub.inputs["command"])
    files = uploads(recording.one("Container", "files"))
    for name in ("ZHUB_LDAP_CA_FILE", "ZHUB_LDAP_BIND_PASSWORD_FILE"):
        if env[name]:
            (tmp_path / name).write_text(files[env[name]]["content"])
            env[name] = str(tmp_path / name)
    settings = hub_settings.read(env)
    assert settings.prefix == "zhub-test"
    assert settings.port == 11119
    assert settings.user_pids == 512


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


def test_the_port_is_open_on_the_configured_address_only(site: Recording) -> None:
    assert site.one("Container", "hub").inputs["ports"] == [
        {"internal": 11119, "external": 11119, "ip": "0.0.0.0"}  # noqa: S104 - the default
    ]
    other = run(SITE | {"zhub:port": "8443", "zhub:bindAddress": "127.0.0.1"})
    hub = other.one("Container", "hub").inputs
    assert hub["ports"] == [{"internal": 8443, "external": 8443, "ip": "127.0.0.1"}]
    assert hub["command"][0] == "--port=8443"
    assert hub["healthcheck"]["tests"][-1] == "8443"
    assert other.outputs["url"]["value"] == "https://hub.example.com:8443/zhub-test"
    for recording in (site, other):
        others = [one for one in recording.all("Container") if one.name != "hub"]
        assert [one.name for one in others if "ports" in one.inputs] == []


def test_a_port_below_1024_is_opened_by_the_hub_which_is_not_root() -> None:
    low = run(SITE | {"zhub:port": "443"})
    hub = low.one("Container", "hub").inputs
    assert hub["ports"] == [{"internal": 443, "external": 443, "ip": "0.0.0.0"}]  # noqa: S104
    assert hub["sysctls"]["net.ipv4.ip_unprivileged_port_start"] == "0"
    assert low.outputs["url"]["value"] == "https://hub.example.com/zhub-test"


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
        "/certs/site.json": '{"name": "", "contact": "", "announcement": "", "terms": ""}',
        "/certs/service-tokens.json": UNUSED,
        "/certs/hub_config.py": UNUSED,
    }
    modes = {(u["permissions"], u["owner"], u["group"]) for u in uploads(files).values()}
    assert modes == {("0600", "1000", "1000")}
    assert files.urn in hub.dependencies
    mounted = {one["containerPath"]: one.get("volumeName") for one in hub.inputs["volumes"]}
    assert mounted["/certs"] == files.inputs["volumes"][0]["volumeName"] == "zhub-test-certs"


@pytest.mark.parametrize(
    ("separate", "name"), [("false", "hub"), ("true", "hub-beside-proxy")], ids=["one", "two"]
)
def test_another_directory_ca_or_password_restarts_the_hub_and_another_certificate_does_not(
    brought: dict[str, str], tmp_path: Path, separate: str, name: str
) -> None:
    brought["zhub:separateProxy"] = separate
    kept = ("hub", "hub-beside-proxy", "proxy", "front", "guard")
    before = run(brought)
    first = before.one("Container", name)
    Identity.create("hub.example.com", key=quick_key()).write(tmp_path, "hub")
    after = run(brought)
    second = after.one("Container", name)
    inputs = [
        {one.name: one.inputs for one in recording.all("Container") if one.name in kept}
        for recording in (before, after)
    ]
    assert inputs[0] == inputs[1]
    assert before.one("Container", "files").inputs != after.one("Container", "files").inputs
    Identity.create("ldap.example.com", key=quick_key()).write(tmp_path, "ldap-ca")
    third = run(brought).one("Container", name)
    assert labels(first) == labels(second)
    changed = [name for name in labels(second) if labels(second)[name] != labels(third)[name]]
    assert changed == ["zhub.ldap-ca"]
    brought["zhub:ldapBindPassword"] = "another"
    fourth = run(brought).one("Container", name)
    changed = [name for name in labels(third) if labels(third)[name] != labels(fourth)[name]]
    assert changed == ["zhub.ldap-password"]


def test_the_mark_of_the_service_accounts_password_does_not_let_it_be_guessed(
    brought: dict[str, str],
) -> None:
    """Labels are for everybody who may inspect containers; the key that Pulumi made is not."""
    hub = run(brought).one("Container", "hub")
    mark = labels(hub)["zhub.ldap-password"]
    key = key_pem("certificate").encode()
    assert mark == hmac.new(key, LDAP_PASSWORD.encode(), "sha256").hexdigest()
    assert mark in texts(hub.raw["labels"], secret=False), "previews would hide all labels"


def test_the_service_accounts_password_is_a_file_that_the_hub_alone_reads(site: Recording) -> None:
    upload = uploads(site.one("Container", "files"))["/certs/ldap-password"]
    assert upload["content"] == LDAP_PASSWORD
    assert (upload["permissions"], upload["owner"], upload["group"]) == ("0600", "1000", "1000")
    without = run({key: value for key, value in SITE.items() if "ldapBind" not in key})
    # Left out, it would stay in the volume.
    assert uploads(without.one("Container", "files"))["/certs/ldap-password"]["content"] == UNUSED
    assert labels(without.one("Container", "hub"))["zhub.ldap-password"] == ""


def test_destroy_removes_hub_and_guard_then_what_they_started_then_networks(
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
    assert "docker service rm" in command["delete"]
    assert "volume rm" not in command["delete"], "users' homes are theirs"


def test_clean_up_uses_the_engines_client_certificates() -> None:
    engine = Engine(host="tcp://z:2376", cert_path="certs", socket="/var/run/docker.sock")
    assert engine.environment == {
        "DOCKER_HOST": "tcp://z:2376",
        "DOCKER_CERT_PATH": "certs",
        "DOCKER_TLS_VERIFY": "1",
    }


SERVICES = Services(
    services=({"name": "class-start", "scopes": ("servers",), "url": ""},),
    roles=({"name": "tutors", "scopes": ("servers",), "users": ("bob",), "groups": ()},),
)


def alone(
    ldap: Ldap,
    password: str | None = None,
    tokens: str | None = None,
    own_config: OwnConfig | None = None,
) -> Recording:
    def program() -> None:
        settings = read(SITE)[0]
        # An output belongs to the program that makes it.
        bind_password = pulumi.Output.secret(password) if password else None
        hub = Hub(
            "hub",
            HubArgs(
                names=Names("zhub-test"),
                engine_socket="/run/user/1000/docker.sock",
                engine_environment={"DOCKER_HOST": "ssh://z"},
                image="sha256:1",
                notebook_image="sha256:2",
                filter_image="sha256:3",
                proxy_image=None,
                key_pem=pulumi.Output.secret("the key"),
                certificate_pem="the certificate",
                fingerprints="AA:BB",
                mark_key=pulumi.Output.secret("a secret"),
                address=Address(
                    hostname="hub.example.com",
                    bind_address="192.0.2.7",
                    port=8443,
                    base_path="/test/",
                ),
                ldap=replace(ldap, bind_password=bind_password),
                login=Login(token_max_age=86400),
                texts='{"name": "Institute"}',
                users=settings.users,
                services=replace(SERVICES, tokens=pulumi.Output.secret(tokens) if tokens else None),
                own_config=own_config,
                logs=settings.logs,
                memory=512,
                protect=True,
                retain=False,
            ),
        )
        pulumi.export("container", hub.container)

    return run_alone(program)


def test_alone_it_takes_plain_values() -> None:
    ldap = Ldap(servers=("ldap.example.com",), tls=LdapTls.LDAPS)
    recording = alone(ldap)
    hub, files = recording.one("Container", "hub"), recording.one("Container", "files")
    assert {path: file["content"] for path, file in uploads(files).items()} == {
        "/certs/hub.key": "the key",
        "/certs/hub.crt": "the certificate",
        "/certs/site.json": '{"name": "Institute"}',
        "/certs/ldap-ca.pem": UNUSED,
        "/certs/ldap-password": UNUSED,
        "/certs/service-tokens.json": UNUSED,
        "/certs/hub_config.py": UNUSED,
    }
    assert "the key" not in texts(files.raw, secret=False)
    own = {name: value for name, value in labels(hub).items() if name not in labels(files)}
    names = ("ldap-ca", "ldap-password", "service-tokens", "config-file")
    assert own == {f"zhub.{name}": "" for name in names}
    assert hub.inputs["image"] == files.inputs["image"] == "sha256:1"
    assert hub.inputs["ports"] == [{"internal": 8443, "external": 8443, "ip": "192.0.2.7"}]
    assert [one["name"] for one in hub.inputs["networksAdvanced"]] == ["zhub-test-hub"]
    assert environment(hub)["ZHUB_NOTEBOOK_IMAGE"] == "sha256:2"
    clean_up = recording.one("Command", "remove-notebooks").inputs
    assert clean_up["environment"] == {"ZHUB_PREFIX": "zhub-test", "DOCKER_HOST": "ssh://z"}
    assert recording.outputs["container"]["value"] == "zhub-test-hub"


def test_alone_it_joins_the_network_of_a_directory_that_has_one() -> None:
    ldap = Ldap(servers=("directory",), tls=LdapTls.STARTTLS, ca_pem="a CA", network="of-directory")
    recording = alone(ldap)
    hub = recording.one("Container", "hub")
    joined = [one["name"] for one in hub.inputs["networksAdvanced"]]
    assert joined == ["zhub-test-hub", "of-directory"]
    assert uploads(recording.one("Container", "files"))["/certs/ldap-ca.pem"]["content"] == "a CA"
    assert labels(hub)["zhub.ldap-ca"] == hashlib.sha256(b"a CA").hexdigest()


def test_alone_it_keeps_the_directorys_password_out_of_its_own_container() -> None:
    ldap = Ldap(
        servers=("ldap.example.com",),
        tls=LdapTls.LDAPS,
        bind_dn="cn=hub,dc=example,dc=com",
    )
    recording = alone(ldap, LDAP_PASSWORD)
    hub, files = recording.one("Container", "hub"), recording.one("Container", "files")
    assert uploads(files)["/certs/ldap-password"]["content"] == LDAP_PASSWORD
    assert LDAP_PASSWORD not in texts(files.raw, secret=False)
    assert LDAP_PASSWORD not in json.dumps(hub.inputs, ensure_ascii=False)
    assert environment(hub)["ZHUB_LDAP_BIND_PASSWORD_FILE"] == "/certs/ldap-password"
    mark = hmac.new(b"a secret", LDAP_PASSWORD.encode(), "sha256").hexdigest()
    assert labels(hub)["zhub.ldap-password"] == mark


def test_alone_it_keeps_the_tokens_of_services_out_of_its_own_container() -> None:
    ldap = Ldap(servers=("ldap.example.com",), tls=LdapTls.LDAPS)
    tokens = '{"class-start": "a token"}'
    recording = alone(ldap, tokens=tokens)
    hub, files = recording.one("Container", "hub"), recording.one("Container", "files")
    assert uploads(files)["/certs/service-tokens.json"]["content"] == tokens
    assert "a token" in "".join(texts(files.raw, secret=True))
    assert "a token" not in "".join(texts(files.raw, secret=False))
    assert "a token" not in json.dumps(hub.inputs, ensure_ascii=False)
    mark = hmac.new(b"a secret", tokens.encode(), "sha256").hexdigest()
    assert labels(hub)["zhub.service-tokens"] == mark
    assert mark != labels(alone(ldap, tokens="{}").one("Container", "hub"))["zhub.service-tokens"]
    env = environment(hub)
    assert json.loads(env["ZHUB_SERVICES"]) == [
        {"name": "class-start", "scopes": ["servers"], "url": ""}
    ]
    assert json.loads(env["ZHUB_ROLES"]) == [
        {"name": "tutors", "scopes": ["servers"], "users": ["bob"], "groups": []}
    ]
    assert env["ZHUB_SERVICE_TOKENS_FILE"] == "/certs/service-tokens.json"


def test_alone_it_gets_the_sites_own_configuration_as_a_file() -> None:
    ldap = Ldap(servers=("ldap.example.com",), tls=LdapTls.LDAPS)
    recording = alone(ldap, own_config=OwnConfig("own.py", "c.A.b = 1\n"))
    hub, files = recording.one("Container", "hub"), recording.one("Container", "files")
    assert uploads(files)["/certs/hub_config.py"]["content"] == "c.A.b = 1\n"
    # A preview shows the digest, and not the file.
    assert "c.A.b" in "".join(texts(files.raw, secret=True))
    assert "c.A.b" not in "".join(texts(files.raw, secret=False))
    assert labels(hub)["zhub.config-file"] == hashlib.sha256(b"c.A.b = 1\n").hexdigest()
    assert environment(hub)["ZHUB_CONFIG_FILE"] == "/certs/hub_config.py"
