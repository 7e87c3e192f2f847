"""Checks what a user's server starts with: the image's own command, and known variables only.

Both decide what runs in a server before its user does. A captured hub that could choose a command
or set LD_PRELOAD could run its own code in every server it starts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

import docker
from docker.errors import NotFound

from zhub.contract import HOME_LIMIT, HUB_URL, PROFILE
from zhub.settings import SettingsError
from zhub.settings.profiles import Profile, named
from zhub.settings.servers import ServerSettings

HOME = "/home/jovyan"
PORT = 8888

NEEDED = {"JUPYTERHUB_DISABLE_USER_CONFIG"}
"""Required: without it, files in the user's home change the process that holds the token."""

_RANDOM = r"[0-9A-Za-z_-]{16,128}"
_NUMBER = r"[0-9]{1,16}(\.[0-9]{1,6})?"
# Any host: the hub decides where browsers find it, since they talk to the hub.
_HOST = r"https://[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*(:[0-9]{1,5})?"

_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)


class WrongVariable(Exception):
    """The environment is refused; the text says why, without the value."""


@dataclass(frozen=True)
class Image:
    """Command and variables of an image of users' servers, read from the engine."""

    command: tuple[str, ...]
    variables: frozenset[str]
    """Names of the variables that the image sets."""

    @classmethod
    def of_engine(cls, client: docker.APIClient, name: str) -> Image:
        """Ask the engine.

        Raises:
            SettingsError: when the image is not there.
        """
        try:
            config = client.inspect_image(name)["Config"]  # type: ignore[no-untyped-call]
        except NotFound:
            raise SettingsError([f"the notebook image {name} is not on the engine"]) from None
        names = (variable.partition("=")[0] for variable in config["Env"] or ())
        return cls(tuple(config["Cmd"] or ()), frozenset(names))


def shapes(settings: ServerSettings, profile: Profile, user: str) -> dict[str, str]:
    """Return, for each variable a server may get, the regular expression its value matches.

    The names are those of JupyterHub's Spawner.get_env and DockerSpawner's.
    """
    base = settings.base_url
    # As jupyterhub.utils.url_escape_path.
    escaped = quote(user, safe="@~")
    own = f"{base}user/{escaped}/"
    api = f"{HUB_URL}{base}hub/api"
    scopes = json.dumps([f"access:servers!server={user}/", f"access:servers!user={user}"])
    exact = {
        # First, so that none of these replaces one of those by which a server is started.
        **profile.environment,
        "JUPYTERHUB_CLIENT_ID": f"jupyterhub-user-{quote(user)}",
        "JUPYTERHUB_OAUTH_SCOPES": scopes,
        "JUPYTERHUB_OAUTH_ACCESS_SCOPES": scopes,
        "JUPYTERHUB_OAUTH_CLIENT_ALLOWED_SCOPES": "[]",
        "JUPYTERHUB_USER": user,
        "JUPYTERHUB_SERVER_NAME": "",
        "JUPYTERHUB_API_URL": api,
        "JUPYTERHUB_ACTIVITY_URL": f"{api}/users/{escaped}/activity",
        "JUPYTERHUB_BASE_URL": base,
        "JUPYTERHUB_SERVICE_PREFIX": own,
        "JUPYTERHUB_SERVICE_URL": f"http://0.0.0.0:{PORT}{own}",
        "JUPYTERHUB_ROOT_DIR": HOME,
        "JUPYTERHUB_DISABLE_USER_CONFIG": "1",
        "ZHUB_KERNEL_IDLE_TIMEOUT": str(settings.kernel_idle_timeout),
        "JUPYTERHUB_ACTIVITY_INTERVAL": str(settings.activity_interval),
        "JUPYTER_IMAGE_SPEC": profile.image,
        **({PROFILE: profile.name} if profile.name else {}),
        **({HOME_LIMIT: str(settings.home_limit)} if settings.home_limit else {}),
    }
    return {name: re.escape(value) for name, value in exact.items()} | {
        "JUPYTERHUB_API_TOKEN": _RANDOM,
        "JPY_API_TOKEN": _RANDOM,
        "JUPYTERHUB_COOKIE_HOST_PREFIX_ENABLED": "[01]",
        "JUPYTERHUB_HOST": f"({_HOST})?",
        "JUPYTERHUB_OAUTH_CALLBACK_URL": f"({_HOST})?{re.escape(own)}oauth_callback",
        "JUPYTERHUB_PUBLIC_URL": f"({_HOST}{re.escape(own)})?",
        "JUPYTERHUB_PUBLIC_HUB_URL": f"({_HOST}{re.escape(base)}hub/)?",
        "MEM_LIMIT": _NUMBER,
        "CPU_LIMIT": _NUMBER,
    }


def profile_of(variables: Iterable[str], settings: ServerSettings) -> Profile:
    """Return the profile that a server's variables name.

    Raises:
        WrongVariable: when it is none of the stack's, or the stack has profiles and none is named.
    """
    if not settings.profiles:
        return settings.only_profile
    start = f"{PROFILE}="
    names = [each.removeprefix(start) for each in variables if each.startswith(start)]
    found = named(settings.profiles, names[0]) if len(names) == 1 else None
    if not found:
        raise WrongVariable(f"Env has no {PROFILE} that is one of the stack's profiles")
    return found


def check(
    variables: Iterable[str], settings: ServerSettings, profile: Profile, image: Image, user: str
) -> None:
    """Check each variable of a server before it is created.

    Raises:
        WrongVariable: when one is unknown, has a value of the wrong form, is set by the image, is
            given twice, or is missing.
    """
    allowed = shapes(settings, profile, user)
    seen: set[str] = set()
    for variable in variables:
        match = _VARIABLE.fullmatch(variable)
        if not match:
            raise WrongVariable("Env has an entry that is not a variable")
        name, value = match.groups()
        if name in image.variables:
            raise WrongVariable(f"Env has {name}, which only the image may set")
        if name not in allowed:
            raise WrongVariable(f"Env has {name[:100]}, which no server gets")
        if name in seen:
            raise WrongVariable(f"Env has {name} twice")
        # fullmatch: unlike "$", it takes no newline at the end.
        if not re.fullmatch(allowed[name], value):
            # Not the value, which may be a token.
            raise WrongVariable(f"Env has {name} with a value of the wrong form")
        seen.add(name)
    if missing := NEEDED - seen:
        raise WrongVariable(f"Env lacks {', '.join(sorted(missing))}")
