"""With a proxy of its own, nobody at work notices that the hub is replaced, crashes or is away.

One stack, natively, in the order of the tests: it begins without a separate proxy and ends so.
"""

from __future__ import annotations

import json
import random
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import pytest
import requests
from docker.models.containers import Container

from tests.built import bridge_address, wait_until
from tests.engine import chaos
from tests.engine.conftest import native, running_stack
from tests.engine.counting import Away, Count, Work
from tests.engine.listener import LogServer
from tests.engine.people import Entrance, served_certificate
from tests.engine.scrapes import metrics_token, samples, scrape
from tests.engine.stack import PulumiError, Stack, checkout
from tests.hubclient import Kernel, User
from tests.pki import Identity
from tests.ports import free_port

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("native")]

APART = ("front", "proxy", "hub")


@pytest.fixture(scope="module")
def logs() -> Iterator[LogServer]:
    with LogServer() as server:
        yield server


class Site:
    """The stack, its user at work, and who has what on the engine."""

    def __init__(self, stack: Stack, engine: docker.DockerClient, authority: Identity) -> None:
        self.stack = stack
        self.engine = engine
        self._authority = authority
        outputs = stack.outputs()
        self.port = urlsplit(outputs["url"]).port or 443
        self.user = User(outputs["url"], stack.folder / "authority.crt")
        self.user.log_in("alice", outputs["demoUsers"]["alice"])
        self.at_work()

    def at_work(self) -> None:
        """Start the user's server, and a kernel with a variable."""
        self.user.start_server()
        self.kernel: Kernel = self.user.start_kernel()
        self.kernel.run("answer = 6 * 7")

    def move(self, **settings: Any) -> None:
        """Have the stack at another port, with other settings too, and go on there.

        Cookies count for all ports of a host.
        """
        old, self.port = self.port, free_port()
        self.stack.configure({"port": self.port, **settings})
        self.stack.up()
        for holder, name in ((self.user, "base"), (self.user, "home"), (self.kernel, "url")):
            url = getattr(holder, name).replace(f":{old}/", f":{self.port}/")
            setattr(holder, name, url)

    def renew(self) -> None:
        """Put another key and certificate where the stack's settings say."""
        Identity.create("localhost", issuer=self._authority).write(self.stack.folder, "hub")

    def container(self, role: str) -> Container:
        """The container with a role."""
        return self.engine.containers.get(f"{self.stack.prefix}-{role}")

    def ids(self) -> dict[str, str]:
        """Which containers there are, by role."""
        return {role: str(self.container(role).id) for role in APART}

    def answers(self) -> bool:
        """Whether the user reaches the server."""
        try:
            found = self.user.request("GET", f"{self.user.home}api/kernels", allow_redirects=False)
        except requests.RequestException:
            return False
        return found.status_code == HTTPStatus.OK

    def hub_answers(self) -> bool:
        """Whether anybody reaches the hub."""
        api = f"https://localhost:{self.port}/{self.stack.prefix}/hub/api"
        try:
            return requests.get(api, verify=str(self.user.authority), timeout=30).ok
        except requests.RequestException:
            return False

    def healthy(self) -> bool:
        """Whether hub and proxy work, by their own health checks."""
        states = [self.container(role).attrs["State"] for role in ("hub", "proxy")]
        return all(state["Running"] and state["Health"]["Status"] == "healthy" for state in states)

    def kernel_lives(self) -> bool:
        """Whether the kernel that was started first still has its variable."""
        return self.kernel.run("print(answer)") == "42\n"


