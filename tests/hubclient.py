"""A user of a hub: logs in with the form, starts a server, runs code, keeps files."""

from __future__ import annotations

import json
import ssl
import time
import uuid
from http.cookiejar import Cookie
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import websocket


class LoginRefused(Exception):
    """The hub refused the login; the text is the message of its login page."""


class KernelError(Exception):
    """Code raised an exception in the kernel, or ended it; the text is the traceback, if any."""


class StartFailed(Exception):
    """The server did not come up; the hub's log says why."""


class User:
    """One browser of one user.

    `authority` is the PEM file to verify the hub's certificate with, `timeout` is in seconds, for
    each answer.
    """

    def __init__(self, url: str, authority: Path, *, timeout: float = 60) -> None:
        self._root = url if url.endswith("/") else f"{url}/"
        self.authority = authority
        self._timeout = timeout
        self._session = requests.Session()
        self._session.verify = str(authority)
        self._session.trust_env = False
        self.name = ""
        self.base = ""
        """URL below which the hub serves everything, ending in a slash; known after login."""
        self.home = ""
        """The same for the user's server, which may have its own host name."""

    def request(self, method: str, url: str, **options: Any) -> requests.Response:
        """Send a request as a page of hub or server would; the URL is relative to `base`."""
        target = urljoin(self.base or self._root, url)
        headers = {"X-XSRFToken": self._xsrf(urlsplit(target).path), **options.pop("headers", {})}
        return self._session.request(
            method, target, headers=headers, timeout=self._timeout, **options
        )

    def log_in(self, name: str, password: str) -> None:
        """Open the login form, fill it in and send it; raises as `send_password` does."""
        self.open_login_form()
        self.send_password(name, password)

    def open_login_form(self) -> None:
        """Open the hub's root and follow redirects: users type no path."""
        page = self._session.get(self._root, timeout=self._timeout)
        page.raise_for_status()
        self.base = page.url[: page.url.index("/hub/") + 1]

    def send_password(self, name: str, password: str) -> None:
        """Send the login form.

        Raises:
            LoginRefused: when the hub shows the form again.
            requests.HTTPError: when it answers with an error.
        """
        form = urljoin(self.base, "hub/login?next=")
        answer = self._session.post(
            form,
            data={"username": name, "password": password, "_xsrf": self._xsrf(form)},
            timeout=self._timeout,
            allow_redirects=False,
        )
        if answer.status_code == requests.codes.forbidden:
            raise LoginRefused(_message(answer.text))
        answer.raise_for_status()
        self.name = name.lower()
        self.home = urljoin(self.base, f"user/{self.name}/")

    def start_server(self, *, timeout: float = 300) -> float:
        """Start the user's server and wait until JupyterLab answers; return the seconds it took.

        Raises:
            TimeoutError: when it has not answered after `timeout` seconds.
            requests.HTTPError: when the hub refuses.
            StartFailed: when the hub has given up.
        """
        begin = time.monotonic()
        self.ask_for_server(timeout=timeout)
        self.open_lab()
        return time.monotonic() - begin

    def ask_for_server(self, *, timeout: float = 300) -> None:
        """Start the user's server and wait until its API answers; raises as `start_server` does."""
        end = time.monotonic() + timeout
        answer = self.request("POST", f"hub/api/users/{self.name}/server")
        if not answer.ok:
            said = f"{answer.status_code} {answer.text[:500]}"
            raise requests.HTTPError(f"the start of {self.name}'s server: {said}", response=answer)
        # On a busy machine, the hub has also answered 201 for a server that was not ready.
        while not (found := self.server()).get("ready"):
            if not found:
                raise StartFailed(f"the start of {self.name}'s server failed: see the hub's log")
            if time.monotonic() > end:
                raise TimeoutError(f"the server of {self.name} is not ready after {timeout} s")
            time.sleep(0.2)
        self.request("GET", urljoin(self.home, "api")).raise_for_status()

    def open_lab(self) -> str:
        """Open JupyterLab, which also logs in to the user's server; return the page."""
        page = self._session.get(urljoin(self.base, f"user/{self.name}/lab"), timeout=self._timeout)
        page.raise_for_status()
        if "jupyter-config-data" not in page.text:
            raise AssertionError(f"not JupyterLab's page: {page.url}")
        self.home = urljoin(page.url, ".")
        return page.text

    def stop_server(self, *, timeout: float = 120) -> None:
        """Stop the user's server and wait until it is gone."""
        self.request("DELETE", f"hub/api/users/{self.name}/server").raise_for_status()
        end = time.monotonic() + timeout
        while self.server():
            if time.monotonic() > end:
                raise TimeoutError(f"the server of {self.name} is still there after {timeout} s")
            time.sleep(0.2)

    def server(self) -> dict[str, Any]:
        """The hub's model of the user's server; empty when there is none."""
        answer = self.request("GET", f"hub/api/users/{self.name}")
        answer.raise_for_status()
        servers: dict[str, dict[str, Any]] = answer.json()["servers"] or {}
        return servers.get("", {})

    def run(self, code: str, *, timeout: float = 120) -> str:
        """Run code in a new kernel, which ends with it; return what it printed.

        Raises:
            KernelError: when the code raises an exception, or the kernel ends.
            TimeoutError: when it is not done after `timeout` seconds.
        """
        kernel = self.start_kernel()
        try:
            return kernel.run(code, timeout=timeout)
        finally:
            kernel.end()

    def start_kernel(self, name: str = "python3", path: str = "") -> Kernel:
        """Start a kernel in the user's server, in the home or a folder below it.

        By default, it is the image's own of Python.
        """
        kernels = urljoin(self.home, "api/kernels")
        wanted = {"name": name} | ({"path": path} if path else {})
        answer = self.request("POST", kernels, json=wanted)
        answer.raise_for_status()
        return Kernel(self, f"{kernels}/{answer.json()['id']}")

    def save(self, path: str, content: str) -> None:
        """Save a text file in the user's home."""
        self.request(
            "PUT",
            urljoin(self.home, f"api/contents/{path}"),
            json={"type": "file", "format": "text", "content": content},
        ).raise_for_status()

    def read(self, path: str) -> str:
        """Read a text file of the user's home."""
        answer = self.request("GET", urljoin(self.home, f"api/contents/{path}"))
        answer.raise_for_status()
        return str(answer.json()["content"])

    def forget_cookies(self) -> None:
        """Become a new browser; the server keeps running."""
        self._session.cookies.clear()

    def set_cookie(self, name: str, value: str, *, path: str) -> None:
        """Put any cookie into the browser, for the hub's host."""
        self._session.cookies.set(name, value, domain=_cookie_domain(self._root), path=path)

    def cookies(self) -> list[Cookie]:
        """The cookies that the browser sends to the hub."""
        return [cookie for cookie in self._session.cookies]  # noqa: C416 - mypy: not Iterable

    def websocket(self, path: str, *, timeout: float) -> websocket.WebSocket:
        """Open a websocket as a page of the server would; the URL is relative to `base`."""
        url = urljoin(self.base, path)
        prepared = self._session.prepare_request(requests.Request("GET", url))
        return websocket.create_connection(
            url.replace("https:", "wss:", 1),
            cookie=prepared.headers.get("Cookie"),
            origin=url[: url.index("/", len("https://"))],
            header=[f"X-XSRFToken: {self._xsrf(url)}"],
            sslopt={"ca_certs": str(self.authority), "cert_reqs": ssl.CERT_REQUIRED},
            timeout=timeout,
            http_no_proxy=["*"],
        )

    def _xsrf(self, url: str) -> str:
        """Return the XSRF token for `url`: hub and server have separate cookies."""
        path = urlsplit(url).path
        fitting = [
            cookie
            for cookie in self._session.cookies
            if cookie.name == "_xsrf" and path.startswith(cookie.path)
        ]
        longest = max(fitting, key=lambda cookie: len(cookie.path), default=None)
        return (longest.value or "") if longest else ""


