"""Registries: full image names, and the credentials for each registry."""

from __future__ import annotations

import base64
import json
import os
from typing import Any

from docker import auth as docker_auth

from plugins.calls import Call
from plugins.values import Properties

#: Docker Hub's many names, and the one its credentials are filed under.
HUB_NAMES = ("docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")
HUB_SERVER = "https://index.docker.io/v1/"


def full_name(name: str) -> str:
    """Return an image's name with its registry, which a short name leaves out."""
    host, slash, rest = name.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, rest = "docker.io", name
    if host == "index.docker.io":
        host = "docker.io"
    if host == "docker.io" and "/" not in rest:
        rest = f"library/{rest}"
    return f"{host}/{rest}"


class Account:
    """Credentials for registries: the program's, else those in this user's Docker configuration."""

    def __init__(self, inputs: Properties, call: Call) -> None:
        registry = inputs.get("registry", {})
        self.server = _server(registry.get("server") or full_name(inputs["imageName"]))
        self._own = None
        username, password = registry.get("username"), registry.get("password")
        if username and password:
            self._own = {
                "username": username,
                "password": password,
                "serveraddress": self.server,
            }
        elif username or password:
            given, missing = ("username", "password") if username else ("password", "username")
            call.warn(
                f"registry has a {given} but no {missing}: the credentials of this user's Docker "
                "configuration are used"
            )
        self._stored: Any = docker_auth.load_config()

    def of(self, server: str) -> dict[str, str]:
        """Return the credentials for a registry's host, empty if there are none."""
        if self._own is not None and _server(server) == self.server:
            return self._own
        found = self._stored.resolve_authconfig(_server(server)) or {}
        return {key.lower(): value for key, value in found.items()}

    def pair(self, server: str) -> tuple[str, str]:
        """Return user name and password for a registry's host, empty if there are none."""
        found = self.of(server)
        return found.get("username", ""), found.get("password", "")

    def header(self, server: str) -> dict[str, str]:
        """Return the header by which the engine gets the credentials of one registry."""
        return {"X-Registry-Auth": _encoded(self.of(server))}

    def headers(self) -> dict[str, str]:
        """Return the header by which the engine's older builder gets all credentials."""
        known = self._stored.get_all_credentials()
        if self._own is not None:
            known[self.server] = self._own
        return {"X-Registry-Config": _encoded(known)}


def _server(name: str) -> str:
    """Return what a registry's credentials are filed under; `name` may be a URL or an image."""
    host = name.partition("://")[2] or name
    host = host.partition("/")[0]
    return HUB_SERVER if host in HUB_NAMES else host


def _encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def provider_header(logins: list[Properties], image: str) -> dict[str, str]:
    """Return the header that pulls an image with the credentials of the provider's registryAuth.

    The sources and their order are those of `providerSetToRegistryAuth` in
    kreuzwerker/terraform-provider-docker.
    """
    server = _server(full_name(image))
    login = next((item for item in logins if _server(item["address"]) == server), None)
    return {"X-Registry-Auth": _encoded(_credentials(login, server) if login else {})}


def _credentials(login: Properties, server: str) -> dict[str, str]:
    if login.get("authDisabled"):
        # The engine asks for a login even where the registry does not: any will do.
        return {"username": "username", "password": "password", "serveraddress": server}
    username = login.get("username") or os.environ.get("DOCKER_REGISTRY_USER")
    if username:
        password = login.get("password") or os.environ.get("DOCKER_REGISTRY_PASS", "")
        return {"username": username, "password": password, "serveraddress": server}
    stored: Any
    if login.get("configFileContent"):
        stored = docker_auth.load_config(config_dict=json.loads(login["configFileContent"]))
    else:
        stored = docker_auth.load_config(config_path=login.get("configFile"))
    return {key.lower(): value for key, value in (stored.resolve_authconfig(server) or {}).items()}
