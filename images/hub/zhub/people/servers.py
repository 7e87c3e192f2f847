"""The users' servers as the engine has them, by their labels."""

from __future__ import annotations

from dataclasses import dataclass

import docker
from docker.errors import NotFound

from zhub.contract import PROFILE, USER, Role, labelled
from zhub.settings.servers import ServerSettings


@dataclass(frozen=True)
class Server:
    """A user's container."""

    container: str
    """Its id."""
    memory: int
    """Its limit, in bytes."""
    old: bool
    """Whether it runs another image than a new server with its profile gets."""


def running(client: docker.APIClient, settings: ServerSettings) -> dict[str, Server]:
    """Return the users' containers by the users' names.

    Args:
        client: of the engine, or of the guard.
        settings: those that new servers get.
    """
    newest = {name: _id(client, name) for name in settings.images}
    servers = {}
    for listed in client.containers(all=True, filters=labelled(settings.prefix, Role.SERVER)):
        try:
            found = client.inspect_container(listed["Id"])
        except NotFound:
            # It has ended meanwhile.
            continue
        image = settings.image_of(_profile(found["Config"]["Env"]))
        servers[listed["Labels"][USER]] = Server(
            found["Id"], found["HostConfig"]["Memory"], newest[image] not in {None, found["Image"]}
        )
    return servers


def _id(client: docker.APIClient, image: str) -> str | None:
    """Return the ID of an image; None of one that is missing, which makes no server an old one."""
    try:
        found: str = client.inspect_image(image)["Id"]  # type: ignore[no-untyped-call]
    except NotFound:
        return None
    return found


def _profile(variables: list[str]) -> str | None:
    start = f"{PROFILE}="
    return next((one.removeprefix(start) for one in variables if one.startswith(start)), None)


def home_sizes(client: docker.APIClient) -> dict[str, int]:
    """Return the bytes of users' homes, as far as the guard has counted them, by the users' names.

    Raises:
        requests.exceptions.RequestException: it does not answer.
    """
    answer = client.get(f"{client.base_url}/v{client.api_version}/zhub/homes")
    answer.raise_for_status()
    sizes: dict[str, int] = answer.json()["Bytes"]
    return sizes
