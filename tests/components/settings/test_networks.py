"""Networks of the site and of users that overlap, as settings name them."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from components.settings import networks
from components.settings.config import Config
from tests.components.stack_config import NOW, SITE, read, refused

OTHER = "pulumi config set userNetworkPool 10.214.0.0/16"


def warned(**config: str) -> list[str]:
    """The warnings about a stack's networks, by its settings alone."""
    settings, found = read(SITE | {f"zhub:{key}": value for key, value in config.items()})
    assert not found.problems, found.problems
    return [
        text
        for text in settings.warnings(NOW)
        if any(word in text for word in ("userNetworkPool", "userAllowed", "ldapServer"))
    ]


@pytest.mark.parametrize(
    ("server", "said", "command"),
    [
        ("10.213.0.10", "10.213.0.10 is in userNetworkPool (10.213.0.0/16), so the hub", OTHER),
        ("10.213.0.10:1636, 10.213.0.11", "10.213.0.10 is in userNetworkPool (10.2", OTHER),
        ("2001:db8::1", "2001:db8::1 is an IPv6 address, and", "pulumi config set ldapServer"),
        ("localhost", "localhost is the hub's own container", "pulumi config set ldapServer"),
        ("127.0.0.1:389", "127.0.0.1 is the hub's own container", "pulumi config set ldapServer"),
    ],
)
def test_a_directory_that_the_hub_cannot_connect_to_is_refused(
    server: str, said: str, command: str
) -> None:
    text = refused(SITE | {"zhub:ldapServer": server})
    assert text.startswith(f"ldapServer: {said}")
    assert "nobody could log in" in text
    assert f"\n    {command}" in text


@pytest.mark.parametrize("server", ["10.213.0.10", "2001:db8::1", "localhost"])
def test_a_directory_is_warned_of_if_another_server_of_it_can_be_asked(server: str) -> None:
    [text] = warned(ldapServer=f"{server},ldap.example.com")
    assert text.startswith(f"ldapServer has {server}, which is ")
    assert text.endswith("the others are asked in its place")


def test_a_wider_pool_leaves_the_directory_to_the_site() -> None:
    text = refused(SITE | {"zhub:ldapServer": "10.0.0.5", "zhub:userNetworkPool": "10.0.0.0/8"})
    # The part that is offered does not hold the directory.
    assert "\n    pulumi config set userNetworkPool 10.213.0.0/16" in text


def test_an_allowed_network_in_the_pool_is_refused_with_both_ways_out() -> None:
    text = refused(SITE | {"zhub:userAllowedNetworks": '["10.213.5.5"]'})
    assert "userAllowedNetworks: holds 10.213.5.5/32, which is in userNetworkPool" in text
    assert "\n    pulumi config rm --path 'userAllowedNetworks[0]'" in text
    assert f"\n    or, if the site has it: {OTHER}" in text
    assert not warned(userAllowedNetworks='["10.0.0.0/8"]'), "around it, the pool stays closed"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("userBlockedNetworks", '["10.213.5.0/24"]'),
        ("trustedProxies", '["10.213.5.7"]'),
        ("bindAddress", "10.213.5.7"),
        ("hostname", "10.213.5.7"),
        ("logOptions", '["fluentd-address=10.213.5.7:24224"]'),
    ],
)
def test_what_settings_name_in_the_pool_is_warned_of(key: str, value: str) -> None:
    more = {"logDriver": "fluentd"} if key == "logOptions" else {}
    [text] = warned(**{key: value}, **more)
    assert text.startswith(f"{key} names ")
    assert "10.213.5." in text
    assert "is in userNetworkPool (10.213.0.0/16): the site seems to use these" in text
    assert text.endswith(OTHER)


def test_an_engine_elsewhere_with_an_address_in_the_pool_is_warned_of() -> None:
    settings, _ = read(SITE | {"docker:host": "ssh://ops@10.213.7.7"})
    found = [text for text in settings.warnings(NOW) if text.startswith("docker:host names")]
    assert len(found) == 1


def test_a_mirror_in_the_pool_is_not_to_be_allowed_but_to_be_kept_apart() -> None:
    url = "https://10.213.5.5/simple"
    [text] = warned(userPipIndexUrl=url, userAllowedNetworks='["10.0.0.0/8"]')
    assert "10.213.5.5, which they do not reach; it is in userNetworkPool (10.213.0.0/16)" in text
    [text] = warned(userPipIndexUrl=url.replace("213", "99"))
    assert text.endswith("add it to userAllowedNetworks")


def test_what_is_allowed_and_blocked_is_open_and_warned_of() -> None:
    [text] = warned(
        userAllowedNetworks='["10.1.0.0/16", "10.2.0.0/16"]', userBlockedNetworks='["10.2.0.0/16"]'
    )
    assert "both hold 10.2.0.0/16, which is open then" in text
    assert text.endswith("pulumi config rm --path 'userAllowedNetworks[1]'")


@pytest.mark.parametrize(
    ("allowed", "blocked", "open_"),
    [
        ('["10.0.0.0/8"]', "[]", True),
        ('["10.0.0.0/8"]', '["192.0.2.0/24"]', True),
        # The narrower one counts.
        ('["10.0.0.0/8"]', '["10.1.0.0/16"]', False),
        ('["10.1.2.0/24"]', '["10.1.0.0/16"]', True),
        # Somebody meant it.
        ('["10.1.2.3"]', "[]", False),
        ('["10.9.0.0/16"]', "[]", False),
    ],
)
def test_a_directory_of_users_reach_is_warned_of(
    allowed: str, blocked: str, *, open_: bool
) -> None:
    found = warned(ldapServer="10.1.2.3", userAllowedNetworks=allowed, userBlockedNetworks=blocked)
    assert len(found) == open_
    for text in found:
        number = 0 if blocked == "[]" else 1
        assert "and with it the LDAP server 10.1.2.3: users' servers may try passwords" in text
        assert text.endswith(f"'userBlockedNetworks[{number}]' 10.1.2.3")


def test_if_everything_overlaps_the_offer_is_apart_from_what_is_small() -> None:
    small = [IPv4Network(text) for text in networks.OFFERED[:4]]
    wide = [IPv4Network("10.0.0.0/8"), IPv4Network("172.16.0.0/12")]
    assert networks.offered([*small, *wide]).endswith(" 10.217.0.0/16")
    everything = [IPv4Network(text) for text in networks.OFFERED]
    assert networks.offered(everything).startswith("pulumi config set userNetworkPool ")


def test_a_wrong_pool_is_one_mistake() -> None:
    config = {"zhub:userNetworkPool": "10.213.0.0/29", "zhub:ldapServer": "10.213.0.5"}
    found: Config = read(SITE | config)[1]
    assert len(found.problems) == 1
