"""How the hub finds its servers after a start, and takes over those without a record.

JupyterHub's own users and database, with an engine, a directory and a proxy that the test scripts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import NotFound
from jupyterhub import app, orm, roles
from jupyterhub.user import User, UserDict
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from traitlets.config import Config
from zhub.servers import hub as hub_module
from zhub.servers import pending as pending_module
from zhub.servers.hub import JupyterHub
from zhub.servers.pending import FOUND
from zhub.servers.spawner import UserSpawner
from zhub.servers.unavailable import NoServerError
from zhub.settings.folders import SharedFolder
from zhub.settings.profiles import Profile
from zhub.state import logins, plan
from zhub.state.plan import Action, Plan

from tests.images.hub.profiles import profile

SERVER = "site-user-alice"
TOKEN = "0123456789abcdef0123456789abcdef"
STANDARD, LARGE = profile("standard"), profile("large", "quants")
TEAM = SharedFolder(name="team", read_only=False, groups=("quants",))


class Engine:
    """Has one server that runs, until it is removed; its network, too."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.server: dict[str, Any] | None = {
            "Id": "abc",
            "Names": [f"/{SERVER}"],
            "Labels": {"zhub.user": "alice"},
            "State": {"Running": True, "Paused": False, "Status": "running"},
            "NetworkSettings": {"Networks": {SERVER: {"IPAddress": "10.213.0.3"}}},
            "Config": {"Labels": {"zhub.user": "alice"}, "Env": []},
            "Mounts": [],
        }

    def runs(self, *folders: str, **variables: str) -> None:
        """Give the server shared folders, to write to, and variables."""
        assert self.server
        own = {
            "JUPYTERHUB_USER": "alice",
            "JUPYTERHUB_CLIENT_ID": "jupyterhub-user-alice",
            "JUPYTERHUB_API_URL": "http://hub:8081/hub/api",
            "JUPYTERHUB_HOST": "",
            "JUPYTERHUB_SERVICE_PREFIX": "/user/alice/",
            "JUPYTERHUB_API_TOKEN": TOKEN,
        }
        self.server["Config"]["Env"] = [f"{n}={v}" for n, v in {**own, **variables}.items()]
        self.server["Mounts"] = [{"Destination": f"/shared/{name}", "RW": True} for name in folders]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*_: Any, **__: Any) -> Any:
            self.calls.append(name)
            if name in {"containers", "networks"}:
                return [self.server] if self.server and name == "containers" else []
            if name in {"stop", "remove_container"}:
                self.server = None
            if name == "inspect_container" and not self.server:
                response: Any = SimpleNamespace(status_code=404, reason="x", url="/")
                raise NotFound("x", response, "No such container: x")
            return self.server if name == "inspect_container" else None

        return call


class Directory:
    """An authenticator whose directory answers, or not yet."""

    refresh_pre_spawn = True

    def __init__(self) -> None:
        self.groups: frozenset[str] | None = frozenset({"quants"})
        self.silent = 0
        self._known: frozenset[str] | None = None

    async def refresh_user(self, _: User) -> bool:
        if self.silent:
            self.silent -= 1
        else:
            self._known = self.groups
        return True

    def groups_of(self, _: str) -> frozenset[str] | None:
        return self._known

    def pre_spawn_start(self, *_: Any) -> None:
        pass

    def post_spawn_stop(self, *_: Any) -> None:
        pass