@pytest.fixture(scope="module")
def site(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("apart")
    authority = Identity.create("Test authority", authority=True)
    authority.write(folder, "authority")
    Identity.create("localhost", issuer=authority).write(folder, "hub")
    config = native(engine) | {
        "port": free_port(),
        "tlsCertFile": str(folder / "hub.crt"),
        "tlsKeyFile": str(folder / "hub.key"),
        "notebookPackages": ["python3-six"],
        "userNetworkPool": "10.231.0.0/20",
    }
    for stack in running_stack(engine, "e2e-apart", folder, config):
        yield Site(stack, engine, authority)


def printed(container: Container, *command: str) -> str:
    """What a command prints in a container."""
    output = container.exec_run(list(command)).output
    assert isinstance(output, bytes)
    return output.decode(errors="replace")


def unharmed(count: Count) -> None:
    """Check that a user who was at work has lost nothing."""
    assert count.failed == []
    assert count.closed == []
    assert count.complete
    assert count.requests > 10
    assert len(count.lines) > 3


def test_where_its_image_cannot_be_built_all_goes_on_as_before(site: Site, tmp_path: Path) -> None:
    """Also for who starts a server then, and for a hub that is restarted."""
    broken = replace(site.stack, project=checkout(tmp_path / "project"))
    with (broken.project / "images/proxy/Dockerfile").open("a") as dockerfile:
        dockerfile.write("RUN exit 7\n")
    guard, files = site.container("guard").id, site.container("files").id
    broken.configure({"separateProxy": True})
    with pytest.raises(PulumiError, match="RUN exit 7 failed"):
        broken.up()
    assert (site.container("guard").id, site.container("files").id) == (guard, files)
    site.user.stop_server()
    site.at_work()
    site.container("hub").restart()
    wait_until(site.answers, seconds=60)
    assert site.kernel_lives()


def test_it_can_be_switched_on_with_users_at_work(site: Site) -> None:
    server = site.container("user-alice").id
    site.stack.configure({"separateProxy": True})
    site.stack.up()
    wait_until(site.answers, seconds=30)
    assert site.kernel_lives()
    assert site.container("user-alice").id == server
    ports = {role: bool(site.container(role).attrs["HostConfig"]["PortBindings"]) for role in APART}
    assert ports == {"front": True, "proxy": False, "hub": False}


def test_an_up_that_replaces_the_hub_ends_nothing(site: Site, tmp_path: Path) -> None:
    """Its code, its settings, the limits that it shares with the guard, and the certificate."""
    changed = replace(site.stack, project=checkout(tmp_path / "project"))
    with (changed.project / "images/hub/zhub/__init__.py").open("a") as code:
        code.write("# A change of the hub's code.\n")
    changed.configure({"idleTimeout": 7200, "userMemory": "1G"})
    before, guard = site.ids(), site.container("guard").id
    certificate = served_certificate(site.port)
    site.renew()
    with Work(site.user).counted() as count:
        changed.up()
        wait_until(lambda: served_certificate(site.port) != certificate, seconds=10)
    unharmed(count)
    after = site.ids()
    assert [role for role in APART if before[role] != after[role]] == ["hub"]
    assert guard != site.container("guard").id
    assert site.kernel_lives()
    assert _steps(changed) == []
    # Nor does a refresh, which sees the networks of users who are at work.
    changed.on_stack("preview", "--refresh", "--expect-no-changes")


def _steps(stack: Stack) -> list[dict[str, Any]]:
    """What another `up` would change."""
    preview = json.loads(stack.on_stack("preview", "--json"))
    return [step for step in preview["steps"] if step["op"] != "same"]


def test_while_the_hub_is_away_servers_go_on_and_pages_say_so(site: Site) -> None:
    """For longer than servers remember whom the hub has let in."""
    hub = site.container("hub")
    login = f"https://localhost:{site.port}/{site.stack.prefix}/hub/login"
    with Work(site.user).counted() as count:
        hub.stop(timeout=5)
        page = requests.get(
            login,
            headers={"Accept": "text/html"},
            verify=str(site.user.authority),
            timeout=30,
        )
        time.sleep(35)
        hub.start()
        wait_until(
            lambda: requests.get(login, verify=str(site.user.authority), timeout=30).ok, seconds=60
        )
    unharmed(count)
    assert page.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    assert page.headers["Retry-After"] == "3"
    assert 'http-equiv="refresh"' in page.text
    assert "JupyterHub is restarting" in page.text


def another(site: Site, name: str) -> User:
    """Another user's browser, logged in."""
    outputs = site.stack.outputs()
    user = User(outputs["url"], site.user.authority)
    user.log_in(name, outputs["demoUsers"][name])
    return user


def test_who_asks_for_a_server_while_an_up_replaces_the_guard_gets_it(site: Site) -> None:
    """One start after the other, all the time."""
    bob, guard = another(site, "bob"), site.container("guard").id
    site.stack.configure({"usersMemory": "64G"})
    begin, starts, failed = int(time.time()), 0, 0
    with ThreadPoolExecutor(1) as threads:
        up = threads.submit(site.stack.up)
        while not up.done():
            try:
                bob.start_server()
                bob.stop_server()
            except requests.HTTPError:
                failed += 1
                # As the page says: who tries again at once is refused at once.
                time.sleep(10)
            else:
                starts += 1
        up.result()
    assert site.container("guard").id != guard
    assert starts
    # On a busy machine, the new guard takes longer than a start waits, and then the hub is new.
    assert failed <= 3
    assert "Traceback" not in site.container("hub").logs(since=begin).decode()
    # What such a try has left is no hindrance.
    if bob.server():
        bob.stop_server()
    bob.start_server()
    bob.stop_server()


def test_a_hub_that_an_up_has_not_come_to_yet_is_no_wrong_one(site: Site) -> None:
    """It asks the new guard for servers as they were before: no alert, and the user knows why."""
    bob, hub = another(site, "bob"), site.container("hub").id
    site.stack.configure({"userMemory": "1536M"})
    site.stack.up("--target", "**Container::guard")
    assert site.container("hub").id == hub
    told = bob.request("POST", "hub/api/users/bob/server")
    assert told.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    assert told.json()["message"].startswith("The hub is being updated")
    token = metrics_token(site.engine, site.stack)
    entrance = Entrance(site.stack.outputs(), site.user.authority)
    counted = {
        sample.labels["outcome"]: sample.value
        for sample in samples(scrape(entrance, token).text)
        if sample.name == "guard_calls_total" and sample.labels["call"] == "create_container"
    }
    assert counted["refused"] == 0
    assert counted["outdated"] > 0
    site.stack.up()
    bob = another(site, "bob")
    bob.start_server()
    bob.stop_server()


def test_a_proxy_that_crashed_has_its_routes_again_within_seconds(site: Site) -> None:
    wait_until(site.answers, seconds=10)
    hub = site.container("hub").attrs["State"]["StartedAt"]
    # Not `docker kill`, after which the engine does not start it again.
    pid = site.container("proxy").attrs["State"]["Pid"]
    subprocess.run(["kill", "-KILL", str(pid)], check=True)
    begin = time.monotonic()
    wait_until(lambda: site.container("proxy").attrs["State"]["Pid"] not in {0, pid}, seconds=10)
    wait_until(site.answers, seconds=15)
    assert time.monotonic() - begin < 15
    assert site.container("hub").attrs["State"]["StartedAt"] == hub
    assert site.kernel_lives()


def test_a_proxy_that_starts_does_not_wait_for_the_hub(site: Site) -> None:
    """Its routes are those that it had, and the hub's that were changed while it was away."""
    site.container("hub").stop(timeout=5)
    site.container("proxy").restart(timeout=5)
    wait_until(site.answers, seconds=15)
    site.container("hub").start()
    wait_until(site.healthy, seconds=60)
    kept = json.loads(printed(site.container("hub"), "cat", "/run/proxy/routes.json"))
    server = f"/{site.stack.prefix}/user/alice"
    assert set(kept) == {"/", f"/{site.stack.prefix}", server}
    site.user.stop_server()
    kept = json.loads(printed(site.container("hub"), "cat", "/run/proxy/routes.json"))
    assert server not in kept
    site.at_work()


def test_an_up_that_replaces_hub_and_proxy_shuts_nobody_out_for_long(
    site: Site, logs: LogServer
) -> None:
    before = site.ids()
    site.stack.configure(
        {
            "hstsSeconds": 300,
            "idleTimeout": 5400,
            # For the next test.
            "logDriver": "syslog",
            "logOptions": [f"syslog-address={logs.address}"],
            "logFormat": "json",
            "logLevel": "debug",
        }
    )
    hub = Away(site.hub_answers)
    server = Away(site.answers)
    with hub.counted(), server.counted():
        site.stack.up()
        wait_until(lambda: site.answers() and site.healthy(), seconds=30)
    after = site.ids()
    assert [role for role in APART if before[role] != after[role]] == ["proxy", "hub"]
    assert 0 < server.longest < hub.longest - 0.5, "it does not wait for the hub"
    assert site.kernel_lives()


def test_logs_go_where_the_stack_says_in_lines_that_can_be_read(
    site: Site, logs: LogServer
) -> None:
    def config(role: str) -> dict[str, Any]:
        found: dict[str, Any] = site.container(role).attrs["HostConfig"]["LogConfig"]
        return found

    options = {"syslog-address": logs.address, "tag": "{{.Name}}", "mode": "non-blocking"}
    for role in ("hub", "guard", "proxy", "directory"):
        assert config(role) == {"Type": "syslog", "Config": options}
    # A server that runs goes on as it is; the next one logs as the stack does.
    server = "user-alice"
    assert config(server)["Type"] == "json-file"
    site.user.stop_server()
    site.at_work()
    assert config(server) == config("hub")
    wait_until(lambda: bool(logs.of(f"{site.stack.prefix}-{server}")), seconds=10)
    for role in ("hub", "guard", "proxy"):
        sent = logs.of(f"{site.stack.prefix}-{role}")
        kept = site.container(role).logs().decode().splitlines()
        assert sent, role
        assert kept, role
        lines = [json.loads(line) for line in (*sent, *kept)]
        # The lines of the audit log, which are the guard's too, have a format of their own.
        lines = [line for line in lines if "event" not in line]
        assert lines, role
        assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
        assert "\x1b" not in "".join(line["message"] for line in lines)
    hub = logs.of(f"{site.stack.prefix}-hub")
    assert {"JupyterHub", "IdleCuller"} <= {json.loads(line)["logger"] for line in hub}
    assert printed(site.container("hub"), "cat", "/run/proxy/token") not in "".join(hub)


def test_the_token_of_the_proxys_api_is_in_a_file_alone(site: Site) -> None:
    hub, proxy = site.container("hub"), site.container("proxy")
    token = printed(hub, "cat", "/run/proxy/token")
    assert len(token) == 64
    assert printed(proxy, "cat", "/run/proxy/token") == token
    for one in (hub, proxy, site.container("front"), site.container("guard")):
        assert token not in json.dumps(one.attrs)
    for one in (hub, proxy):
        seen = printed(one, "sh", "-c", "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline")
        assert "zhub" in seen
        assert token not in seen
    # Neither reads what is only the other's.
    assert hub.exec_run(["cat", "/certs/hub.key"]).exit_code
    assert proxy.exec_run(["sh", "-c", "cat /certs/hub.key > /dev/null"]).exit_code == 0
    assert proxy.exec_run(["ls", "/srv/jupyterhub"]).exit_code


def test_its_metrics_are_scraped_with_the_hubs(site: Site) -> None:
    token = metrics_token(site.engine, site.stack)
    entrance = Entrance(site.stack.outputs(), site.user.authority)
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for sample in samples(scrape(entrance, token).text)
    }
    assert found["zhub_metrics_up", "proxy"] == 1
    assert found["proxy_requests_web",] > 0


