"""The directory of a stack: who knows the users, and who of them gets in; never nobody."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from components import variables
from components.settings.entries import SETTINGS
from components.settings.ldap import Ldap
from tests.components.recorder import Recording, run
from tests.components.stack_config import DEMO, NOW, SITE, fixed, read, refused
from tests.pki import Identity, quick_key
from toolchain.places import ROOT

GROUPS = {"zhub:ldapAllowEveryone": "false", "zhub:ldapAllowedGroups": '["cn=jupyter,o=example"]'}
ACCOUNT = {"zhub:ldapBindDn": "cn=hub,o=example", "zhub:ldapBindPassword": "hunter2"}
BASE = {"zhub:ldapSearchBase": "ou=people,o=example"}
NO_TEMPLATE = {"zhub:ldapDnTemplates": "[]"}
ACTIVE_DIRECTORY = {"zhub:ldapDnTemplates": '["{username}@example.com"]'}
SECRET = ("zhub:ldapBindPassword",)

#: A directory that leaves nothing to be warned of.
ADVISED = SITE | GROUPS | ACCOUNT | BASE | NO_TEMPLATE


def accepted(config: dict[str, str]) -> Ldap:
    settings, declared = read(config, secret=SECRET)
    assert [str(problem) for problem in declared.problems] == []
    assert settings.ldap
    return settings.ldap


@pytest.mark.parametrize(
    "config",
    [
        ADVISED,
        SITE | ACCOUNT,
        SITE | BASE,
        SITE | BASE | ACTIVE_DIRECTORY,
        ADVISED | {"zhub:ldapBindDn": "hub@example.com"},
        ADVISED | {"zhub:ldapBindDn": "EXAMPLE\\hub"},
        ADVISED | {"zhub:ldapUserFilter": "(&(objectClass=person)(!(employeeType=guest\\29)))"},
        ADVISED | {"zhub:ldapNestedGroups": "true", "zhub:ldapRecheck": "60"},
        SITE | {"zhub:ldapNestedGroups": "true", "zhub:ldapGroupBase": "ou=groups,o=example"},
    ],
)
def test_these_directories_are_fine(config: dict[str, str]) -> None:
    accepted(config)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("ldapBindDn", "jupyterhub", "neither a DN nor user@domain"),
        ("ldapBindDn", "cn=hub,services", "neither a DN nor user@domain"),
        ("ldapSearchBase", "example.org", "not a DN"),
        ("ldapGroupBase", "groups", "not a DN"),
        ("ldapUserFilter", "objectClass=person", "not a search filter"),
        ("ldapUserFilter", "(a=b)(c=d)", "not a search filter"),
        ("ldapUserFilter", "(a=b", "not a search filter"),
        ("ldapUserFilter", "(a=b))((c=d)", "not a search filter"),
        ("ldapNestedGroups", "yes", "neither true nor false"),
        ("ldapRecheck", "5", "not a whole number from 10 to 86400"),
    ],
)
def test_a_wrong_value_is_refused(key: str, value: str, reason: str) -> None:
    first, command = refused(ADVISED | {f"zhub:{key}": value}, secret=SECRET).split("\n    ")
    assert first.startswith(f"{key} is {json.dumps(value)}: {reason}")
    assert command.startswith(f"pulumi config set {key} ")


def test_neither_a_directory_nor_the_demo() -> None:
    said = refused({"docker:host": SITE["docker:host"], "zhub:ldapAllowEveryone": "true"})
    assert said.startswith("ldapServer: must be set")
    assert "pulumi config set ldapServer ldap.example.com" in said
    assert "pulumi config set demoDirectory true" in said


@pytest.mark.parametrize("key", [one.key for one in SETTINGS if one.key.startswith("ldap")])
def test_a_directory_and_the_demo(key: str) -> None:
    values = (
        ADVISED
        | ACTIVE_DIRECTORY
        | {
            "zhub:ldapPort": "3269",
            "zhub:ldapTls": "ldaps",
            "zhub:ldapCaFile": str(ROOT / "no-such-file"),
            "zhub:ldapNameAttributes": '["mail"]',
            "zhub:ldapUserFilter": "(a=b)",
            "zhub:ldapAllowEveryone": "true",
            "zhub:ldapAdminGroups": '["cn=a"]',
            "zhub:ldapGroupBase": "ou=groups,o=example",
            "zhub:ldapNestedGroups": "true",
            "zhub:ldapRecheck": "60",
        }
    )
    config = DEMO | {f"zhub:{key}": values[f"zhub:{key}"]}
    said = str(read(config, secret=SECRET)[1].problems[-1])
    assert said.startswith(f"{key}: does not go together with demoDirectory")
    assert f"pulumi config rm {key}" in said
    assert "pulumi config rm demoDirectory" in said


def test_nobody_is_let_in_by_accident() -> None:
    said = refused(SITE | {"zhub:ldapAllowEveryone": "false"})
    assert said.startswith("ldapAllowedGroups: must be set")
    assert "pulumi config set --path 'ldapAllowedGroups[0]' cn=" in said
    assert "pulumi config set ldapAllowEveryone true" in said


def test_everybody_is_not_let_in_by_accident() -> None:
    said = refused(SITE | {"zhub:ldapAllowedGroups": '["cn=jupyter,o=example"]'})
    assert said.startswith("ldapAllowedGroups: contradicts ldapAllowEveryone")
    # Groups of administrators are no answer to who may log in.
    said = refused(
        SITE | {"zhub:ldapAllowEveryone": "false", "zhub:ldapAdminGroups": '["cn=admins"]'}
    )
    assert said.startswith("ldapAllowedGroups: must be set")


def test_a_ca_without_tls() -> None:
    config = SITE | {"zhub:ldapTls": "none", "zhub:ldapCaFile": str(ROOT / "no-such-file")}
    said = [str(problem) for problem in read(config)[1].problems]
    assert len(said) == 2
    assert said[1].startswith("ldapCaFile: has no use when ldapTls is none")


def test_several_servers_as_text_or_list() -> None:
    servers = ("ldap1.example.com", "10.0.0.2:1636", "2001:db8::1")
    for text in ("LDAP1.example.com, 10.0.0.2:1636,2001:DB8::1", json.dumps(servers)):
        assert accepted(SITE | {"zhub:ldapServer": text}).servers == servers


@pytest.mark.parametrize(
    ("config", "said", "command"),
    [
        (
            SITE | {"zhub:ldapBindDn": "cn=hub,o=example"},
            "ldapBindPassword: must be set when ldapBindDn is",
            "pulumi config set --secret ldapBindPassword",
        ),
        (
            SITE | {"zhub:ldapBindPassword": "hunter2"},
            "ldapBindDn: must be set when ldapBindPassword is",
            "pulumi config set ldapBindDn cn=",
        ),
        (
            SITE | {"zhub:ldapRecheck": "60"},
            "ldapRecheck: has no use without ldapBindDn",
            "pulumi config set ldapBindDn cn=",
        ),
        (
            SITE | ACCOUNT | NO_TEMPLATE,
            "ldapSearchBase: must be set, or else ldapDnTemplates, when ldapBindDn is",
            "pulumi config set ldapSearchBase ou=",
        ),
        (
            SITE | ACCOUNT | BASE,
            "ldapDnTemplates: has no use when ldapBindDn finds users below ldapSearchBase",
            "pulumi config rm ldapDnTemplates",
        ),
        (
            SITE | BASE | NO_TEMPLATE,
            "ldapSearchBase: leaves open who searches: ldapBindDn",
            "pulumi config set ldapBindDn cn=",
        ),
        (
            SITE | ACTIVE_DIRECTORY,
            'ldapDnTemplates: "{username}@example.com" is no DN, so ldapSearchBase must say where',
            "pulumi config set ldapSearchBase ou=",
        ),
        (
            SITE | {"zhub:ldapUserFilter": "(objectClass=person)"},
            "ldapUserFilter: has no use without ldapSearchBase",
            "pulumi config rm ldapUserFilter",
        ),
        (
            SITE | {"zhub:ldapNestedGroups": "true"},
            "ldapNestedGroups: has no use without ldapAllowedGroups, ldapAdminGroups or",
            "pulumi config rm ldapNestedGroups",
        ),
        (
            SITE | {"zhub:ldapNameAttributes": "[]"},
            "ldapNameAttributes is []: names no attribute, so nobody would be found",
            "pulumi config rm ldapNameAttributes",
        ),
    ],
)
def test_what_does_not_go_together(config: dict[str, str], said: str, command: str) -> None:
    message = refused(config, secret=SECRET)
    assert message.startswith(said)
    assert message.split("\n    ")[1].startswith(command)


def test_all_that_does_not_go_together_is_said_at_once() -> None:
    config = SITE | {
        "zhub:ldapAllowEveryone": "false",
        "zhub:ldapBindDn": "cn=hub,o=example",
        "zhub:ldapDnTemplates": '["{username}@example.com"]',
        "zhub:ldapUserFilter": "(a=b)",
    }
    problems = read(config)[1].problems
    assert [problem.subject for problem in problems] == [
        "ldapAllowedGroups",
        "ldapBindPassword",
        "ldapUserFilter",
        "ldapDnTemplates",
    ]


def test_the_password_is_a_secret_and_in_no_message() -> None:
    assert accepted(ADVISED).bind_password
    said = refused(ADVISED | {"zhub:ldapBindPassword": "hunter2\n"}, secret=SECRET)
    assert said == (
        "ldapBindPassword is [not shown]: holds a line break or another control character\n"
        "    pulumi config set --secret ldapBindPassword"
    )
    [problem] = read(ADVISED)[1].problems
    assert str(problem) == (
        "ldapBindPassword is [not shown]: stored in clear in the stack's file\n"
        "    pulumi config set --secret ldapBindPassword"
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"zhub:ldapTls": "none"}, "PASSWORDS OF USERS AND OF THE SERVICE ACCOUNT ARE SENT"),
        ({"zhub:ldapAllowEveryone": "true"}, "ldapAllowEveryone is true: everybody"),
        ({"zhub:ldapAdminGroups": '["CN=jupyter,o=example"]'}, "administers the hub"),
        (
            dict.fromkeys(ACCOUNT, ""),
            "server, tokens and sessions end a day after their last login",
        ),
    ],
)
def test_what_is_not_advised_is_warned_of(more: dict[str, str], said: str) -> None:
    assert accepted(ADVISED).warnings(NOW) == []
    config = ADVISED | more
    if "zhub:ldapAllowEveryone" in more:
        config.pop("zhub:ldapAllowedGroups")
    if "zhub:ldapBindDn" in more:
        config |= {"zhub:ldapDnTemplates": SITE["zhub:ldapDnTemplates"]}
    [warning] = accepted(config).warnings(NOW)
    assert said in warning


def examples() -> dict[str, dict[str, str]]:
    """The directories that docs/identity.md shows, by their headings."""
    page = (ROOT / "docs" / "identity.md").read_text()
    found = re.findall(r"^### (.*?)\n\n```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return {
        heading: {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in yaml.safe_load(text)["config"].items()
        }
        for heading, text in found
    }


@pytest.mark.parametrize("heading", examples())
def test_the_examples_of_the_documentation_are_fine(
    heading: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    year = timedelta(days=365)
    authority = Identity.create("Site CA", authority=True, end=year, key=quick_key())
    authority.write(tmp_path, "site-ca")
    (tmp_path / "site-ca.crt").rename(tmp_path / "site-ca.pem")
    monkeypatch.chdir(tmp_path)
    config = examples()[heading] | {"docker:host": SITE["docker:host"]}
    if heading == "Without a service account":
        [warning] = accepted(config).warnings(NOW)
        assert warning.startswith("ldapBindDn is empty")
    else:
        assert accepted(config | {"zhub:ldapBindPassword": "as typed"}).warnings(NOW) == []


def test_the_documentation_has_an_example_for_each_kind_of_directory() -> None:
    kinds = ["OpenLDAP", "389", "Active Directory", "RACF", "Without"]
    assert [heading.startswith(kind) for kind, heading in zip(kinds, examples(), strict=True)] == [
        True
    ] * 5


def test_a_server_alone_is_warned_of() -> None:
    """What the hub's `--ldap=` by hand does, once the stack says that everybody may log in."""
    config = {key: value for key, value in SITE.items() if key != "zhub:ldapDnTemplates"}
    warnings = accepted(config).warnings(NOW)
    assert [warning.split()[0] for warning in warnings] == [
        "ldapDnTemplates",
        "ldapAllowEveryone",
        "ldapBindDn",
    ]
    assert "uid={username},ou=people,dc=example,dc=org" in warnings[0]


