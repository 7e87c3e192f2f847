"""What the hub reads of itself for each scrape."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from zhub import settings
from zhub.metrics import own
from zhub.metrics.own import Certificate, Own, backed_up, certificate_ends
from zhub.state import database

from tests.pki import Identity, quick_key


def test_the_certificate_is_the_one_that_the_port_shows(tmp_path: Path) -> None:
    identity = Identity.create("localhost", key=quick_key())
    identity.write(tmp_path, "hub")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "hub.crt", tmp_path / "hub.key")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with suppress(OSError), context.wrap_socket(connection, server_side=True) as shown:
                shown.recv(1)

        threading.Thread(target=serve, daemon=True).start()
        ends = certificate_ends(listening.getsockname()[1])
    assert ends == identity.certificate.not_valid_after_utc.timestamp()


def test_a_port_that_does_not_answer_fails() -> None:
    registry = CollectorRegistry()
    registry.register(Certificate(1))
    with pytest.raises(ConnectionError):
        list(registry.collect())


def test_the_last_backup(tmp_path: Path) -> None:
    file = tmp_path / "last-backup"
    assert backed_up(file) == 0, "never"
    file.write_text("1795938748\n")
    assert backed_up(file) == 1795938748
    file.write_text("half wri")
    assert backed_up(file) == 0


def test_limits_and_sizes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "jupyterhub.sqlite"
    file.write_bytes(b"x" * 100)
    (tmp_path / "jupyterhub.sqlite-wal").write_bytes(b"x" * 20)
    monkeypatch.setattr(database, "FILE", file)
    monkeypatch.setattr(own, "BACKUP", tmp_path / "last-backup")
    registry = CollectorRegistry(auto_describe=True)
    found = settings.read({"ZHUB_MAX_SERVERS": "20", "ZHUB_LDAP_SERVERS": "ldap"})
    registry.register(Own(found))
    values = {metric.name: metric.samples[0].value for metric in registry.collect()}
    assert values["zhub_database_bytes"] == 120
    assert values["zhub_max_servers"] == 20
    assert values["zhub_last_backup_timestamp_seconds"] == 0
    assert values["zhub_state_free_bytes"] > 0
