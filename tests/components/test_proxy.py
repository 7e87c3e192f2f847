"""The proxy's component: three containers in one network, each with no more than it needs."""

from __future__ import annotations

import json

import pytest

from components import proxy
from tests.components.recorder import Declared, Recording, run
from tests.components.stacks import DEMO, SITE

APART = {"zhub:separateProxy": "true"}
CONFIG = SITE | APART | {"zhub:hstsSeconds": "300", "zhub:trustedProxies": '["192.0.2.7/32"]'}


@pytest.fixture(scope="module")
def site() -> Recording:
    return run(CONFIG)


def test_what_hub_and_proxy_agree_on_stays_where_the_proxys_image_cannot_be_built(
    site: Recording,
) -> None:
    """A guard that expects a proxy of its own would refuse all that the hub without it asks for.

    And the hub could not read a key that is that proxy's.
    """
    image = site.one("Image", "proxy").urn
    for name in ("guard", "files"):
        assert image in site.one("Container", name).dependencies


def options(recording: Recording) -> dict[str, object]:
    [text] = recording.one("Container", "proxy").inputs["command"]
    found: dict[str, object] = json.loads(text)
    return found


def mounts(container: Declared) -> dict[str, tuple[str, bool]]:
    return {
        one["containerPath"]: (one["volumeName"], one.get("readOnly", False))
        for one in container.inputs["volumes"]
    }


def test_port_and_networks_are_those_of_the_front_alone() -> None:
    demo = run(DEMO | APART)
    front = demo.one("Container", "front").inputs
    assert [one["name"] for one in front["networksAdvanced"]] == [
        "zhub-test-hub",
        "zhub-test-directory",
    ]
    assert front["networkMode"] == "bridge"
    assert front["ports"] == [{"internal": 11119, "external": 11119, "ip": "0.0.0.0"}]  # noqa: S104
    assert front["sysctls"] == {"net.ipv4.ip_forward": "0"}
    assert front["entrypoints"] == ["cat"]
    assert front["image"] == demo.outputs["filterDigest"]["value"]
    for name in ("proxy", "hub-beside-proxy"):
        inputs = demo.one("Container", name).inputs
        assert inputs["networkMode"].startswith("container:")
        assert not inputs.keys() & {"ports", "sysctls"}
        assert inputs.get("networksAdvanced", []) == []


def test_another_front_replaces_hub_and_proxy_and_nothing_else_of_the_one_does_the_other(
    site: Recording,
) -> None:
    front = site.one("Container", "front")
    hub, own = site.one("Container", "hub-beside-proxy"), site.one("Container", "proxy")
    for one in (hub, own):
        assert list(one.request.propertyDependencies["networkMode"].urns) == [front.urn]
    assert hub.urn not in own.dependencies | front.dependencies
    # Not a moment before the new proxy can be started.
    assert site.one("Image", "proxy").urn in front.dependencies
    for earlier in (site.one("Container", "guard"), site.one("Command", "remove-notebooks")):
        assert earlier.urn in front.dependencies


def test_a_change_of_the_hub_changes_neither_front_nor_proxy(site: Recording) -> None:
    changed = run(
        CONFIG
        | {
            "zhub:idleTimeout": "7200",
            "zhub:userMemory": "1G",
            "zhub:ldapBindPassword": "another",
            "zhub:adminUsers": '["somebody"]',
            "zhub:notebookPackages": '["python3-six"]',
        }
    )
    for name in ("front", "proxy"):
        assert changed.one("Container", name).inputs == site.one("Container", name).inputs
    before, after = (one.one("Container", "hub-beside-proxy").inputs for one in (site, changed))
    assert before["image"] != after["image"]
    assert before["envs"] != after["envs"]


def test_a_setting_of_the_proxy_alone_changes_only_the_proxy(site: Recording) -> None:
    changed = run(CONFIG | {"zhub:hstsSeconds": "600", "zhub:trustedProxies": "[]"})
    differing = [
        one.name
        for one in site.all("Container")
        if changed.one("Container", one.name).inputs != one.inputs
    ]
    assert differing == ["proxy"]


def test_each_reads_only_what_it_needs(site: Recording) -> None:
    hub, own = site.one("Container", "hub-beside-proxy"), site.one("Container", "proxy")
    assert mounts(own) == {
        "/certs": ("zhub-test-certs", True),
        "/run/proxy": ("zhub-test-proxy", True),
    }
    assert mounts(hub)["/run/proxy"] == ("zhub-test-proxy", False)
    assert (hub.inputs["user"], own.inputs["user"]) == ("1000:1000", "1002:1000")
    uploads = site.one("Container", "files").inputs["uploads"]
    assert {one["file"]: one["owner"] for one in uploads} == {
        "/certs/hub.key": "1002",
        "/certs/hub.crt": "1002",
        "/certs/ldap-ca.pem": "1000",
        "/certs/ldap-password": "1000",
        "/certs/service-tokens.json": "1000",
        "/certs/hub_config.py": "1000",
        "/certs/site.json": "1000",
    }
    # In memory, a restarted engine would mount another one for a restarted hub.
    assert "driverOpts" not in site.one("Volume", "proxy").inputs
    assert "envs" not in own.inputs


def test_hub_and_guard_know_of_it(site: Recording) -> None:
    for name in ("hub-beside-proxy", "guard"):
        assert "ZHUB_SEPARATE_PROXY=true" in site.one("Container", name).inputs["envs"]
    assert site.outputs["container"]["value"] == "zhub-test-hub"
    assert site.outputs["proxyDigest"]["value"] == site.one("Container", "proxy").inputs["image"]


def test_it_has_the_same_options_as_a_proxy_in_the_hubs_container(site: Recording) -> None:
    from zhub.front import proxy as inside

    assert options(site) == {
        "port": 11119,
        "apiPort": inside.API_PORT,
        "metricsPort": inside.METRICS_PORT,
        "tokenFile": "/run/proxy/token",
        "routesFile": "/run/proxy/routes.json",
        "key": "/certs/hub.key",
        "certificate": "/certs/hub.crt",
        "hub": inside.HUB,
        "errors": f"{inside.HUB}/zhub-test/hub/error",
        "awaitRoutes": True,
        "heartbeat": True,
        "mostConnections": inside.MOST_CONNECTIONS,
        "hostRouting": False,
        "hstsSeconds": 300,
        "trustedProxies": ["192.0.2.7/32"],
        "logLevel": "info",
        "logFormat": "text",
    }


def test_numbers_and_places_are_those_of_the_image() -> None:
    from zhub import privileges
    from zhub.front import token

    assert str(privileges.HUB_GROUP) == proxy.GROUP
    assert str(token.FILE) == proxy.TOKEN