class Kernel:
    """A kernel of a user's server, used over its websocket."""

    def __init__(self, user: User, url: str) -> None:
        self._user = user
        self.url = url
        """Its address in the server's API."""

    def run(self, code: str, *, timeout: float = 120) -> str:
        """Run code, return what it printed; raises as `User.run` does."""
        connection = self._user.websocket(f"{self.url}/channels", timeout=timeout)
        try:
            return _converse(connection, code, timeout)
        except websocket.WebSocketTimeoutException as error:
            raise TimeoutError(f"the kernel is not done after {timeout} s") from error
        finally:
            connection.close()

    def end(self) -> None:
        """Stop the kernel."""
        self._user.request("DELETE", self.url).raise_for_status()


def _converse(connection: websocket.WebSocket, code: str, timeout: float) -> str:
    end = time.monotonic() + timeout
    header = {
        "msg_id": uuid.uuid4().hex,
        "msg_type": "execute_request",
        "session": uuid.uuid4().hex,
        "username": "",
        "version": "5.3",
    }
    request = {
        "header": header,
        "parent_header": {},
        "metadata": {},
        "content": {"code": code, "silent": False, "store_history": False},
        "channel": "shell",
        "buffers": [],
    }
    connection.send(json.dumps(request))
    printed = []
    while True:
        # Not recv(): its timeout restarts with each of the server's pings.
        connection.settimeout(max(end - time.monotonic(), 0.001))
        kind, data = connection.recv_data(control_frame=True)
        if kind == websocket.ABNF.OPCODE_CLOSE:
            raise KernelError("the server has closed the connection")
        if kind != websocket.ABNF.OPCODE_TEXT:
            continue
        message = json.loads(data)
        content = message["content"]
        # This status belongs to no request: the kernel has ended and will not answer.
        if content.get("execution_state") in {"restarting", "dead"}:
            raise KernelError("the kernel has ended")
        if message["parent_header"].get("msg_id") != header["msg_id"]:
            continue
        if message["msg_type"] == "stream":
            printed.append(content["text"])
        elif message["msg_type"] == "error":
            raise KernelError("\n".join(content["traceback"]))
        elif message["msg_type"] == "status" and content["execution_state"] == "idle":
            return "".join(printed)


def _cookie_domain(url: str) -> str:
    """Return the domain under which `http.cookiejar` keeps cookies of a host without dots."""
    host = urlsplit(url).hostname or ""
    return host if "." in host else f"{host}.local"


def _message(page: str) -> str:
    """Return the error text of the login page."""
    _, found, rest = page.partition('class="login_error">')
    return rest.partition("<")[0].strip() if found else page