def test_people_of_one_name_are_warned_of_where_the_hub_may_not_see_both() -> None:
    templates = '["uid={username},ou=people,o=example", "uid={username},ou=guests,o=example"]'
    config = SITE | {"zhub:ldapDnTemplates": templates}
    assert "two people of one name" in accepted(config).warnings(NOW)[-1]
    for more in (ACCOUNT, BASE):
        assert not [w for w in accepted(config | more).warnings(NOW) if "of one name" in w]


def choices() -> Iterator[tuple[str, st.SearchStrategy[str]]]:
    dns = st.sampled_from(
        ["o=x", "cn=a\\,b,o=x", "racfid=A,profiletype=user,o=x", "hub@x.org", "x"]
    )
    for key, value in {
        "Server": st.sampled_from(
            ["ldap", "ldap:389", "::1", "a:636,b", "ldap:0", "[::1]:1", ":1"]
        ),
        "BindDn": dns,
        "BindPassword": st.sampled_from(["hunter2", "grün & blau"]),
        "SearchBase": dns,
        "NameAttributes": st.lists(st.sampled_from(["mail", "2.5.4.3", "u;d"]), max_size=3).map(
            json.dumps
        ),
        "UserFilter": st.text("()ab=\\&| ", max_size=8)
        | st.sampled_from(["(a=b)", "(&(a=b)(!(c=\\28)))"]),
        "DnTemplates": st.lists(
            st.sampled_from(["uid={username},o=x", "{username}@x.org", "X\\{username}"]), max_size=3
        ).map(json.dumps),
        "AllowedGroups": st.lists(dns, max_size=2).map(json.dumps),
        "AllowEveryone": st.sampled_from(["true", "false"]),
        "AdminGroups": st.lists(dns, max_size=2).map(json.dumps),
        "GroupBase": dns,
        "NestedGroups": st.sampled_from(["true", "false"]),
        "Recheck": st.sampled_from(["10", "60", "86400"]),
        "Port": st.sampled_from(["0", "1", "65535"]),
        "Tls": st.sampled_from(["starttls", "ldaps", "none"]),
    }.items():
        yield f"zhub:ldap{key}", value


