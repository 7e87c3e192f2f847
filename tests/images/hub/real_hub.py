"""A real JupyterHub on loopback, with this project's login and database. Its proxy and servers are
stand-ins: the tests that use it are not about them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.ports import free_port
from toolchain.places import ROOT

CONFIG = textwrap.dedent(
    """
    import asyncio
    from pathlib import Path

    from jupyterhub.proxy import Proxy
    from jupyterhub.spawner import Spawner
    from tornado import web
    from zhub.state import database
    from zhub.login.authenticator import DirectoryAuthenticator
    from zhub.settings.ldap import Ldap, LdapTls

    FOLDER = Path({folder!r})


    class NoProxy(Proxy):
        routes = {{}}
        should_start = False

        async def add_route(self, routespec, target, data):
            self.routes[routespec] = {{"routespec": routespec, "target": target, "data": data}}

        async def delete_route(self, routespec):
            self.routes.pop(routespec, None)

        async def get_all_routes(self):
            return self.routes


    class Page(web.RequestHandler):
        def get(self, *_):
            self.finish("{{}}")


    class StandIn(Spawner):
        async def start(self):
            (FOLDER / "server-token").write_text(self.api_token)
            self.runs = web.Application([("/.*", Page)]).listen({server}, "127.0.0.1")
            return "127.0.0.1", {server}

        async def stop(self, now=False):
            self.runs.stop()
            self.runs = None

        async def poll(self):
            return None if getattr(self, "runs", None) else 0


    database.install()
    database.prepare(FOLDER / "hub.sqlite", token_max_age={token_max_age})
    checkpoints = database.Checkpoints(FOLDER / "hub.sqlite")
    checkpoints.start()
    c.JupyterHub.db_url = f"sqlite:///{{FOLDER}}/hub.sqlite"
    c.JupyterHub.upgrade_db = True
    c.JupyterHub.cookie_secret_file = f"{{FOLDER}}/cookie_secret"
    c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
    c.JupyterHub.hub_bind_url = "http://127.0.0.1:{port}"
    c.JupyterHub.proxy_class = NoProxy
    c.JupyterHub.cleanup_servers = False
    c.JupyterHub.spawner_class = StandIn
    c.JupyterHub.authenticator_class = DirectoryAuthenticator
    c.DirectoryAuthenticator.ldap = Ldap(**{ldap!r})
    c.DirectoryAuthenticator.allow_all = True
    c.DirectoryAuthenticator.allow_existing_users = False
    c.DirectoryAuthenticator.admin_users = {{"carol"}}
    # At every request: tests do not wait for minutes.
    c.DirectoryAuthenticator.auth_refresh_age = 1
    c.DirectoryAuthenticator.auth_refresh_strict = True
    c.DirectoryAuthenticator.refresh_pre_spawn = True
    c.JupyterHub.cookie_max_age_days = 1
    c.JupyterHub.token_expires_in_max_seconds = {token_max_age}
    """
)


@dataclass
class RealHub:
    """A running hub."""

    url: str
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def database(self) -> Path:
        return self.folder / "hub.sqlite"

    @property
    def log(self) -> str:
        return (self.folder / "hub.log").read_text()

    def api(
        self, method: str, path: str, token: str | None = None, **options: Any
    ) -> requests.Response:
        headers = {"Authorization": f"token {token}"} if token else {}
        return requests.request(
            method, f"{self.url}hub/api/{path}", headers=headers, timeout=30, **options
        )

    def token(self, name: str, password: str, **wishes: Any) -> requests.Response:
        """Ask for a token with name and password."""
        auth = {"username": name, "password": password}
        return self.api("POST", f"users/{name}/tokens", json={"auth": auth, **wishes})

    def browser(self, name: str, password: str) -> requests.Session:
        """Log in with the form."""
        session = requests.Session()
        session.trust_env = False
        session.get(f"{self.url}hub/login", timeout=30)
        answer = session.post(
            f"{self.url}hub/login",
            data={"username": name, "password": password, "_xsrf": session.cookies["_xsrf"]},
            allow_redirects=False,
            timeout=30,
        )
        assert answer.status_code == 302, answer.text
        return session


@contextmanager
def running(
    folder: Path,
    ldap: dict[str, Any],
    *,
    token_max_age: int = 86400,
    more: str = "",
    prefix: list[str] | None = None,
) -> Iterator[RealHub]:
    """Start a hub with a folder for its state, and stop it afterwards.

    `ldap` has arguments of `Ldap`; `more` is added to the config, `prefix` to the command.
    """
    folder.mkdir(exist_ok=True)
    port = free_port()
    config = folder / "config.py"
    config.write_text(
        CONFIG.format(
            folder=str(folder),
            port=port,
            server=free_port(),
            ldap=ldap,
            token_max_age=token_max_age,
        )
        .replace("<LdapTls.NONE: 'none'>", "LdapTls.NONE")
        .replace("PosixPath(", "Path(")
        + textwrap.dedent(more)
    )
    with (folder / "hub.log").open("ab") as log:
        process = subprocess.Popen(
            [*(prefix or []), sys.executable, "-m", "jupyterhub", "--config", str(config)],
            stdout=log,
            stderr=log,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT / "images" / "hub")},
        )
    hub = RealHub(f"http://127.0.0.1:{port}/", folder, process)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                requests.get(f"{hub.url}hub/health", timeout=5).raise_for_status()
                break
            except requests.RequestException:
                assert process.poll() is None, hub.log
                assert time.monotonic() < end, hub.log
                time.sleep(0.1)
        yield hub
    finally:
        process.terminate()
        process.wait(timeout=30)
