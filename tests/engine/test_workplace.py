"""What people who work in the hub all day meet, on a stack of its own on which nothing is emulated.

The tests run in file order; one changes the stack.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from threading import Event, Thread
from typing import Any
from urllib.parse import urljoin, urlsplit

import docker
import pytest
import requests
import websocket

from tests.built import wait_until
from tests.docs.commands import as_typed, runs
from tests.engine.conftest import native, running_stack
from tests.engine.people import Entrance
from tests.engine.scrapes import metrics_token, samples, scrape
from tests.engine.stack import PulumiError, Stack
from tests.hubclient import Kernel, User
from tests.ports import free_port

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("native")]

ODD = "%C3%9Cbung%20%231%20100%25%20%F0%9F%9A%80.ipynb"
"""The name of a file, as it is in a link: `Übung #1 100% 🚀.ipynb`."""


PROFILES = [
    {"name": "standard"},
    {
        "name": "large",
        "groups": ["cn=analysts,ou=groups,dc=example,dc=org"],
        "memory": "768M",
        "cpus": "0.5",
        "environment": ["SIZE=large"],
        "devices": ["random"],
        "packages": ["tree"],
    },
]
"""The demo's alice may have both, the others the first one."""

HAS_TREE = "import os, shutil; print(shutil.which('tree'), os.path.ismount('/shared/models'))"
"""Code that says where a program is that only one profile has, and whether a folder of it is."""


def server_of(stack: Stack, engine: docker.DockerClient, user: str) -> dict[str, Any]:
    """Return the container of a user's server, as the engine describes it."""
    [server] = engine.containers.list(filters=stack.labelled("notebook", user))
    return server.attrs


def layers(engine: docker.DockerClient, image: str) -> list[str]:
    found: list[str] = engine.images.get(image).attrs["RootFS"]["Layers"]
    return found


