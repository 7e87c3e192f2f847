"""One call of the engine about one resource, and the errors that a resource may raise."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from math import inf
from threading import Timer
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from pulumi.provider.experimental import provider as sdk

from plugins.values import Properties, redact

if TYPE_CHECKING:
    from plugins.base import Provider

T = TypeVar("T")


class ResourceError(Exception):
    """An operation failed; the operator sees the message on the resource."""


class InitError(ResourceError):
    """The resource exists but is not as declared: the operation fails, and its state is kept.

    The next run continues from there: the engine calls `update` even if nothing changed.
    """

    def __init__(self, message: str, outputs: Properties, resource_id: str = "") -> None:
        """`outputs` are the outputs so far; `create` must give the `resource_id`."""
        super().__init__(message)
        self.outputs = outputs
        self.resource_id = resource_id


class Cancelled(ResourceError):
    """The operation ended early: the operator cancelled it, or its time was up."""

    def __init__(self) -> None:
        super().__init__("cancelled")


@dataclass(frozen=True)
class Created:
    """The id and outputs of a created resource; the outputs include the inputs."""

    id: str
    outputs: Properties


class Call:
    """One call of the engine about one resource: its URN, time limit, and messages to the engine.

    Messages never show the resource's secrets.
    """

    def __init__(
        self,
        provider: Provider,
        urn: str,
        timeout: float = 0,
        secrets: frozenset[str] = frozenset(),
    ) -> None:
        self._provider = provider
        self._secrets = secrets
        self.urn = urn
        #: Seconds the program allows for the operation (`custom_timeouts`); None if it sets none.
        self.timeout: float | None = timeout or None
        self._deadline = monotonic() + timeout if timeout else inf
        self._shown = ""

    @property
    def name(self) -> str:
        """The logical name the program gave the resource."""
        return self.urn.rsplit("::", 1)[-1]

    def status(self, message: str) -> None:
        """Show a line of progress next to the resource; the next one replaces it.

        The same text is not sent twice: without a terminal, each one prints a new line.
        """
        if message != self._shown:
            self._shown = message
            self._provider.log("info", self.redacted(message), self.urn, ephemeral=True)

    def info(self, message: str) -> None:
        """Write a line to the log of the run."""
        self._provider.log("info", self.redacted(message), self.urn)

    def warn(self, message: str) -> None:
        """Warn the operator about the resource."""
        self._provider.log("warning", self.redacted(message), self.urn)

    def redacted(self, message: str) -> str:
        """Return the message without the secrets of the resource."""
        return redact(message, self._secrets)

    def run(self, function: Callable[..., T], *args: Any) -> T:
        """Call `function`; turn every exception into a readable `ResourceError`."""
        try:
            return function(*args)
        except Cancelled as error:
            if self._provider.cancelled.is_set():
                raise
            limit = f"{self.timeout:g} seconds of its custom timeout"
            raise ResourceError(f"not done within the {limit}") from error
        except ResourceError as error:
            error.args = (self.redacted(str(error)),)
            raise
        except Exception as error:
            # A bug in the plugin: the operator sees one line, and the traceback only with
            # `pulumi --debug`.
            self._provider.log("debug", self.redacted(traceback.format_exc()), self.urn)
            message = self.redacted(f"{type(error).__name__}: {error}")
            raise ResourceError(message) from error

    @property
    def cancelled(self) -> bool:
        """Whether the operation must end: the operator cancelled it, or its time is up."""
        return self._provider.cancelled.is_set() or monotonic() >= self._deadline

    def sleep(self, seconds: float) -> None:
        """Wait; raise `Cancelled` as soon as the operation must end."""
        self._provider.cancelled.wait(min(seconds, max(self._deadline - monotonic(), 0)))
        if self.cancelled:
            raise Cancelled

    @contextmanager
    def on_cancel(self, stop: Callable[[], None]) -> Iterator[None]:
        """Call `stop` if the operation must end while the body runs.

        `stop` is called in another thread and must not block long.
        """
        timer = Timer(max(self._deadline - monotonic(), 0), stop) if self.timeout else None
        if timer:
            timer.start()
        try:
            with self._provider.stopping(stop):
                yield
        finally:
            if timer:
                timer.cancel()


class CheckCall(Call):
    """A call that checks inputs; it can also generate a name."""

    def __init__(
        self, provider: Provider, request: sdk.CheckRequest, secrets: frozenset[str]
    ) -> None:
        super().__init__(provider, request.urn, secrets=secrets)
        self._seed = request.random_seed
        #: `pulumi:autonaming` of the stack: the name it proposes, and whether it disables naming.
        self.proposed_name: str = getattr(request, "proposed_name", "")
        self.naming_disabled: bool = getattr(request, "naming_disabled", False)

    def autoname(self, old: Properties, separator: str = "-", random: int = 7) -> str | None:
        """Return a unique name for a resource without one: the old name if there is one.

        None if the stack's configuration forbids generated names.
        """
        if isinstance(old.get("name"), str):
            return str(old["name"])
        if self.naming_disabled:
            return None
        if self.proposed_name:
            return self.proposed_name
        # The engine's seed makes preview and update agree on the name.
        digest = blake2b(self.urn.encode(), key=self._seed[:64]).hexdigest()
        return f"{self.name}{separator}{digest[:random]}"
