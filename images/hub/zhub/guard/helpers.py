"""Short-lived containers for work that the guard cannot do itself, since it has no network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import docker
import requests.exceptions
from docker.errors import APIError
from docker.types import LogConfig, Mount

from zhub.contract import ROLE, STACK, labelled

HELPER = "guard-helper"
"""Value of the helpers' label zhub.role."""

GUARD = "zhub.guard"
"""Label of helpers with the name of their guard: on a swarm's manager, there are two of a stack."""

SECONDS = 60
"""How long a helper may run, where nothing else is said."""

MEMORY = 64 << 20

IN_NAMESPACE = "container:"
"""Prefix of a network mode that joins the network of another container."""


class UnusableError(Exception):
    """What a server is to have cannot be mounted; the text is for users."""


@dataclass(frozen=True)
class Helpers:
    """Runs commands in containers of an image."""

    client: docker.APIClient
    image: str
    prefix: str
    guard: str = ""
    """Whose they are; empty for the guard beside the hub."""

    def run(
        self,
        command: Sequence[str],
        *,
        network: str,
        capabilities: Iterable[str] = (),
        mounts: Iterable[Mount] = (),
        seconds: int = SECONDS,
    ) -> str:
        """Run a command in a container of its own and return what it printed.

        Raises:
            RuntimeError: when it fails, with its output.
        """
        try:
            with self._container(command, network, list(capabilities), list(mounts)) as container:
                self.client.start(container)
                status = self.client.wait(container, timeout=seconds)["StatusCode"]
                output: str = self.client.logs(container, stdout=True, stderr=status != 0).decode()
        except (requests.exceptions.Timeout, requests.exceptions.ConnectionError) as error:
            raise RuntimeError(f"{command[0]} in network {network}: {error}") from error
        if status:
            raise RuntimeError(f"{command[0]} in network {network} failed: {output.strip()[:500]}")
        return output

    def sweep(self) -> None:
        """Remove helpers that this guard left when it was killed while they ran.

        Not another guard's: what its helper does would fail, such as the filter of a server.
        """
        ours = labelled(self.prefix, HELPER)
        for container in self.client.containers(all=True, filters=ours):
            if container["Labels"].get(GUARD, "") == self.guard:
                self._remove(container["Id"])

    @contextmanager
    def _container(
        self, command: Sequence[str], network: str, capabilities: list[str], mounts: list[Mount]
    ) -> Iterator[str]:
        made = self.client.create_container(
            self.image,
            list(command),
            entrypoint=[],
            user="0:0",
            labels={STACK: self.prefix, ROLE: HELPER, GUARD: self.guard},
            host_config=self.client.create_host_config(
                network_mode=network,
                mounts=mounts,
                # An engine that remaps user IDs (userns-remap) gives the machine's network only to
                # containers without the remapping.
                userns_mode="host",
                cap_drop=["ALL"],
                cap_add=capabilities,
                security_opt=["no-new-privileges"],
                read_only=True,
                mem_limit=MEMORY,
                memswap_limit=MEMORY,
                pids_limit=16,
                # A log driver whose output can be read, whatever the engine's default is.
                log_config=LogConfig(type=LogConfig.types.JSON, config={}),
            ),
        )
        try:
            yield made["Id"]
        finally:
            self._remove(made["Id"])

    def _remove(self, container: str) -> None:
        try:
            self.client.remove_container(container, force=True, v=True)
        except APIError as error:
            # Already gone, or the engine is removing it.
            if error.status_code not in {404, 409}:
                raise
