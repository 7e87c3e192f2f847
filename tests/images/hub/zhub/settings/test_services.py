"""Services and roles in the environment of the hub, and which are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jupyterhub import roles
from zhub import settings
from zhub.settings.services import OWN

from tests.images.hub.zhub.settings.conftest import LDAP, problems

SERVICE = {"name": "class-start", "scopes": ["start:servers"], "url": "https://x.example.com"}
ROLE = {"name": "tutors", "scopes": ["read:servers"], "users": ["bob"], "groups": ["research"]}
GROUPS = {"ZHUB_LDAP_GROUP_BASE": "ou=groups,dc=example,dc=org"}


@pytest.fixture
def tokens(tmp_path: Path) -> dict[str, str]:
    """The variable with the file of tokens."""
    file = tmp_path / "tokens"
    file.write_text(json.dumps({"class-start": "a token"}))
    return {"ZHUB_SERVICE_TOKENS_FILE": str(file)}


def variables(*services: Any, roles: Any = ()) -> dict[str, str]:
    return {"ZHUB_SERVICES": json.dumps(services), "ZHUB_ROLES": json.dumps(roles)}


@pytest.mark.slow
def test_services_and_roles_reach_jupyterhub(
    config: Any, tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The import takes two seconds.
    from jupyterhub.app import JupyterHub

    # The config changes it in the whole process: here, until the test ends.
    monkeypatch.setattr(JupyterHub, "init_api_tokens", JupyterHub.init_api_tokens)
    hub = config(**tokens, **GROUPS, **variables(SERVICE, roles=[ROLE])).JupyterHub
    service = hub.services[-1]
    assert service["name"] == "class-start"
    assert not service.keys() & {"url", "command", "admin", "api_token"}
    assert hub.load_roles[-2:] == [
        {"name": "class-start", "scopes": ["start:servers"], "services": ["class-start"]},
        ROLE,
    ]
    assert hub.template_vars["links"] == [{"name": "class-start", "url": "https://x.example.com"}]


def test_the_hubs_own_services_and_roles_have_names_that_no_other_gets(config: Any) -> None:
    hub = config(ZHUB_IDLE_TIMEOUT="600").JupyterHub
    names = {one["name"] for one in (*hub.services, *hub.load_roles)}
    assert names | {"admin", "server", "token", "user"} == OWN
    assert hub.template_vars["links"] == []


@pytest.mark.parametrize(
    "given",
    [
        {"name": "metrics", "scopes": []},
        {"name": "user", "scopes": []},
        {"name": "Class", "scopes": []},
        {"name": "class-start"},
        {"name": "class-start", "scopes": "servers"},
        "class-start",
    ],
)
def test_wrong_ones_are_refused(given: object, tokens: dict[str, str]) -> None:
    expected = " must be a JSON list of {}, each with name and scopes"
    [problem] = problems(LDAP | tokens | variables(given))
    assert problem.startswith("ZHUB_SERVICES is")
    assert expected.format("services") in problem
    [problem] = problems(LDAP | variables(roles=[given]))
    assert expected.format("roles") in problem


def test_a_service_needs_a_token_and_a_name_of_its_own(tokens: dict[str, str]) -> None:
    [problem] = problems(LDAP | variables(SERVICE))
    assert problem == "the service class-start has no token in the file of ZHUB_SERVICE_TOKENS_FILE"
    same = ROLE | {"name": "class-start"}
    [problem] = problems(LDAP | GROUPS | tokens | variables(SERVICE, roles=[same]))
    assert problem == "there are two services or roles with the name class-start"


@pytest.mark.parametrize(
    "role", [ROLE, {"name": "tutors", "scopes": ["read:servers!group=research"], "users": ["bob"]}]
)
def test_where_groups_give_rights_only_the_directory_changes_them(
    config: Any, role: dict[str, Any]
) -> None:
    [problem] = problems(LDAP | variables(roles=[role]))
    assert problem.startswith("ZHUB_SERVICES or ZHUB_ROLES names a group, which needs ZHUB_LDAP_GR")
    for given, changes in (([role], False), ([{**role, "scopes": ["self"], "groups": []}], True)):
        config(**GROUPS, **variables(roles=given))
        [admin] = [one for one in roles.get_default_roles() if one["name"] == "admin"]
        assert ("admin:groups" in admin["scopes"]) is changes


@pytest.mark.parametrize("text", ["", "[]", '{"class-start": 1}'])
def test_a_file_of_something_else_is_refused_and_not_shown(
    text: str, tokens: dict[str, str]
) -> None:
    Path(tokens["ZHUB_SERVICE_TOKENS_FILE"]).write_text(text)
    [problem] = problems(LDAP | tokens | variables(SERVICE))
    assert problem.startswith("the services' tokens cannot be read from /")


def test_a_stack_without_them_has_none() -> None:
    found = settings.read(dict(LDAP)).services
    assert (found.services, found.roles, found.tokens_file) == ((), (), None)
