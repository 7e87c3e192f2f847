"""Sees what `pulumi up` has changed of the stack's own containers, for the audit log.

Hub and guard report their variables when they start. The rest is read off the containers: what is
in files, and marks of those that are secret; the arguments of a proxy in a container of its own;
images; where the port is open; the hub's memory. A hub that somebody has taken over cannot keep
these lines from being written.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException, NotFound

from zhub.audit import differing
from zhub.contract import Role, in_users_networks
from zhub.engine import SOCKET
from zhub.guard.audit import Audit

PERIOD = 10
"""Seconds between two looks."""

MARKS = {"zhub.ldap-password": "ldapBindPassword", "zhub.service-tokens": "hubServices tokens"}
"""Labels of the hub's container whose values change with a secret and do not help to guess it, and
what they are called in the audit log."""

GUARD = "guard"
"""Role of the guard's own container."""

FILES = "files"
"""Role of the container that has put certificate and texts where hub and proxy read them. It never
runs, so pruning the engine takes it."""

CERTIFICATE = "zhub.certificate"
"""Its label with the certificates' fingerprints."""

SITE = "zhub.site"
"""Its label with the texts of the hub's pages, an object in JSON."""

log = logging.getLogger(__name__)


class Declared:
    """What the containers of hub, guard and proxy are like."""

    def __init__(
        self,
        client: docker.APIClient,
        prefix: str,
        audit: Audit,
        folder: Path,
        *,
        separate_proxy: bool,
    ) -> None:
        """Prepare to look.

        Args:
            client: of the engine.
            prefix: of the stack's names.
            audit: where changes are written.
            folder: where what was seen last is kept.
            separate_proxy: whether the proxy has a container of its own.
        """
        self._client = client
        self._prefix = prefix
        self._audit = audit
        self._entrance = in_users_networks(separate_proxy=separate_proxy)
        apart = [Role.PROXY, Role.FRONT] if separate_proxy else []
        self._together = {
            folder / "declared.json": [Role.HUB, GUARD, *apart],
            folder / "files.json": [FILES],
        }
        self._last: dict[Path, dict[str, str]] = {}

    def keep(self) -> None:
        """Look periodically."""
        while True:
            try:
                self.look()
            except (DockerException, OSError) as error:
                log.debug("the stack's containers cannot be inspected now: %s", error)
            except Exception:
                # Such as one that somebody has made by hand: no reason to end the guard.
                log.exception("changes of the stack's containers are not in the audit log")
            time.sleep(PERIOD)

    def look(self) -> None:
        """Write down what has changed."""
        for file, roles in self._together.items():
            self._compare(roles, file)

    def _compare(self, roles: Sequence[str], file: Path) -> None:
        """The same, of some containers; nothing while one is missing, as during an `up`.

        Nor of files that a release before has put there, which an `up` to this one replaces.
        """
        try:
            now = {
                name: value
                for role in roles
                for name, value in self._of(
                    role, self._client.inspect_container(f"{self._prefix}-{role}")
                )
            }
        except NotFound:
            return
        if not now or now == self._last.get(file):
            return
        self._last[file] = now
        for name, before, value in differing(now, file):
            self._audit.seen("setting", name=name, before=before, now=value)

    def _of(self, role: str, found: dict[str, Any]) -> Iterator[tuple[str, str]]:
        config = found["Config"]
        if role not in {Role.FRONT, FILES}:
            yield f"{role} image", config["Image"]
        if role == FILES:
            yield from _of_files(config["Labels"])
        if role == GUARD:
            mounts = found.get("Mounts", ())
            at = [one["Source"] for one in mounts if one["Destination"] == str(SOCKET)]
            yield "engineSocket", "".join(at)
        if role == Role.HUB:
            yield "hubMemory", f"{found['HostConfig']['Memory'] >> 20}M"
            for label, name in MARKS.items():
                yield name, config["Labels"].get(label, "")
        if role == Role.PROXY:
            options: dict[str, Any] = json.loads(config["Cmd"][0])
            for name, value in options.items():
                yield f"proxy {name}", json.dumps(value)
        if role == self._entrance:
            bound = chain.from_iterable((found["HostConfig"]["PortBindings"] or {}).values())
            yield "open at", ", ".join(sorted(f"{at['HostIp']}:{at['HostPort']}" for at in bound))


def _of_files(labels: dict[str, str]) -> Iterator[tuple[str, str]]:
    """What is no secret in them, by the names of the settings."""
    if CERTIFICATE in labels:
        yield "certificate", labels[CERTIFICATE]
    texts: dict[str, str] = json.loads(labels.get(SITE, "{}"))
    for name, text in texts.items():
        yield {"name": "siteName"}.get(name, name), text
