"""Homes that a volume driver of the site's choice makes, with options of the site's choice."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import docker
from docker.errors import DockerException, NotFound
from docker.types import Mount

from zhub.contract import NO_NETWORK, ROLE, STACK
from zhub.guard.helpers import HELPER, Helpers, UnusableError
from zhub.settings import GuardSettings

HOME = "{home}"
"""Stands for the name of a home's volume in options."""

LOCAL = "local"
"""The engine's own driver. It mounts what its options say, and makes no folder there."""

LATEST = ":latest"
"""What an engine adds to the name of a plugin that was named without a tag."""

SEEN = "/homes"
"""Where a helper has the site's folder."""

#: Makes the folder $1 there, unless there is one: a site may have prepared it.
MAKE = f"""
if [ -L {SEEN}/"$1" ]; then echo "$1 is a link"; exit 1; fi
mkdir -p -m 700 {SEEN}/"$1"
"""

UNMADE = (
    "Your home cannot be made now, so your server does not start. Please tell your administrator:"
    " {}"
)


@dataclass(frozen=True)
class Driven:
    """What the volumes of homes are."""

    driver: str
    options: Mapping[str, str]

    def of(self, name: str) -> dict[str, str]:
        """Return the options of the home with a name."""
        return {key: text.replace(HOME, name) for key, text in self.options.items()}

    @property
    def around(self) -> dict[str, str] | None:
        """The options of a volume with the folders of all homes; None where the driver makes them.

        The last part of a local home's place is its own: the program has checked that.
        """
        device = self.options.get("device", "")
        if self.driver != LOCAL or not device.endswith(f"/{HOME}"):
            return None
        return {**self.options, "device": device.removesuffix(f"/{HOME}") or "/"}

    @property
    def bound(self) -> str:
        """The folder of the machine that has all homes, if that is where they are; else empty."""
        flags = self.options.get("o", "").split(",")
        return (self.around or {}).get("device", "") if {"bind", "rbind"} & {*flags} else ""

    def made(self, found: Mapping[str, Any]) -> bool:
        """Return whether a volume, as an engine describes it, is a home of this driver."""
        drivers = {self.driver, f"{self.driver}{LATEST}"}
        return found["Driver"] in drivers and (found.get("Options") or {}) == self.of(found["Name"])


def driven(settings: GuardSettings) -> Driven | None:
    """Return what homes are; None where they are folders of the engine's machine."""
    if not settings.homes_driver:
        return None
    pairs = (one.partition("=") for one in settings.homes_options)
    return Driven(settings.homes_driver, {name: value for name, _, value in pairs})


class Maker:
    """Makes such homes."""

    def __init__(
        self, client: docker.APIClient, helpers: Helpers, prefix: str, found: Driven
    ) -> None:
        self._client = client
        self._helpers = helpers
        self._prefix = prefix
        self._found = found
        self._one = threading.Lock()

    @property
    def bound(self) -> str:
        """As of `Driven`."""
        return self._found.bound

    def check(self) -> None:
        """Check that the engine has the driver.

        Raises:
            RuntimeError: it has not.
            docker.errors.DockerException: it does not answer.
        """
        driver = self._found.driver
        there = self._client.info()["Plugins"]["Volume"]
        if not {driver, f"{driver}{LATEST}"} & {*there}:
            raise RuntimeError(
                f"homesDriver is {driver}, but the engine's volume drivers are {', '.join(there)}:"
                f" docker plugin install {driver}, on all machines that get servers"
            )

    def make(self, name: str, labels: Mapping[str, str]) -> Any:
        """Make a home, if it is not there; return the engine's answer.

        Raises:
            UnusableError: the driver does not make it.
        """
        try:
            try:
                return self._client.inspect_volume(name)
            except NotFound:
                if around := self._found.around:
                    self._make_folder(around, name)
            return self._client.create_volume(
                name,
                driver=self._found.driver,
                driver_opts=self._found.of(name),
                labels=dict(labels),
            )
        except (RuntimeError, DockerException) as error:
            raise UnusableError(UNMADE.format(error)) from None

    def _make_folder(self, around: dict[str, str], name: str) -> None:
        """Make the folder of a home: the engine's own driver only mounts one that is there."""
        volume, labels = f"{self._prefix}-homes", {STACK: self._prefix, ROLE: HELPER}
        with self._one:
            # One that is left of a guard which was killed may have options of before.
            with suppress(NotFound):
                self._client.remove_volume(volume)
            self._client.create_volume(volume, driver=LOCAL, driver_opts=around, labels=labels)
            try:
                mount = Mount(SEEN, volume, type="volume", no_copy=True)
                command = ["sh", "-c", MAKE, "sh", name]
                self._helpers.run(command, network=NO_NETWORK, mounts=[mount])
            finally:
                self._client.remove_volume(volume, force=True)