class Site:
    """A hub that has started, in whose database alice has no server."""

    def __init__(
        self, engine: Engine, profiles: tuple[Profile, ...], folders: tuple[SharedFolder, ...]
    ) -> None:
        self.engine = engine
        self.directory = Directory()
        database = create_engine("sqlite://")
        orm.Base.metadata.create_all(database)
        self.db = Session(database)
        for role in roles.get_default_roles():
            roles.create_role(self.db, role)
        alice = orm.User(name="alice")
        self.db.add_all([alice, orm.OAuthClient(identifier="jupyterhub")])
        self.db.commit()
        roles.assign_default_roles(self.db, alice)
        self.db.connection().exec_driver_sql(logins.SCHEMA)
        logins.record(self.db, "alice")
        config = Config()
        config.UserSpawner.prefix = "site-user"
        config.UserSpawner.hub_connect_url = "http://hub:8081"
        config.UserSpawner.remove = True
        config.UserSpawner.use_internal_ip = True
        config.UserSpawner.stack = "site"
        config.UserSpawner.network_options = {
            "prefix": "site",
            "hub": "hub",
            "pool": IPv4Network("10.213.0.0/16"),
            "internal": False,
        }
        config.UserSpawner.profiles = list(profiles)
        config.UserSpawner.shared_folders = list(folders)
        settings = {
            "authenticator": self.directory,
            "spawner_class": UserSpawner,
            "config": config,
            "hub": SimpleNamespace(
                api_url="http://hub:8081/hub/api", base_url="/hub/", public_host=""
            ),
            "base_url": "/",
            "internal_ssl": False,
        }
        self.hub = JupyterHub(config=config)
        self.hub.db = self.db
        self.hub.users = UserDict(lambda: self.db, settings)
        self.hub._tasks = set()
        self.routes: list[str] = []
        self.hub.proxy = SimpleNamespace(add_user=self._route)
        self.failing = False

    async def _route(self, user: User) -> None:
        if self.failing:
            raise OSError("the proxy does not answer")
        self.routes.append(user.name)

    @property
    def user(self) -> User:
        return self.hub.users["alice"]

    def remember(self, container: str, address: str = "10.213.0.3") -> None:
        """Let the database have a record of alice's server, with that container."""
        record = self.user.spawner.orm_spawner
        record.server = orm.Server(base_url="/user/alice/", ip=address, port=8888)
        record.state = {"object_id": container}
        self.db.commit()
        self.user.spawners.clear()

    def settle(self) -> None:
        """What the sweep does with the server."""
        asyncio.run(self.hub._settle("abc", SERVER, "alice"))

    @property
    def kept(self) -> bool:
        """Whether the hub knows the server now, as it was."""
        spawner = self.user.spawner
        known = spawner.ready and spawner.api_token == TOKEN
        assert known is bool(self.engine.server)
        assert known or "remove_container" in self.engine.calls
        return bool(known)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Engine]:
    async def up(_: User, spawner: UserSpawner) -> None:
        spawner._start_pending = False

    made = Engine()
    monkeypatch.setattr(UserSpawner, "client", made, raising=False)
    monkeypatch.setattr(UserSpawner, "start_polling", lambda _: None)
    monkeypatch.setattr(JupyterHub, "lives", staticmethod(lambda: None), raising=False)
    monkeypatch.setattr(User, "_wait_up", up)
    monkeypatch.setattr(hub_module, "SWEEP_SECONDS", 0.01)
    for function in (plan.closed, plan.due):
        monkeypatch.setattr(function, "__defaults__", (tmp_path / "plan.json",))
    yield made
    JupyterHub.clear_instance()


def test_a_server_with_a_shared_folder_and_a_groups_profile_is_kept(engine: Engine) -> None:
    """Which the hub has to ask the directory about: it has just started."""
    engine.runs("team", ZHUB_PROFILE="large")
    site = Site(engine, (STANDARD, LARGE), (TEAM,))
    site.settle()
    assert site.kept
    assert site.routes == ["alice"]
    spawner = site.user.spawner
    # As the recheck reads them.
    assert spawner.orm_spawner.user_options == {"profile": "large"}
    assert spawner.orm_spawner.state["folders"] == ["team:rw"]
    assert not spawner.pending


def test_it_is_kept_whatever_was_chosen_when_the_database_was_copied(engine: Engine) -> None:
    engine.runs(ZHUB_PROFILE="large")
    folder = SharedFolder(name="small", read_only=True, profiles=("standard",))
    site = Site(engine, (STANDARD, LARGE), (folder,))
    for before in ({"profile": "standard"}, {"profile": "no more"}):
        site.user.spawner.orm_spawner.user_options = before
        site.settle()
        assert site.kept
        site.user.spawner.server = None


