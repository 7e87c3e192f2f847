"""What the hub knows of itself when it is asked: limits, database, disk, certificate, backup."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from zhub.settings import Settings
from zhub.state import database

BACKUP = database.FILE.with_name("last-backup")
"""`make backup` writes the time of its success here, in seconds since 1970."""

PORT_SECONDS = 5
"""How long the proxy has to show its certificate."""


def certificate_ends(port: int) -> float:
    """Return when the certificate ends that the port shows now, in seconds since 1970.

    Raises:
        OSError: nothing answers there.
    """
    context = ssl.create_default_context()
    # It is asked what is shown, and not whether to trust it.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=PORT_SECONDS) as connection,
        context.wrap_socket(connection) as shown,
    ):
        found = shown.getpeercert(binary_form=True)
    if found is None:
        raise ConnectionError("no certificate")
    return x509.load_der_x509_certificate(found).not_valid_after_utc.timestamp()


def backed_up(file: Path = BACKUP) -> float:
    """Return the time of the last backup, in seconds since 1970; 0 when there has been none."""
    try:
        return float(file.read_text())
    except (FileNotFoundError, ValueError):
        return 0


class Own(Collector):
    """Collects the numbers; each is read anew."""

    def __init__(self, found: Settings) -> None:
        self._settings = found

    def describe(self) -> list[Metric]:
        """Name nothing: otherwise the registry would collect all to find names."""
        return []

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "zhub_max_servers",
            "How many servers users may have at the same time, in all",
            value=self._settings.most_servers,
        )
        size = sum(
            file.stat().st_size
            for end in ("", "-wal")
            if (file := database.FILE.with_name(f"{database.FILE.name}{end}")).exists()
        )
        yield GaugeMetricFamily(
            "zhub_database_bytes", "Size of the hub's database with its log", value=size
        )
        disk = os.statvfs(database.FILE.parent)
        yield GaugeMetricFamily(
            "zhub_state_free_bytes",
            "Free space on the disk with the hub's database",
            value=disk.f_bavail * disk.f_frsize,
        )
        yield GaugeMetricFamily(
            "zhub_last_backup_timestamp_seconds",
            "When `make backup` last succeeded; 0 for never",
            value=backed_up(),
        )


class Certificate(Collector):
    """Looks at the certificate that the hub's port shows; it waits for an answer."""

    def __init__(self, port: int) -> None:
        self._port = port

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "zhub_certificate_end_timestamp_seconds",
            "When the certificate at the hub's port expires",
            value=certificate_ends(self._port),
        )
