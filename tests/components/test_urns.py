"""Pulumi knows a resource by its URN: with another one it is another resource.

So a stack that is up would lose the old one and get a new one in its place, with what is in it.
"""

from __future__ import annotations

import pytest

from tests.components.recorder import Recording, run
from tests.components.stacks import DEMO, SITE

STACK = "pulumi:pulumi:Stack"

#: Types of the parents and of the resource itself, and its name.
OF_EVERY_STACK = """
pulumi:providers:docker::engine
zhub:certificate:Certificate$tls:index/privateKey:PrivateKey::certificate
zhub:certificate:Certificate$tls:index/selfSignedCert:SelfSignedCert::certificate
zhub:certificate:Certificate::certificate
zhub:hub:Hub$command:local:Command::remove-notebooks
zhub:hub:Hub$docker:index/container:Container::files
zhub:hub:Hub$docker:index/container:Container::hub
zhub:hub:Hub$docker:index/network:Network::hub
zhub:hub:Hub$docker:index/volume:Volume::certs
zhub:hub:Hub$docker:index/volume:Volume::state
zhub:hub:Hub$zhub:guard:Guard$docker:index/container:Container::guard
zhub:hub:Hub$zhub:guard:Guard$docker:index/volume:Volume::guardaudit
zhub:hub:Hub$zhub:guard:Guard$docker:index/volume:Volume::guardsocket
zhub:hub:Hub$zhub:guard:Guard::guard
zhub:hub:Hub::hub
zhub:images:Images$docker:index/container:Container::filterimage
zhub:images:Images$docker:index/container:Container::notebookimage
zhub:images:Images$docker:index/image:Image::filter
zhub:images:Images$docker:index/image:Image::hub
zhub:images:Images$docker:index/image:Image::hub-latest
zhub:images:Images$docker:index/image:Image::notebook
zhub:images:Images$docker:index/image:Image::notebook-latest
zhub:images:Images::images
"""
#: What a separate proxy adds, and what it takes the place of.
OF_A_SEPARATE_PROXY = """
zhub:hub:Hub$docker:index/container:Container::hub-beside-proxy
zhub:hub:Hub$zhub:proxy:Proxy$docker:index/container:Container::front
zhub:hub:Hub$zhub:proxy:Proxy$docker:index/container:Container::proxy
zhub:hub:Hub$zhub:proxy:Proxy$docker:index/volume:Volume::proxy
zhub:hub:Hub$zhub:proxy:Proxy::proxy
zhub:images:Images$docker:index/image:Image::proxy
"""
WITHOUT_IT = "zhub:hub:Hub$docker:index/container:Container::hub"
OF_THE_DEMO = """
zhub:directory:Directory$docker:index/container:Container::directory
zhub:directory:Directory$docker:index/image:Image::directory
zhub:directory:Directory$docker:index/network:Network::directory
zhub:directory:Directory$zhub:certificate:Certificate$tls:index/privateKey:PrivateKey::directory
zhub:directory:Directory$zhub:certificate:Certificate$tls:index/selfSignedCert:SelfSignedCert::directory
zhub:directory:Directory$zhub:certificate:Certificate::directory
zhub:directory:Directory::directory
"""


def urns(recording: Recording) -> set[str]:
    """URNs as the engine makes them, but for stack and project, which all have in common.

    A URN has the types of all parents but the stack's own
    (https://www.pulumi.com/docs/iac/concepts/resources/names/#urns). The SDK's mocks leave out all
    but the nearest parent.
    """
    declared = {one.urn: one for one in recording.declared if one.type != STACK}

    def types(urn: str) -> list[str]:
        one = declared.get(urn)
        return [*types(one.request.parent), one.type] if one else []

    return {f"{'$'.join(types(urn))}::{one.name}" for urn, one in declared.items()}


#: What a profile with packages of its own adds.
OF_A_PROFILE = """
zhub:images:Images$docker:index/container:Container::profileimage_with_r
zhub:images:Images$docker:index/image:Image::profile_with_r
"""


@pytest.mark.parametrize(
    ("config", "frozen"),
    [
        (SITE, OF_EVERY_STACK),
        (DEMO, OF_EVERY_STACK + OF_THE_DEMO),
        (
            SITE | {"zhub:separateProxy": "true"},
            OF_EVERY_STACK.replace(f"{WITHOUT_IT}\n", "") + OF_A_SEPARATE_PROXY,
        ),
        (
            SITE | {"zhub:profiles": '[{"name": "with-r", "packages": ["r-base-dev"]}]'},
            OF_EVERY_STACK + OF_A_PROFILE,
        ),
    ],
    ids=["site", "demo", "separate-proxy", "profile"],
)
def test_resources_keep_their_urns(config: dict[str, str], frozen: str) -> None:
    found, known = urns(run(config)), set(frozen.split())
    lost, new = sorted(known - found), sorted(found - known)
    assert not lost, (
        f"gone: {lost}\nnew: {new}\n"
        "Stacks that are up would lose these resources. Where a resource has only another type,"
        " name or parent now, add an alias to it, opts=pulumi.ResourceOptions(aliases=[...]), with"
        " what it had before; then write its new URN down here. Where it is really meant to go, say"
        " in CHANGELOG.md what an `up` removes."
    )
    assert not new, f"write these down here, so that they are kept from now on: {new}"


@pytest.mark.parametrize("separate", [False, True])
def test_the_container_with_the_port_is_the_successor_of_the_one_before(*, separate: bool) -> None:
    """So it is created after the other is gone: only one can have the port."""
    recording = run(SITE | {"zhub:separateProxy": str(separate).lower()})
    apart = "zhub:hub:Hub$zhub:proxy:Proxy$docker:index/container:Container::front"
    successor = recording.one("Container", "front" if separate else "hub")
    [alias] = successor.request.aliases
    if separate:
        assert (alias.spec.name, alias.spec.parentUrn) == ("hub", recording.one("Hub", "hub").urn)
    else:
        assert alias.urn.endswith(apart) or alias.spec.parentUrn.endswith("Proxy::proxy"), alias
