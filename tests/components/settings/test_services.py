"""Services and roles in a stack's file: what is refused, and what is warned of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from zhub.settings.services import OWN

from components.settings import scopes, services
from tests.components.stack_config import DEMO, SITE, fixed, read, refused

TOKEN = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4
STARTS = {"name": "class-start", "scopes": ["start:servers", "read:servers"], "token": TOKEN}
SECRET = ("zhub:hubServices",)


def stack(*given: object, **config: str) -> dict[str, str]:
    own = {f"zhub:{key}": value for key, value in config.items()}
    return DEMO | own | ({"zhub:hubServices": json.dumps(given)} if given else {})


def roles(*given: object) -> dict[str, str]:
    return stack(hubRoles=json.dumps(given))


@pytest.fixture
def scope_definitions() -> dict[str, Any]:
    """JupyterHub's, of the images' release (tests/toolchain/test_lock.py)."""
    # Not above: each process that collects tests would import it.
    from jupyterhub.scopes import scope_definitions as found

    return dict(found)


def test_the_program_knows_the_scopes_of_the_images_jupyterhub(
    scope_definitions: dict[str, Any],
) -> None:
    assert scope_definitions.keys() == scopes.SCOPES | scopes.NO_ROLES


def test_what_contains_something_dangerous_is_dangerous(scope_definitions: dict[str, Any]) -> None:
    """Scopes hold others; none that is taken for harmless may hold one that is not."""
    for scope in scopes.SCOPES - scopes.DANGEROUS.keys():
        inside = {scope}
        while more := {s for i in inside for s in scope_definitions[i].get("subscopes", ())}:
            if more <= inside:
                break
            inside |= more
        assert not inside & scopes.DANGEROUS.keys(), scope


def test_the_hub_has_the_same_names_for_itself() -> None:
    assert services.TAKEN.keys() == OWN


def test_a_stack_without_services_has_none() -> None:
    found = read(SITE)[0].services
    assert (found.services, found.roles, found.tokens) == ((), (), None)


def test_services_and_roles_are_read() -> None:
    url = {"name": "grades", "scopes": ["list:users!group=research"], "token": OTHER}
    url["url"] = "https://grades.example.com"
    tutors = {"name": "tutors", "scopes": ["read:servers!user=Bob"], "groups": ["research"]}
    settings, declared = read(stack(STARTS, url, hubRoles=json.dumps([tutors])), secret=SECRET)
    assert declared.problems == []
    assert settings.services.services == (
        {"name": "class-start", "scopes": ("start:servers", "read:servers"), "url": ""},
        {"name": "grades", "scopes": ("list:users!group=research",), "url": url["url"]},
    )
    [role] = settings.services.roles
    assert (role["users"], role["groups"]) == ((), ("research",))
    assert role["scopes"] == ("read:servers!user=bob",)
    assert settings.services.warnings() == []


def test_a_token_in_clear_is_refused_and_not_shown() -> None:
    message = refused(stack(STARTS))
    assert "has the token of class-start in clear in the stack's file" in message
    fix = "openssl rand -hex 32 | pulumi config set --secret --path 'hubServices[0].token'"
    assert fix in message
    assert TOKEN not in message


def test_one_in_clear_beside_an_encrypted_one_is_found_in_the_stacks_file() -> None:
    second = STARTS | {"name": "other", "token": OTHER}
    _, declared = read(stack(STARTS, second), secret=SECRET)
    written = [{"name": "class-start", "token": {"secure": "v1:…"}}, second]
    services.refuse_in_clear(declared, {"config": {"zhub:hubServices": written}})
    [problem] = declared.problems
    assert "the token of other in clear" in str(problem)
    assert "hubServices[1].token" in str(problem)
    for elsewhere in ({}, {"config": None}, {"config": {"zhub:hubServices": written[:1]}}):
        _, declared = read(stack(STARTS, second), secret=SECRET)
        services.refuse_in_clear(declared, elsewhere)
        assert declared.problems == []


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"name": "Class"}, "not a name of 3 to 40", "hubServices[0].name' class-start"),
    ({"name": "metrics"}, "own service that Prometheus", "hubServices[0].name' class-start"),
    ({"name": "user"}, "role of all users", "hubServices[0].name' class-start"),
    ({"token": "short"}, "not a token of 32", "--secret --path 'hubServices[0].token'"),
    ({"token": f"{TOKEN}\n"}, "not a token of 32", "--secret --path 'hubServices[0].token'"),
    ({"scopes": []}, "an empty list", "rm --path 'hubServices[0].scopes'"),
    ({"scopes": ["start:server"]}, "did you mean start:servers?", "scopes[0]' read:servers"),
    ({"scopes": ["custom:x"]}, "no scope of JupyterHub", "scopes[0]' read:servers"),
    ({"scopes": ["inherit"]}, "means nothing here", "scopes[0]' read:servers"),
    ({"scopes": ["servers", "servers"]}, "given twice", "rm --path 'hubServices[0].scopes[1]'"),
    ({"scopes": ["servers!grup=a"]}, "limited to nothing", "scopes[0]' read:servers"),
    ({"scopes": ["servers!user=a b"]}, "not a user's name", "scopes[0]' read:servers"),
    ({"scopes": ["servers!user"]}, "limited to nothing", "scopes[0]' read:servers"),
    ({"url": "https://me:pw@x.org"}, "name or password", "hubServices[0].url' https://classes"),
    ({"admin": True}, '"admin": unknown; a service has', "rm --path 'hubServices[0][\"admin\"]'"),
]


@pytest.mark.parametrize(("change", "reason", "command"), WRONG)
def test_wrong_services_are_refused_with_the_fix(
    change: dict[str, Any], reason: str, command: str
) -> None:
    config = stack(STARTS | change)
    message = refused(config, secret=SECRET)
    assert message.startswith("hubServices is [not shown]: service ")
    assert reason in message
    assert command in message
    assert TOKEN not in message
    assert "pw@" not in message
    fixed(config, set(SECRET))


@pytest.mark.parametrize("field", ["name", "scopes", "token"])
def test_what_a_service_lacks_is_said(field: str) -> None:
    config = stack({key: value for key, value in STARTS.items() if key != field})
    assert f"has no {field}" in refused(config, secret=SECRET)
    fixed(config, set(SECRET))


def test_two_services_share_no_token() -> None:
    message = refused(stack(STARTS, STARTS | {"name": "other"}), secret=SECRET)
    assert "gives other the token of class-start" in message
    assert TOKEN not in message


def test_a_role_is_for_somebody_and_has_a_name_of_its_own() -> None:
    config = roles({"name": "tutors", "scopes": ["read:servers"]})
    assert "has the role tutors for nobody" in refused(config)
    assert fixed(config, set()).services.roles[0]["users"] == ("alice",)
    role = {"name": "class-start", "scopes": ["servers"], "users": ["bob"]}
    both = stack(STARTS, hubRoles=json.dumps([role]))
    assert "with the name of a service" in refused(both, secret=SECRET)
    fixed(both, set(SECRET))


def test_groups_need_a_directory_whose_groups_the_hub_knows() -> None:
    limited = STARTS | {"scopes": ["servers!group=research"]}
    for extra, secret in (
        ({"zhub:hubServices": json.dumps([limited])}, SECRET),
        (roles({"name": "tutors", "scopes": ["servers"], "groups": ["research"]}), ()),
    ):
        config = {key: value for key, value in extra.items() if key.startswith("zhub:hub")}
        message = refused(SITE | config, secret=secret)
        assert "the hub knows no groups without ldapGroupBase" in message
        fixed(SITE | config, set(secret))


@pytest.mark.parametrize("scope", sorted(scopes.DANGEROUS))
def test_dangerous_scopes_warn_with_what_they_give(scope: str) -> None:
    limited = f"{scope}!user=bob"
    role = {"name": "tutors", "scopes": ["servers", scope], "users": ["alice"]}
    config = stack(STARTS | {"scopes": [limited]}, hubRoles=json.dumps([role]))
    settings, declared = read(config, secret=SECRET)
    assert declared.problems == []
    of_service, of_role = settings.services.warnings()
    gives = scopes.DANGEROUS[scope]
    assert f"has the scope {limited}, so whoever has its token can {gives} (only of" in of_service
    assert "pulumi config rm --path 'hubServices[0].scopes[0]'" in of_service
    assert f"whoever has this role can {gives};" in of_role
    assert "pulumi config rm --path 'hubRoles[0].scopes[1]'" in of_role


def test_a_stack_file_elsewhere_is_no_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.settings import stack as settings

    monkeypatch.chdir(tmp_path)
    assert settings._stack_file("organization/zhub/dev") == {}
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {a: b}\n")
    assert settings._stack_file("organization/zhub/dev") == {"config": {"a": "b"}}
    (tmp_path / "Pulumi.dev.yaml").write_text("")
    assert settings._stack_file("dev") == {}