@hypothesis.settings(deadline=None)
@given(st.fixed_dictionaries({}, optional=dict(choices())))
def test_the_hub_takes_whatever_is_not_refused(config: dict[str, str]) -> None:
    """What only the hub refused would be seen when `up` waits for it in vain."""
    from zhub import settings as hub_settings

    stack = {"docker:host": SITE["docker:host"]}
    settings = fixed(stack | config, set(SECRET))
    assert settings.ldap
    environment = variables.directory(settings.ldap)
    if environment["ZHUB_LDAP_BIND_PASSWORD_FILE"]:
        environment["ZHUB_LDAP_BIND_PASSWORD_FILE"] = str(Path(__file__))
    hub_settings.add_arguments(environment, [f"--ldap={','.join(settings.ldap.servers)}"])
    read_by_hub = hub_settings.read(environment).ldap
    for same in (
        *(
            "servers",
            "tls",
            "bind_dn",
            "search_base",
            "name_attributes",
            "user_filter",
            "allowed_groups",
        ),
        *("allow_everyone", "admin_groups", "group_base", "nested_groups", "recheck"),
    ):
        assert getattr(read_by_hub, same) == getattr(settings.ldap, same), same
    assert read_by_hub.searches == bool(settings.ldap.bind_dn and settings.ldap.search_base)


@pytest.mark.parametrize("apart", ["true", "false"])
def test_other_names_in_the_hub_are_warned_of(apart: str) -> None:
    """Their owners would begin with empty homes, and servers that run would end."""

    def up(names: list[str], before: dict[str, Any]) -> Recording:
        more = {"zhub:ldapNameAttributes": json.dumps(names), "zhub:separateProxy": apart}
        return run(ADVISED | more, deployed=before)

    def other_names(recording: Recording) -> list[str]:
        return [text for text in recording.warnings if "another name in the hub" in text]

    first = up(["uid"], {})
    assert other_names(first) == []
    hubs = [one for one in first.declared if one.name in {"hub", "hub-beside-proxy"}]
    before = {one.urn: {"type": one.type, "outputs": one.inputs} for one in hubs}
    assert other_names(up(["UID", "mail"], before)) == []
    [said] = other_names(up(["mail"], before))
    assert said.startswith("ldapNameAttributes begins with uid now and would begin with mail: ")
    assert said.endswith(
        "pulumi config set --path 'ldapNameAttributes[0]' uid"
        " && pulumi config set --path 'ldapNameAttributes[1]' mail"
    )