def test_a_network_that_was_made_anew_is_joined_again(site: Site) -> None:
    """As after a restart of the engine."""
    site.container("front").restart(timeout=1)
    wait_until(lambda: site.answers() and site.healthy(), seconds=90)
    assert site.kernel_lives()
    log = site.container("guard").logs().decode()
    for role in ("proxy", "hub"):
        assert f"restarting {site.stack.prefix}-{role}, which is in a network that is gone" in log


def test_the_engine_may_start_them_in_any_order(site: Site) -> None:
    for role in ("hub", "proxy", "front"):
        site.container(role).stop(timeout=5)
    for role in ("hub", "proxy"):
        with pytest.raises(docker.errors.APIError, match="cannot join network of a non running"):
            site.container(role).start()
    site.container("front").start()
    wait_until(lambda: site.answers() and site.healthy(), seconds=90)
    assert site.kernel_lives()


def test_whatever_is_struck_is_back_by_itself(site: Site) -> None:
    """A short one of test_chaos.py, where ten users are at work for twenty minutes."""
    seed = time.time_ns()
    print(f"{seed=}")
    chance = random.Random(seed)  # noqa: S311 - nothing secret comes of it
    blows = chaos.Blows(lambda: site.engine, site.stack.prefix, chance)
    entrance = Entrance(site.stack.outputs(), site.user.authority)
    site.user.save("struck.txt", "kept")
    worker = chaos.Worker(nullcontext, partial(entrance.logged_in, "bob"), keeps=True)
    worker.begin()
    with chaos.at_work({"bob": worker}):
        for role in chance.sample(("hub", "proxy", "guard", "directory"), 4):
            blows.strike(role)
            time.sleep(chance.uniform(0, 2))
        print("\n".join(blows.log))
        wait_until(lambda: site.answers() and site.healthy(), seconds=60)
    worker.check()
    assert worker.wrong == []
    assert worker.served
    assert site.kernel_lives()
    assert site.user.read("struck.txt") == "kept"
    assert worker.user
    worker.user.stop_server()
    assert chaos.orphans(site.engine, site.stack.prefix, {"alice"}) == []


