"""Measure logins: the hub's own time, how many a second, how fast health checks are meanwhile.

The directory is never emulated: it is the site's, or a server in this process that never answers.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import ldap3
import requests

from benchmarks.health import GIVEN_UP, health_of
from benchmarks.running import USER, USERS, Hub, Site
from tests.images.hub.scripted_ldap import mute, scripted

#: Browsers that log in at the same time; the hub takes as many logins of different users at a time.
BROWSERS = len(USERS)

#: How often each of their users logs in.
ROUNDS = 5

#: Logins that wait for a silent directory at the same time.
WAITING = 50


def session(site: Site) -> requests.Session:
    """A browser; each request has its own connection, as the usual proxy drops kept ones."""
    browser = requests.Session()
    browser.trust_env = False
    browser.verify = str(site.authority)
    browser.headers["Connection"] = "close"
    return browser


class Browser:
    """A browser that shows the login page."""

    def __init__(self, hub: Hub, site: Site) -> None:
        self._session = session(site)
        page = self._session.get(hub.url, timeout=GIVEN_UP)
        page.raise_for_status()
        token = re.search(r'name="_xsrf"\s+value="([^"]*)"', page.text)
        if token is None:
            raise RuntimeError(f"{page.url} shows no login form")
        self._url = page.url
        self._token = token[1]

    def send(self, name: str, password: str) -> int:
        """Send the form; return the status of the answer."""
        form = {"username": name, "password": password, "_xsrf": self._token}
        return self._session.post(
            self._url, data=form, timeout=GIVEN_UP, allow_redirects=False
        ).status_code

    def log_in(self, name: str, password: str) -> None:
        """Send the form.

        Raises:
            RuntimeError: when the hub does not let the user in.
        """
        status = self.send(name, password)
        if status != requests.codes.found:
            raise RuntimeError(f"the hub answers the login of {name} with {status}")


def bind(name: str, site: Site) -> None:
    """Ask the directory itself whether a password is right.

    Raises:
        RuntimeError: when it is not.
    """
    connection = ldap3.Connection(
        ldap3.Server(site.directory, get_info=ldap3.NONE),
        f"uid={name},ou=people,dc=example,dc=org",
        site.password,
    )
    if not connection.bind():
        raise RuntimeError(f"the directory refuses {name}: {connection.result}")
    connection.unbind()


def milliseconds(begin: float) -> float:
    """Since a moment of the monotonic clock."""
    return 1000 * (time.monotonic() - begin)


def binds(site: Site, number: int) -> tuple[list[float], float]:
    """Milliseconds of each bind, one after the other; and binds a second in parallel."""
    each = []
    for _ in range(number):
        begin = time.monotonic()
        bind(USER, site)
        each.append(milliseconds(begin))
    begin = time.monotonic()
    with ThreadPoolExecutor(BROWSERS) as pool:
        list(pool.map(lambda name: bind(name, site), USERS * ROUNDS))
    return each, 1000 * len(USERS) * ROUNDS / milliseconds(begin)


def logins(hub: Hub, site: Site, number: int) -> tuple[list[float], float]:
    """Milliseconds from form to answer, one after the other; and logins a second in parallel."""
    Browser(hub, site).log_in(USER, site.password)  # the first login loads modules
    each = []
    for _ in range(number):
        browser = Browser(hub, site)
        begin = time.monotonic()
        browser.log_in(USER, site.password)
        each.append(milliseconds(begin))
    names = USERS * ROUNDS
    browsers = [Browser(hub, site) for _ in names]
    begin = time.monotonic()
    with ThreadPoolExecutor(BROWSERS) as pool:
        list(pool.map(lambda browser, name: browser.log_in(name, site.password), browsers, names))
    return each, 1000 * len(names) / milliseconds(begin)


@contextlib.contextmanager
def mute_directory(site: Site) -> Iterator[Site]:
    """The site with a directory that accepts everything and never answers."""
    bridge = site.engine.networks.get("bridge")
    gateway = bridge.attrs["IPAM"]["Config"][0]["Gateway"]
    with scripted(mute, gateway) as server:
        yield replace(site, directory=f"{gateway}:{server.port}")


def slowest_health(hub: Hub, site: Site) -> float:
    """Milliseconds of the slowest health check while many logins wait."""
    browsers = [Browser(hub, site) for _ in range(WAITING)]
    took: list[float] = []

    def wait(number: int) -> None:
        # A hub that hangs with its directory does not answer.
        with contextlib.suppress(requests.RequestException):
            browsers[number].send(f"user{number}", "a password")

    with health_of(hub.url, site.authority, took), ThreadPoolExecutor(WAITING) as pool:
        list(pool.map(wait, range(WAITING)))
    return 1000 * max(took)
