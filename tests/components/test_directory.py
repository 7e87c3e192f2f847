"""The demo directory: who is in it, and how the hub reaches it."""

from __future__ import annotations

import json

import pulumi

from components import directory
from components.directory import Directory, DirectoryArgs
from components.names import Names
from tests.components.recorder import (
    Recording,
    certificate_pem,
    environment,
    key_pem,
    run_alone,
    uploads,
)
from tests.components.stack_config import read
from tests.components.stacks import SITE


def test_demo_passwords_are_different_in_every_stack() -> None:
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
    users = json.loads(files["/certs/users.json"]["content"])
    passwords = {name: user["password"] for name, user in users.items() if user["unit"] == "people"}
    assert passwords == demo.outputs["demoUsers"]["value"]


def test_the_demo_shows_members_an_administrator_and_somebody_who_is_not_allowed(
    demo: Recording,
) -> None:
    users = json.loads(uploads(demo.one("Container", "directory"))["/certs/users.json"]["content"])
    env = environment(demo.one("Container", "hub"))
    assert json.loads(env["ZHUB_LDAP_ALLOWED_GROUPS"]) == ["cn=jupyter,ou=groups,dc=example,dc=org"]
    assert json.loads(env["ZHUB_LDAP_ADMIN_GROUPS"]) == [
        "cn=jupyter-admins,ou=groups,dc=example,dc=org"
    ]
    roles = demo.outputs["demoRoles"]["value"]
    assert roles.keys() == demo.outputs["demoUsers"]["value"].keys()
    for name, role in roles.items():
        assert ("jupyter" in users[name]["groups"]) == ("may not" not in role)
        assert ("jupyter-admins" in users[name]["groups"]) == ("administers" in role)
    assert len(set(roles.values())) == 3


def test_the_demo_has_a_service_account_whose_password_both_ends_know(demo: Recording) -> None:
    users = json.loads(uploads(demo.one("Container", "directory"))["/certs/users.json"]["content"])
    env = environment(demo.one("Container", "hub"))
    assert env["ZHUB_LDAP_BIND_DN"] == "uid=hub,ou=services,dc=example,dc=org"
    assert (users["hub"]["unit"], users["hub"]["groups"]) == ("services", [])
    upload = uploads(demo.one("Container", "files"))["/certs/ldap-password"]
    assert upload["content"] == users["hub"]["password"]
    assert "hub" not in demo.outputs["demoUsers"]["value"]


def test_alone_it_says_how_it_is_reached_and_keeps_passwords_secret() -> None:
    def program() -> None:
        demo = Directory(
            "directory",
            DirectoryArgs(
                names=Names("zhub-test"), build=read(SITE)[0].build, logs=read(SITE)[0].logs
            ),
        )
        pulumi.export("users", demo.users)
        pulumi.export("network", demo.ldap.network)
        pulumi.export("ca", demo.ldap.ca_pem)
        pulumi.export("password", demo.ldap.bind_password)

    recording = run_alone(program)
    accounts = directory.passwords(key_pem("directory"))
    password = accounts.pop("hub")
    assert recording.outputs == {
        "users": {"value": accounts, "known": True, "secret": True},
        "network": {"value": "zhub-test-directory", "known": True, "secret": False},
        "ca": {"value": certificate_pem("directory"), "known": True, "secret": False},
        "password": {"value": password, "known": True, "secret": True},
    }
    container = recording.one("Container", "directory").inputs
    assert container["image"] == recording.one("Image", "directory").outputs["repoDigest"]
