"""The page that Prometheus scrapes."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar
from urllib.request import urlopen

import docker
import jupyterhub.handlers
from jupyterhub.handlers.metrics import MetricsHandler
from jupyterhub.utils import metrics_authentication
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Gauge,
    disable_created_metrics,
    generate_latest,
)

from zhub.front.proxy import METRICS_PORT
from zhub.metrics.own import Certificate, Own
from zhub.metrics.token import Follower
from zhub.settings import Settings

SECONDS = 5
"""How long a source has to answer; Prometheus itself gives up after ten seconds."""

Source = Callable[[], str]
"""Returns metrics in Prometheus' text format; may wait, and may raise anything."""

log = logging.getLogger(__name__)


def of_registry(registry: CollectorRegistry) -> Source:
    """Return the source of what this process collects."""
    return lambda: generate_latest(registry).decode()


def of_guard(client: docker.APIClient) -> Source:
    """Return the source of the guard's metrics."""

    def ask() -> str:
        url = f"{client.base_url}/v{client.api_version}/zhub/metrics"
        answer = client.get(url, timeout=SECONDS)
        answer.raise_for_status()
        return str(answer.json()["Text"])

    return ask


def of_proxy(url: str = f"http://127.0.0.1:{METRICS_PORT}/metrics") -> Source:
    """Return the source of the proxy's metrics."""

    def ask() -> str:
        with urlopen(url, timeout=SECONDS) as answer:
            return prefixed(answer.read().decode(), "proxy_")

    return ask


def prefixed(text: str, prefix: str) -> str:
    """Put a prefix before all names: the proxy has some that the hub has as well."""
    return re.sub(r"(?m)^(# (?:HELP|TYPE) )?(?=[a-zA-Z_:])", rf"\g<1>{prefix}", text)


class Page:
    """The text of all sources. One that fails does not take the others along."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = sources
        self._threads = ThreadPoolExecutor(2 * len(sources), thread_name_prefix="metrics")
        self._failing: set[str] = set()
        registry = CollectorRegistry()
        self._up = Gauge(
            "zhub_metrics_up",
            "Whether a part of the stack has given its metrics to this scrape",
            ["part"],
            registry=registry,
        )
        self._took = Gauge(
            "zhub_metrics_seconds", "How long this scrape has taken", registry=registry
        )
        self._last = of_registry(registry)

    async def text(self) -> str:
        """Ask all sources at the same time."""
        began = time.monotonic()
        parts = await asyncio.gather(*(self._ask(name) for name in self._sources))
        self._took.set(time.monotonic() - began)
        return "".join([*parts, self._last()])

    async def _ask(self, name: str) -> str:
        loop = asyncio.get_running_loop()
        try:
            text = await loop.run_in_executor(self._threads, self._sources[name])
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are shown
            if name not in self._failing:
                log.warning("no metrics of %s: %s", name, error)
            self._failing.add(name)
            self._up.labels(name).set(0)
            return ""
        self._failing.discard(name)
        self._up.labels(name).set(1)
        return text


class Handler(MetricsHandler):  # type: ignore[misc] # untyped
    """In place of JupyterHub's own, which shows only the hub's."""

    page: ClassVar[Page]
    tokens: ClassVar[Follower]

    async def prepare(self) -> None:
        """Take the token that is valid now, before JupyterHub checks the caller's."""
        self.tokens.follow(self.db)
        await super().prepare()

    @metrics_authentication  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """Answer a scrape."""
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        self.write(await self.page.text())


def install(found: Settings, client: docker.APIClient, *, guarded: bool) -> None:
    """Make JupyterHub use the handler above; before it starts.

    Args:
        found: the hub's settings.
        client: of the guard, or of the engine.
        guarded: whether it is the guard's.
    """
    # A third of all lines, which Prometheus does not need in this format.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    REGISTRY.register(Own(found))
    shown = CollectorRegistry()
    shown.register(Certificate(found.port))
    sources: dict[str, Source] = {
        "hub": of_registry(REGISTRY),
        "certificate": of_registry(shown),
        "proxy": of_proxy(),
    }
    if guarded:
        sources["guard"] = of_guard(client)
    Handler.page = Page(sources)
    Handler.tokens = Follower()
    jupyterhub.handlers.default_handlers[:0] = [
        (r"/metrics$", Handler),
        (r"/api/metrics$", Handler),
    ]
