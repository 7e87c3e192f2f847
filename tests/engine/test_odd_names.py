"""Names with whatever a name may have, with profiles, folders and groups that come and go.

Of some, the names of containers and volumes differ only in what is escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from urllib.parse import quote, urljoin

import docker
import pytest
import requests

from components.directory import BASE
from tests.built import wait_until
from tests.engine.conftest import RESEARCH, native, running_stack
from tests.engine.people import Entrance
from tests.engine.stack import Stack
from tests.engine.test_workplace import ready, server_of
from tests.hubclient import LoginRefused, User
from tests.ports import free_port

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.xdist_group("native")]

#: Users' names, each as it is typed at login.
NAMES = {
    "a.b": "A.B",
    "a-2eb": "a-2eb",
    "a_b": "a_B",
    "ibm@corp": "IBM@Corp",
    "#1$": "#1$",
    "$": "$",
    "@" + "." * 63: "@" + "." * 63,
    "x" * 64: "X" * 64,
}

#: The group of a profile, as the stack names it and as the directory does.
GROUP = rf"cn=R\2bD\, Zürich #1,ou=groups,{BASE}"
WRITTEN = rf"cn=R\+D\2c Z\C3\BCrich \#1,ou=groups,{BASE}"

PASSWORD = "in the clear, as slapd takes it"


def dn(name: str) -> str:
    """The DN of a person; a # and a space have a meaning at its beginning."""
    return f"uid={name.replace('#', chr(92) + '#')},ou=people,{BASE}"


def entries() -> str:
    """The people, with their groups, as LDIF."""
    text = ""
    for name in [*NAMES, "müller"]:
        text += f"dn: {dn(name)}\nobjectClass: inetOrgPerson\nuid: {name}\ncn: a\nsn: a\n"
        text += f"userPassword: {PASSWORD}\n\n"
    members = "".join(f"member: {dn(name)}\n" for name in NAMES)
    text += f"dn: {WRITTEN}\nobjectClass: groupOfNames\ncn: R+D, Zürich #1\n{members}\n"
    for group in (f"cn=jupyter,ou=groups,{BASE}", RESEARCH):
        add = "".join(f"add: member\nmember: {dn(name)}\n-\n" for name in NAMES)
        text += f"dn: {group}\nchangetype: modify\n{add}\n"
    return text


def leave(*names: str) -> str:
    """LDIF by which people leave the profile's group."""
    gone = "".join(f"delete: member\nmember: {dn(name)}\n-\n" for name in names)
    return f"dn: {WRITTEN}\nchangetype: modify\n{gone}\n"


@pytest.fixture(scope="module")
def stack(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    config = native(engine) | {
        "port": free_port(),
        "notebookPackages": [],
        "notebookRequirements": [],
        "userMemory": "512M",
        "homeLimit": "1G",
        "profiles": [{"name": "standard"}, {"name": "large", "groups": [GROUP], "memory": "600M"}],
        "sharedFolders": [
            {"name": "team", "groups": [RESEARCH], "mode": "read-write"},
            {"name": "large", "profiles": ["large"]},
        ],
    }
    yield from running_stack(engine, "e2e-odd", tmp_path_factory.mktemp("odd"), config)


def told(stack: Stack, ldif: str) -> None:
    """Have the directory take LDIF, as `ldapmodify -a` does."""
    (stack.folder / "ldif").write_text(ldif)
    command = "ldapmodify -a -Q -Y EXTERNAL -H ldapi:///"
    stack.shell(f"docker exec -i {stack.prefix}-directory {command} <{stack.folder}/ldif")


def logged_in(entrance: Entrance, name: str) -> User:
    """A browser of a person who types the name in another way than the hub writes it."""
    user = entrance.browser()
    user.log_in(NAMES[name], PASSWORD)
    # In addresses, as the hub's pages have it.
    user.name = quote(name, safe="@~")
    user.home = urljoin(user.base, f"user/{user.name}/")
    assert user.request("GET", f"hub/api/users/{user.name}").json()["name"] == name
    return user


def asked(user: User) -> dict[str, object]:
    """What a server knows of itself."""
    code = "import json, os; e = os.environ; f = sorted(os.listdir('/shared'))\n"
    code += "own = open('own').read() if os.path.exists('own') else ''\n"
    code += "print(json.dumps([e['JUPYTERHUB_USER'], e['ZHUB_PROFILE'], f, own]))"
    found: list[object] = json.loads(user.run(code))
    return dict(zip(("user", "profile", "folders", "own"), found, strict=True))


def test_each_name_has_a_server_a_home_and_a_choice_of_its_own(
    stack: Stack, engine: docker.DockerClient
) -> None:
    told(stack, entries())
    entrance = Entrance.of(stack)
    with pytest.raises((LoginRefused, requests.HTTPError), match=r"cannot be a user name|403"):
        entrance.browser().log_in("müller", PASSWORD)
    users = {name: logged_in(entrance, name) for name in NAMES}
    for name, user in users.items():
        user.request("POST", "hub/spawn", data={"profile": "large"}).raise_for_status()
        ready(user)
        user.open_lab()
        user.save("own", name)
    for name, user in users.items():
        known = {"user": name, "profile": "large", "folders": ["large", "team"], "own": name}
        assert asked(user) == known
        assert server_of(stack, engine, name)["HostConfig"]["Memory"] == 600 << 20
    listed = stack.make("users", DO="list").stdout
    for name in NAMES:
        assert re.search(rf"(?m)^{re.escape(name)} +runs ", listed), listed

    # Some leave the group while they work, and some before their next start.
    at_once, later = ["#1$", "a.b", "@" + "." * 63], ["a-2eb", "$", "x" * 64]
    told(stack, leave(*at_once))
    wait_until(lambda: not any(users[name].server() for name in at_once), seconds=180)
    for name in [*later, "a_b", "ibm@corp"]:
        assert users[name].server()["ready"], name
        users[name].stop_server()
    told(stack, leave(*later))
    for name in [*at_once, *later]:
        # As a program that starts servers without a choice.
        users[name].request("POST", f"hub/api/users/{users[name].name}/server").raise_for_status()
        ready(users[name])
        users[name].open_lab()
        known = {"user": name, "profile": "standard", "folders": ["team"], "own": name}
        assert asked(users[name]) == known
    for name in ("a_b", "ibm@corp"):
        assert 'value="large" required checked' in users[name].request("GET", "hub/spawn").text


def test_an_operator_can_name_them(stack: Stack, engine: docker.DockerClient) -> None:
    stack.environment["ZHUB_YES"] = "1"
    entrance = Entrance.of(stack)
    for name in ("a.b", "#1$", "@" + "." * 63, "x" * 64):
        done = stack.make("users", DO="stop", USER=name)
        assert done.returncode == 0, done.stdout
        assert not logged_in(entrance, name).server()
        # Also one of a name that is like another one's in another way.
        done = stack.make("users", DO="forget", USER=name)
        assert done.returncode == 0, done.stdout
        listed = stack.make("users", DO="list").stdout
        assert not re.search(rf"(?m)^{re.escape(name)} .* yes", listed), listed
    assert server_of(stack, engine, "a-2eb")
    sizes = stack.make("sizes").stdout
    assert "home of a-2eb: " in sizes
    assert "home of a.b: " not in sizes