def test_hub_and_proxy_are_behind_the_filter_of_their_network(site: Site) -> None:
    """Also now that the network has been made anew, twice."""
    address = bridge_address(site.engine.api)
    with socket.create_server((address, 0)) as listener:
        port = listener.getsockname()[1]
        here = f"{address} {port}"
        with socket.create_connection((address, port), timeout=5):
            pass
        tried = {
            "hub": f"import socket; socket.create_connection('{here}'.split(), timeout=5)",
            "proxy": (
                f"require('net').connect({port}, '{address}', () => process.exit(0))"
                ".on('error', (error) => { console.log(error.code); process.exit(1); })"
            ),
        }
        hub = site.container("hub").exec_run(["/opt/jupyter/bin/python3", "-c", tried["hub"]])
        proxy = site.container("proxy").exec_run(["node", "-e", tried["proxy"]])
    for refused in (hub, proxy):
        assert refused.exit_code == 1, refused.output
        assert any(word in str(refused.output) for word in ("No route to host", "EHOSTUNREACH"))


def test_at_another_port_the_kernel_goes_on(site: Site) -> None:
    before = site.ids()
    site.move()
    wait_until(site.answers, seconds=30)
    assert site.kernel_lives()
    assert not set(before.values()) & set(site.ids().values())
    wait_until(site.healthy, seconds=60)


def test_it_can_be_switched_off_again(site: Site) -> None:
    """Also together with the port."""
    server = site.container("user-alice").id
    site.move(separateProxy=False)
    wait_until(site.answers, seconds=30)
    assert site.kernel_lives()
    assert site.container("user-alice").id == server
    for role in ("front", "proxy"):
        with pytest.raises(docker.errors.NotFound):
            site.container(role)
    assert _steps(site.stack) == []


def test_without_it_a_certificate_is_exchanged_while_running_too(site: Site) -> None:
    hub, certificate = site.container("hub").id, served_certificate(site.port)
    site.renew()
    with Work(site.user).counted() as count:
        site.stack.up()
        wait_until(lambda: served_certificate(site.port) != certificate, seconds=10)
    unharmed(count)
    assert site.container("hub").id == hub
