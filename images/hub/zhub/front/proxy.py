"""The process that owns the published port: Node's configurable-http-proxy."""

from __future__ import annotations

import json
import os
import subprocess

from zhub.front.certificates import Pair
from zhub.settings import Settings

MAIN = "/opt/proxy/proxy.mjs"
"""The script that Node runs."""

API_PORT = 8001
API = f"http://127.0.0.1:{API_PORT}"
"""The proxy's API, where the hub sets routes; not reachable from outside of the container."""

METRICS_PORT = 8002
"""Where the proxy has its metrics; not reachable from outside of the container either."""

HUB = "http://127.0.0.1:8081"
"""Where the hub listens; the proxy shows its error page for servers that do not answer."""


MOST_CONNECTIONS = 4096
"""Connections from browsers at a time. Measured: 70 kB each, so a third of the hub's default memory
in total."""


class Launcher:
    """Starts the proxy, and starts it again after it has ended.

    The proxy takes routes only from callers that know the token.
    """

    def __init__(self, settings: Settings, pair: Pair, token: str) -> None:
        options = {
            "port": settings.port,
            "apiPort": API_PORT,
            "metricsPort": METRICS_PORT,
            "key": str(pair.key),
            "certificate": str(pair.certificate),
            # Until the hub has set its routes: "unavailable" is true, "not found" is not.
            "hub": HUB,
            "errors": f"{HUB}{settings.base_url}hub/error",
            "mostConnections": MOST_CONNECTIONS,
            "hostRouting": bool(settings.subdomain_host),
            "hstsSeconds": settings.hsts_seconds,
            "trustedProxies": [str(network) for network in settings.trusted_proxies],
            "logLevel": settings.log_level,
            "logFormat": settings.log_format,
        }
        self._command = ["node", MAIN, json.dumps(options)]
        self._token = token
        self._process: subprocess.Popen[bytes] | None = None

    def running(self) -> subprocess.Popen[bytes]:
        """Return the proxy's process, starting one if needed; it may not answer yet."""
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                self._command,
                env={**os.environ, "CONFIGPROXY_AUTH_TOKEN": self._token},
                start_new_session=True,
            )
        return self._process