def test_one_whose_profile_the_stack_has_no_more_is_kept(engine: Engine) -> None:
    """Also where its user may have no other, as the recheck leaves it."""
    engine.runs(ZHUB_PROFILE="before")
    site = Site(engine, (LARGE,), ())
    site.directory.groups = frozenset()
    site.settle()
    assert site.kept


def test_while_the_directory_does_not_answer_it_is_neither_kept_nor_removed(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    engine.runs("team")
    site = Site(engine, (), (TEAM,))
    site.directory.silent = 3
    site.settle()
    assert site.kept
    assert caplog.text.count("has no record; it is kept if its user may have it") == 3


def test_it_is_removed_if_its_user_may_not_have_it(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.runs("team")
    site = Site(engine, (), (TEAM,))
    site.directory.groups = frozenset()
    site.settle()
    assert not site.kept
    assert "has no record: its user may not have the shared folder team" in caplog.text


@pytest.mark.parametrize(("seconds", "kept"), [(3600, True), (-1, False)])
def test_it_is_kept_until_the_time_at_which_all_are_stopped(
    engine: Engine,
    tmp_path: Path,
    seconds: int,
    kept: bool,  # noqa: FBT001
) -> None:
    engine.runs()
    site = Site(engine, (), ())
    plan.write(Plan(Action.STOP, time.time() + seconds), tmp_path / "plan.json")
    site.settle()
    assert site.kept is kept


def test_the_end_of_one_without_a_route_is_noticed(engine: Engine) -> None:
    """JupyterHub's own look at the routes adds what the proxy did not take."""
    engine.runs()
    site = Site(engine, (), ())
    site.failing = True
    site.settle()
    assert site.kept
    assert site.user.spawner._callbacks


def test_no_server_is_started_in_place_of_one_that_ends_meanwhile(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.runs()
    site = Site(engine, (), ())

    async def ends(_: UserSpawner) -> None:
        engine.server = None

    monkeypatch.setattr(UserSpawner, "run_pre_spawn_hook", ends)
    site.settle()
    assert "create_container" not in engine.calls
    assert not site.user.spawner.active


@pytest.mark.parametrize(
    ("container", "address", "pending"),
    [
        ("abc", "10.213.0.3", "check"),
        ("earlier", "10.213.0.3", None),
        # The hub ended before it knew the address.
        ("abc", "", None),
    ],
)
def test_no_route_is_removed_before_the_engine_has_said_who_runs(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    container: str,
    address: str,
    pending: str | None,
) -> None:
    """JupyterHub removes those of servers that wait for nothing when it has started."""
    site = Site(engine, (), ())
    site.remember(container, address)
    seen = []

    async def containers(_: JupyterHub) -> list[Any]:
        assert not FOUND.is_set(), "a start would be ended by the check"
        seen.append(site.user.spawner.pending)
        return [engine.server]

    async def jupyterhubs_own(_: JupyterHub) -> int:
        assert FOUND.is_set()
        seen.append(site.user.spawner.pending)
        return 1

    monkeypatch.setattr(JupyterHub, "_containers", containers)
    monkeypatch.setattr(app.JupyterHub, "init_spawners", jupyterhubs_own)

    async def start() -> None:
        site.hub._start_future = asyncio.get_running_loop().create_future()
        await site.hub.init_spawners()

    asyncio.run(start())
    assert seen == ["check", pending]
    assert bool(site.user.spawner.server) is bool(pending)


def test_a_start_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_module, "FOUND", asyncio.Event())
    monkeypatch.setattr(pending_module, "FOUND_SECONDS", 0.01)
    with pytest.raises(NoServerError, match="The hub has just started"):
        asyncio.run(pending_module._found())


def test_a_server_that_is_started_while_the_engine_is_asked_keeps_its_record(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages are served meanwhile."""
    site = Site(engine, (), ())

    async def containers(_: JupyterHub) -> list[Any]:
        site.remember("new")
        site.user.spawner._spawn_pending = True
        return [engine.server]

    async def jupyterhubs_own(_: JupyterHub) -> int:
        return 0

    monkeypatch.setattr(JupyterHub, "_containers", containers)
    monkeypatch.setattr(app.JupyterHub, "init_spawners", jupyterhubs_own)
    asyncio.run(site.hub.init_spawners())
    assert site.user.spawner.server


def test_an_error_does_not_end_the_search_for_servers(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.runs()
    site = Site(engine, (), ())
    removed = {"Id": "old", "Names": None, "Labels": {"zhub.user": "alice"}}
    answers: list[Any] = [RuntimeError("the engine's answer is no list"), [removed, engine.server]]

    async def containers(_: JupyterHub) -> Any:
        answer = answers.pop(0) if answers else []
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(JupyterHub, "_containers", containers)

    async def sweep() -> None:
        site.hub._start_future = asyncio.sleep(0)
        sweeping = asyncio.create_task(site.hub._sweep())
        async with asyncio.timeout(30):
            while not site.user.spawner.ready:
                assert not sweeping.done(), sweeping
                await asyncio.sleep(0.01)
        sweeping.cancel()

    asyncio.run(sweep())
    assert site.kept


def test_an_error_does_not_end_the_routing_of_servers_that_are_checked(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(engine, (), ())
    site.remember("abc")
    site.hub._mark()
    monkeypatch.setattr(hub_module, "ROUTES_SECONDS", 0.01)
    looks = 0

    async def check_routes(*_: Any) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise OSError("the proxy does not answer")
        site.user.spawner._check_pending = False

    site.hub.proxy = SimpleNamespace(check_routes=check_routes)

    async def route() -> None:
        site.hub._start_future = asyncio.sleep(0)
        await asyncio.wait_for(site.hub._route(), 30)

    asyncio.run(route())
    assert looks == 2


@pytest.mark.parametrize("new", [True, False])
def test_servers_of_before_a_database_was_lost_are_left_alone_for_a_while(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    new: bool,  # noqa: FBT001
) -> None:
    """Their users may log in again, or the database be restored."""
    caplog.set_level(logging.WARNING)
    engine.runs()
    site = Site(engine, (), ())
    if new:
        logins.forget(site.db, "alice")
    now = time.monotonic()
    monkeypatch.setattr(hub_module, "time", SimpleNamespace(monotonic=lambda: now))

    async def jupyterhubs_own(_: JupyterHub) -> int:
        return 0

    monkeypatch.setattr(app.JupyterHub, "init_spawners", jupyterhubs_own)

    async def settle_unknown() -> None:
        await site.hub._settle("abc", SERVER, "unknown")

    async def start() -> None:
        site.hub._start_future = asyncio.get_running_loop().create_future()
        await site.hub.init_spawners()
        await settle_unknown()

    asyncio.run(start())
    assert bool(engine.server) is new
    assert ("as after its loss" in caplog.text) is new
    now += hub_module.NEW_SECONDS + 1
    asyncio.run(settle_unknown())
    assert not engine.server
    assert f"removing {SERVER}: the database has no user unknown" in caplog.text


def test_a_server_that_cannot_be_looked_after_now_is_said_in_one_line(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its turn comes again with the next look."""
    engine.runs()
    site = Site(engine, (), ())

    async def silent(*_: Any) -> None:
        raise NoServerError("the guard does not answer")

    monkeypatch.setattr(JupyterHub, "_settle_for", silent)
    asyncio.run(site.hub._settle("abc", SERVER, "alice"))
    assert f"{SERVER} runs without a record, and is looked at again" in caplog.text
    assert not any(record.exc_info for record in caplog.records)
    assert engine.server


def test_a_hub_that_ends_while_servers_are_checked_says_nothing_of_that(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JupyterHub itself would log it with a traceback."""
    site = Site(engine, (), ())

    async def waits(_: JupyterHub) -> int:
        await asyncio.Event().wait()
        return 1

    monkeypatch.setattr(app.JupyterHub, "init_spawners", waits)

    async def start() -> None:
        site.hub._start_future = asyncio.get_running_loop().create_future()
        checks = asyncio.ensure_future(site.hub.init_spawners())
        await asyncio.sleep(0.1)
        checks.cancel()
        assert await checks == 0

    asyncio.run(start())