@pytest.fixture(scope="module")
def workplace(
    engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    config = native(engine) | {"port": free_port(), "basePath": "/science/jupyter"}
    config |= {"userMemory": "512M", "notebookPackages": ["git"], "profiles": PROFILES}
    config |= {"homeLimit": "512M"}
    config |= {"sharedFolders": [{"name": "models", "profiles": ["large"]}]}
    yield from running_stack(engine, "e2e-work", tmp_path_factory.mktemp("work"), config)


def test_a_link_without_the_base_path_leads_to_a_file_after_login_and_start(
    workplace: Stack,
) -> None:
    entrance = Entrance.of(workplace)
    assert str(entrance.outputs["url"]).endswith(f":{entrance.port}/science/jupyter")
    bob = entrance.logged_in("bob")
    bob.start_server()
    link = f"https://localhost:{entrance.port}/hub/user-redirect/lab/tree/{ODD}"
    page = bob.request("GET", link)
    assert page.url == urljoin(bob.base, f"user/bob/lab/tree/{ODD}")
    assert "jupyter-config-data" in page.text
    bob.stop_server()


def typed(stack: Stack, blocks: list[str]) -> str:
    """Return a script of what the docs print."""
    return as_typed(blocks, stack.name, stack.config_file)


def test_an_announcement_comes_and_goes_while_the_hub_runs(
    workplace: Stack, engine: docker.DockerClient
) -> None:
    stranger = Entrance.of(workplace).browser()
    announce, end = runs("docs/identity.md", "What the login page says")
    before = engine.containers.get(f"{workplace.prefix}-hub").id
    workplace.shell(typed(workplace, [announce]))
    stranger.open_login_form()
    assert "The hub is down on Sunday from 8 to 10." in stranger.request("GET", "hub/login").text
    workplace.shell(typed(workplace, [end]))
    assert "Sunday" not in stranger.request("GET", "hub/login").text
    assert engine.containers.get(f"{workplace.prefix}-hub").id == before


def test_a_full_home_is_known_to_its_user_and_to_the_operator(
    workplace: Stack, engine: docker.DockerClient
) -> None:
    entrance = Entrance.of(workplace)
    token = metrics_token(engine, workplace)

    def counted() -> dict[str, float]:
        found = samples(scrape(entrance, token).text)
        return {s.labels["user"]: s.value for s in found if s.name == "guard_home_bytes"}

    carol = entrance.logged_in("carol")
    carol.start_server()
    assert json.loads(page_config(carol))["zhubHomeLimit"] == str(512 << 20)
    carol.run(
        "import subprocess; subprocess.run('fallocate -l 600M large', shell=True, check=True)"
    )
    carol.stop_server()
    # It is counted when the server has ended, and not only in its turn.
    wait_until(lambda: counted().get("carol", 0) > 600 << 20, seconds=60)

    carol.start_server()

    def shown() -> dict[str, int]:
        found: dict[str, int] = carol.request("GET", urljoin(carol.home, "zhub/home")).json()
        return found

    wait_until(lambda: shown()["taken"] is not None, seconds=60)
    assert shown()["taken"] > shown()["limit"] == 512 << 20
    carol.run("import subprocess; subprocess.run('fallocate -l 70M /tmp/large', shell=True)")
    # The operator sees it.
    listed = workplace.make("users", DO="list").stdout
    assert re.search(r"(?m)^carol .* 0\.6 of 0\.5 GiB FULL", listed), listed
    sizes = workplace.make("sizes").stdout
    assert re.search(r"home of carol: .*, 11\d % of the limit - OVER IT", sizes), sizes
    assert "server of carol: 0.07 GiB outside the home, such as in /tmp" in sizes
    # Its user can clean up, and what is deleted does not lie in the home's trash.
    carol.save("new.txt", "written")
    large = urljoin(carol.home, "api/contents/large")
    carol.request("DELETE", large).raise_for_status()
    assert carol.run("import os; print(os.path.exists('.local/share/Trash'))") == "False\n"
    carol.stop_server()
    wait_until(lambda: counted()["carol"] < 100 << 20, seconds=60)


def page_config(user: User) -> str:
    """What JupyterLab's page tells its extensions, as JSON."""
    found = re.search(r'id="jupyter-config-data"[^>]*>(.*?)</script>', user.open_lab(), re.DOTALL)
    assert found
    return found[1]


REPOSITORY = """
    git init --quiet --initial-branch main origin && cd origin && echo hello >a.txt && git add a.txt
    git -c user.name=bob -c user.email=bob@example.com commit --quiet --message first
"""


def test_a_link_opens_a_repository(workplace: Stack) -> None:
    bob = Entrance.of(workplace).logged_in("bob")
    bob.start_server()
    bob.run(f"import subprocess; subprocess.run({REPOSITORY!r}, shell=True, cwd='/home/jovyan')")
    wanted = (
        "repo=%2Fhome%2Fjovyan%2Forigin&branch=main&targetpath=course&urlpath=lab%2Ftree%2Fcourse"
    )
    hub = urlsplit(bob.base)
    page = bob.request("GET", f"{hub.scheme}://{hub.netloc}/hub/user-redirect/git-pull?{wanted}")
    assert page.url == urljoin(bob.home, f"git-pull?{wanted}")
    assert page.status_code == 200
    # As the script of that page does it.
    [token] = [c.value for c in bob.cookies() if c.name == "_xsrf" and "/user/bob/" in c.path]
    pulled = bob.request("GET", urljoin(bob.home, f"git-pull/api?{wanted}&_xsrf={token}"))
    assert '"phase": "finished"' in pulled.text
    assert bob.read("course/a.txt") == "hello\n"
    bob.stop_server()


def last_use(user: User) -> datetime:
    """Return when a user's server was last in use, by its own word, which it also gives the hub."""
    status = user.request("GET", urljoin(user.home, "api/status")).json()
    return datetime.fromisoformat(status["last_activity"])


def wait_until_used(user: User, *, after: datetime) -> None:
    end = time.monotonic() + 60
    while last_use(user) <= after:
        assert time.monotonic() < end
        time.sleep(0.2)


class OpenPage(Thread):
    """Does what an open page does while nobody looks: answers pings, and asks for its lists."""

    def __init__(self, user: User, kernel: Kernel) -> None:
        super().__init__(daemon=True)
        self._user = user
        self._connection = user.websocket(f"{kernel.url}/channels", timeout=600)
        self._closed = Event()

    def run(self) -> None:
        with suppress(websocket.WebSocketException, OSError):
            while not self._closed.is_set():
                self._connection.recv_data(control_frame=True)

    def ask(self) -> None:
        for path in ("contents/?content=1", "kernels", "sessions", "terminals"):
            self._user.request("GET", urljoin(self._user.home, f"api/{path}")).raise_for_status()

    def close(self) -> None:
        self._closed.set()
        self._connection.close()


def compute(user: User, kernel: Kernel, seconds: int) -> None:
    """Begin a cell that prints nothing, and close the page."""
    kernel.run("pass")  # the kernel itself takes long to start
    with suppress(TimeoutError):
        kernel.run(f"import time; time.sleep({seconds})", timeout=5)
    user.request("GET", urljoin(user.home, "api/kernels")).raise_for_status()


def type_into_a_terminal(user: User, line: str) -> str:
    """Open a terminal, enter a line and close the page; return the terminal's address."""
    terminals = urljoin(user.home, "api/terminals")
    name = user.request("POST", terminals).json()["name"]
    page = user.websocket(urljoin(user.home, f"terminals/websocket/{name}"), timeout=60)
    page.send(json.dumps(["stdin", f"{line}\r"]))
    shown = ""
    while line not in shown:
        shown += str(json.loads(page.recv())[-1])
    page.close()
    return f"{terminals}/{name}"


def test_work_is_use_of_a_server_and_an_open_page_is_not(workplace: Stack) -> None:
    bob = Entrance.of(workplace).logged_in("bob")
    bob.start_server()
    kernel = bob.start_kernel()
    kernel.run("pass")
    page = OpenPage(bob, kernel)
    page.start()
    time.sleep(2)  # the messages with which a connection begins
    before = last_use(bob)
    for _ in range(3):
        page.ask()
        time.sleep(1)
    assert last_use(bob) == before
    page.close()

    compute(bob, kernel, 1000)
    first = last_use(bob)
    wait_until_used(bob, after=first)
    wait_until_used(bob, after=last_use(bob))
    kernel.end()

    terminal = type_into_a_terminal(bob, "sleep 1000")
    wait_until_used(bob, after=last_use(bob) + timedelta(seconds=1))
    bob.request("DELETE", terminal).raise_for_status()
    ended = last_use(bob)
    time.sleep(2)
    assert last_use(bob) == ended
    bob.save("a.txt", "by a person")
    assert last_use(bob) > ended
    bob.stop_server()


def with_server(user: User) -> None:
    """Log in to a user's server, which may be running from the test before."""
    if not user.server():
        user.ask_for_server()
    user.open_lab()


def ask(kernel: Kernel, user: User, code: str) -> list[dict[str, Any]]:
    """Ask a kernel to run code that ends it; return what the page is sent until it says so."""
    page = user.websocket(f"{kernel.url}/channels", timeout=120)
    header = {"msg_id": "asked", "msg_type": "execute_request", "session": "page"}
    page.send(
        json.dumps(
            {
                "channel": "shell",
                "header": header | {"username": "", "version": "5.3"},
                "parent_header": {},
                "metadata": {},
                "content": {"code": code, "silent": False},
            }
        )
    )
    sent: list[dict[str, Any]] = []
    while not sent or sent[-1]["content"].get("execution_state") != "restarting":
        sent.append(json.loads(page.recv()))
    page.close()
    return sent


def told(sent: list[dict[str, Any]]) -> str:
    """Return what is shown below the cell."""
    own = [one for one in sent if one["parent_header"].get("msg_id") == "asked"]
    return "".join(one["content"]["text"] for one in own if one["msg_type"] == "stream")


def test_a_user_learns_that_memory_ran_out_and_may_share_a_part_of_it(workplace: Stack) -> None:
    bob = Entrance.of(workplace).logged_in("bob")
    bob.start_server()
    kernel = bob.start_kernel()
    size = kernel.run("import os; s = os.statvfs('/dev/shm'); print(s.f_frsize * s.f_blocks)")
    assert int(size) == 128 << 20, "a quarter of the memory"

    assert told(ask(kernel, bob, "import os; os.kill(os.getpid(), 9)")) == ""
    said = told(ask(kernel, bob, "x = bytearray(600 << 20)"))
    assert "Memory ran out: the kernel needed more than" in said
    assert "(0.5 GiB)" in said
    bob.stop_server()


def test_a_folder_with_files_can_be_deleted(workplace: Stack) -> None:
    bob = Entrance.of(workplace).logged_in("bob")
    bob.start_server()
    bob.run("import os; os.makedirs('full/er'); open('full/er/a', 'w').close()")
    answer = bob.request("DELETE", urljoin(bob.home, "api/contents/full"))
    assert answer.status_code == 204, answer.text


@pytest.mark.parametrize(
    "breaks",
    [
        "mkdir -p .local/share/jupyter; cd .local/share/jupyter; rm -rf runtime; touch runtime",
        "rm -rf .local .jupyter .ipython; touch .local .jupyter .ipython",
        "rm -f .local .jupyter .ipython; mkdir .local; chmod 0 .local",
    ],
    ids=["a file as runtime folder", "files as folders", "an unreadable folder"],
)
def test_a_server_starts_with_a_broken_home(workplace: Stack, breaks: str) -> None:
    bob = Entrance.of(workplace).logged_in("bob")
    with_server(bob)
    bob.run(f"import subprocess; subprocess.run({breaks!r}, shell=True, cwd='/home/jovyan')")
    bob.stop_server()
    bob.start_server()
    assert bob.run("print(6 * 7)") == "42\n"


def test_a_home_that_is_closed_to_its_user_is_given_back(workplace: Stack) -> None:
    bob = Entrance.of(workplace).logged_in("bob")
    with_server(bob)
    bob.run("import os; os.chmod('/home/jovyan', 0)")
    bob.stop_server()
    repaired = typed(workplace, runs("docs/operations.md", "Give a home back to its user"))
    workplace.shell(repaired.replace("alice", "bob"))
    bob.start_server()
    bob.save("again.txt", "open")
    assert bob.read("again.txt") == "open"
    bob.stop_server()


def ready(user: User) -> None:
    """Wait until the user's server is ready."""
    wait_until(lambda: bool(user.server().get("ready")), seconds=120)


def test_groups_decide_which_server_a_user_gets(
    workplace: Stack, engine: docker.DockerClient
) -> None:
    def limits(name: str) -> tuple[int, int, int]:
        host = server_of(workplace, engine, name)["HostConfig"]
        return host["Memory"] >> 20, host["CpuQuota"], len(host["Devices"] or ())

    entrance = Entrance.of(workplace)
    bob, alice = entrance.logged_in("bob"), entrance.logged_in("alice")
    for user in (bob, alice):
        if user.server():
            user.stop_server()
    # Without a question.
    bob.request("GET", "hub/spawn").raise_for_status()
    ready(bob)
    assert limits("bob") == (512, 200_000, 0)
    outputs = workplace.outputs()
    assert server_of(workplace, engine, "bob")["Image"] == outputs["notebookDigest"]
    bob.open_lab()
    assert bob.run(HAS_TREE) == "None False\n"
    bob.stop_server()
    refused = bob.request("POST", "hub/spawn", data={"profile": "large"})
    assert refused.status_code == requests.codes.forbidden
    assert "You may not have a server with the profile" in refused.text
    asked = bob.request("POST", "hub/api/users/bob/server", json={"profile": "large"})
    assert asked.status_code == requests.codes.forbidden
    assert not bob.server()

    page = alice.request("GET", "hub/spawn").text
    assert 'value="standard" required checked' in page
    assert 'value="large" required>' in page
    alice.request("POST", "hub/spawn", data={"profile": "large"}).raise_for_status()
    ready(alice)
    assert limits("alice") == (768, 50_000, 1)
    alice.open_lab()
    assert alice.run("import os; print(os.environ['SIZE'])") == "large\n"
    # From an image of its own, which is the notebook image with a package more.
    own = server_of(workplace, engine, "alice")["Image"]
    assert own == outputs["profile_largeDigest"]
    assert alice.run(HAS_TREE) == "/usr/bin/tree True\n"
    shared = layers(engine, outputs["notebookDigest"])
    assert layers(engine, own)[: len(shared)] == shared
    alice.stop_server()
    assert 'value="large" required checked' in alice.request("GET", "hub/spawn").text

    # Who leaves the group loses the profile, at the latest with the next start.
    [leave] = runs("docs/profiles.md", "In the demo", "docker")
    workplace.shell(leave.replace("zhub-dev-", f"{workplace.prefix}-"))
    # What starts without a choice, as a program's for a class, gets what there is.
    alice.request("POST", "hub/api/users/alice/server").raise_for_status()
    ready(alice)
    assert limits("alice") == (512, 200_000, 0)
    alice.stop_server()
    asked = alice.request("POST", "hub/api/users/alice/server", json={"profile": "large"})
    assert asked.status_code == requests.codes.forbidden
    directory = engine.containers.get(f"{workplace.prefix}-directory")
    directory.restart()
    health = "/usr/local/bin/directory-health"
    wait_until(lambda: directory.exec_run(health).exit_code == 0, seconds=60)


@pytest.mark.long
def test_where_an_image_cannot_be_built_servers_go_on_starting(
    workplace: Stack, engine: docker.DockerClient
) -> None:
    """From the image of before, which has lost its name, and which only its holder keeps."""

    def containers() -> dict[str, str]:
        roles = ("hub", "guard", "notebookimage", "filterimage", "profileimage_large")
        return {role: str(engine.containers.get(f"{workplace.prefix}-{role}").id) for role in roles}

    before, digest = containers(), workplace.outputs()["notebookDigest"]
    [name] = [tag for tag in engine.images.get(digest).tags if tag.endswith(f":{workplace.prefix}")]
    broken = {"name": "broken", "packages": ["no-such-package"]}
    source = {"imageSource": "https://git.example.com/another"}
    workplace.configure(source | {"profiles": [*PROFILES, broken]})
    with pytest.raises(PulumiError, match="no-such-package"):
        workplace.up()
    assert engine.images.get(name).id != digest
    assert containers() == before
    assert engine.containers.get(before["notebookimage"]).attrs["Image"] == digest
    bob = Entrance.of(workplace).logged_in("bob")
    bob.start_server()
    assert server_of(workplace, engine, "bob")["Image"] == digest

    # With the package's name corrected. The server goes on.
    workplace.on_stack("config rm", "--path", "zhub:profiles[2]")
    workplace.up()
    assert engine.images.get(name).id == workplace.outputs()["notebookDigest"] != digest
    changed = {role for role, made in containers().items() if made != before[role]}
    assert {"hub", "guard", "notebookimage"} <= changed
    assert server_of(workplace, engine, "bob")["Image"] == digest
    bob.stop_server()
    workplace.on_stack("preview", "--refresh", "--expect-no-changes")


@pytest.mark.long
def test_the_hub_stops_the_servers_that_nobody_uses(workplace: Stack) -> None:
    """In full: with the shortest time there may be, and pages that stay open all the time."""
    workplace.configure({"idleTimeout": 360})
    workplace.up()
    entrance = Entrance.of(workplace)
    users = {name: entrance.logged_in(name) for name in ("alice", "bob", "carol", "grace")}
    for user in users.values():
        user.start_server()
    alice, bob, carol, grace = users.values()
    kernel = alice.start_kernel()
    kernel.run("pass")
    page = OpenPage(alice, kernel)
    page.start()
    compute(bob, bob.start_kernel(), 3000)
    type_into_a_terminal(carol, "sleep 3000")
    begin = time.monotonic()
    while alice.server():
        assert time.monotonic() < begin + 900, "an open page keeps the server"
        with suppress(requests.RequestException):
            page.ask()  # fails once the server is gone
        grace.save("a.txt", "in use")
        time.sleep(10)
    assert time.monotonic() > begin + 350
    for user in (bob, carol, grace):
        assert user.server()["ready"], user.name
        user.stop_server()
    page.close()


def old(stack: Stack, engine: docker.DockerClient) -> dict[str, bool | None]:
    """Return whose server runs an image that no new server of its profile gets."""
    hub = engine.containers.get(f"{stack.prefix}-hub")
    listed: Any = hub.exec_run(["zhub", "users", "list"], user="1000", demux=True).output
    return {user["name"]: user["old"] for user in json.loads(listed[0])["users"]}


def test_a_running_server_keeps_address_kernels_and_packages_when_the_stack_changes(
    workplace: Stack, engine: docker.DockerClient
) -> None:
    """The path before all addresses changes, and a profile has no packages of its own any more."""
    before = Entrance.of(workplace)
    alice, bob = (before.logged_in(name) for name in ("alice", "bob"))
    alice.request("POST", "hub/spawn", data={"profile": "large"}).raise_for_status()
    ready(alice)
    alice.open_lab()
    bob.ask_for_server()
    own = server_of(workplace, engine, "alice")["Image"]
    found = old(workplace, engine)
    assert (found["alice"], found["bob"]) == (False, False)
    kernel = alice.start_kernel()
    kernel.run("answer = 6 * 7")
    there, path = alice.home, kernel.url

    workplace.configure({"basePath": "/"})
    workplace.on_stack("config rm", "--path", "zhub:profiles[1].packages")
    assert "basePath changes from /science/jupyter to /" in workplace.up()

    after = Entrance.of(workplace)
    assert after.outputs["url"] == f"https://localhost:{after.port}"
    alice = after.logged_in("alice")
    # Its own cookie has to be got anew: through the hub, whose address the server has wrong.
    alice.open_lab()
    assert alice.home == there
    assert Kernel(alice, path).run("print(answer)") == "42\n"
    assert alice.run(HAS_TREE) == "/usr/bin/tree True\n"
    found = old(workplace, engine)
    assert (found["alice"], found["bob"]) == (True, False)
    assert not engine.containers.list(filters=workplace.labelled("profileimage_large"))
    assert engine.images.get(own), "as old notebook images, until somebody prunes the engine"
    old_link = urljoin(there, f"../../hub/user-redirect/lab/tree/{ODD}")
    assert alice.request("GET", old_link).url == urljoin(there, f"lab/tree/{ODD}")

    alice.stop_server()
    alice.start_server()
    newest = workplace.outputs()["notebookDigest"]
    assert server_of(workplace, engine, "alice")["Image"] == newest
    assert alice.home == f"https://localhost:{after.port}/user/alice/"
    page = alice.request("GET", urljoin(there, "lab")).url.partition("?")[0]
    assert page == urljoin(alice.home, "lab")
    alice.stop_server()
    after.logged_in("bob").stop_server()
