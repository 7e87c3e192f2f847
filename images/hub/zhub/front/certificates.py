"""The key and certificate the operator puts into a folder."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from zhub.settings import SettingsError, collecting


@dataclass(frozen=True)
class Pair:
    """A private key and the certificate that belongs to it, both PEM."""

    key: Path
    certificate: Path


def find(folder: Path) -> Pair:
    """Return the only `*.key` and the only `*.crt` in the folder, after checking that they work.

    Raises:
        SettingsError: when there is not exactly one of each, when one cannot be read, when they
            do not belong together, or when the certificate is not valid yet.
    """
    if not folder.is_dir():
        raise SettingsError([f"{folder} is not there: mount the folder with key and certificate"])
    problems: list[str] = []
    key = certificate = None
    with collecting(problems):
        key_path = _only(folder, ".key")
        key = _key(key_path)
    with collecting(problems):
        certificate_path = _only(folder, ".crt")
        certificate = _certificate(certificate_path)
    if key and certificate and key.public_key() != certificate.public_key():
        problems.append(f"{key_path} is not the key of {certificate_path}")
    if problems:
        raise SettingsError(problems)
    try:
        # OpenSSL would refuse these in the proxy as well: short keys, outdated signatures.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate_path, key_path)
    except ssl.SSLError as error:
        raise SettingsError([f"{certificate_path} cannot be used: {error.reason}"]) from None
    return Pair(key=key_path, certificate=certificate_path)


def _only(folder: Path, ending: str) -> Path:
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ending)
    except OSError as error:
        raise SettingsError([f"{folder} cannot be read: {error.strerror}"]) from None
    if len(files) != 1:
        names = ", ".join(path.name for path in files) or "none"
        raise SettingsError([f"{folder} must hold exactly one *{ending} file, but holds: {names}"])
    return files[0]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError([f"{path} cannot be read: {error.strerror}"]) from None


def _key(path: Path) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(_read(path), password=None)
    except TypeError:
        problem = f"{path} is encrypted: the hub needs it without a passphrase"
    except (ValueError, UnsupportedAlgorithm):
        problem = f"{path} is not a private key in PEM form"
    raise SettingsError([problem])


def _certificate(path: Path) -> x509.Certificate:
    # One that has expired is served, and one whose time has not come, as where the clock of the
    # machine that made it is ahead. The proxy warns: browsers let people continue past it, and a
    # hub that restarts would otherwise be gone.
    try:
        return x509.load_pem_x509_certificate(_read(path))
    except ValueError:
        raise SettingsError([f"{path} is not a certificate in PEM form"]) from None
