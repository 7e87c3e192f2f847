"""A key and certificate that the operator brings: checked before anything is made of them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

import pulumi
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from components.settings import certificates, parsing
from components.settings.certificates import when
from components.settings.config import Config
from components.settings.parsing import RefusedError, as_pem, is_address
from components.settings.setting import Setting


@dataclass(frozen=True, kw_only=True)
class KeyPair:
    """A certificate with its chain, and its key."""

    chain: Sequence[x509.Certificate]
    """The hub's own first, then each one's issuer."""
    key_pem: pulumi.Output[str] = field(repr=False)
    """A secret to Pulumi."""

    @property
    def certificate_pem(self) -> str:
        """The chain as a server sends it."""
        return as_pem(self.chain)


def _chain(path: str) -> list[x509.Certificate]:
    """The certificates of a file, in the order TLS sends them in: the server's own first."""
    chain = parsing.certificates(parsing.content(path))
    for number, certificate in enumerate(chain, start=1):
        weakness = certificates.weak_key(certificate) or certificates.weak_signature(certificate)
        if weakness:
            which = "the certificate" if number == 1 else f"certificate {number} in the file"
            raise RefusedError(f"{which} {weakness}")
    for number, (issued, issuer) in enumerate(pairwise(chain), start=1):
        try:
            issued.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            raise RefusedError(
                f"certificate {number} in the file is not issued by certificate {number + 1}: the"
                " hub's own must come first, then each one's issuer"
            ) from None
    return chain


def _key(pem: str) -> PrivateKeyTypes:
    return _read_key(pem.encode())


def _key_file(path: str) -> PrivateKeyTypes:
    return _read_key(parsing.content(path))


def _read_key(pem: bytes) -> PrivateKeyTypes:
    try:
        key = load_pem_private_key(pem, None)
    except TypeError:
        raise RefusedError("the key is encrypted, but the hub has no passphrase for it") from None
    except (ValueError, UnsupportedAlgorithm):
        raise RefusedError("the file does not hold a private key in PEM form") from None
    return key


CERT_FILE = Setting(
    "tlsCertFile",
    "",
    "PEM file with the hub's certificate, then its chain; empty to have one made",
    parsing.or_none(_chain),
    example="hub.example.com.crt",
)
KEY_FILE = Setting(
    "tlsKeyFile",
    "",
    "PEM file with the certificate's key, without a passphrase",
    parsing.or_none(_key_file),
    example="hub.example.com.key",
)
KEY = Setting(
    "tlsKey",
    "",
    "The key itself, instead of tlsKeyFile; set it with --secret",
    parsing.or_none(_key),
    example="hub.example.com.key",
    secret=True,
)


def _refuse_untimely(own: x509.Certificate, now: datetime) -> None:
    reason = certificates.outside_its_time(own, now)
    if reason:
        raise RefusedError(f"the certificate {reason}")


def _refuse_other(key: PrivateKeyTypes, own: x509.Certificate) -> None:
    if key.public_key() != own.public_key():
        raise RefusedError(f"it is not the key of the certificate in {CERT_FILE}")


def _covers(pattern: str, name: str) -> bool:
    """Whether a certificate for `pattern` is one for `name` (RFC 6125, section 6.4.3)."""
    if pattern.startswith("*."):
        _, _, name = name.partition(".")
        pattern = pattern[2:]
    return pattern.lower() == name


def uncovered(certificate: x509.Certificate, names: Iterable[str]) -> Iterator[str]:
    """Those of the names and addresses that a certificate is not valid for."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        dns = extension.value.get_values_for_type(x509.DNSName)
        addresses = extension.value.get_values_for_type(x509.IPAddress)
    except x509.ExtensionNotFound:
        dns, addresses = [], []
    for name in names:
        if is_address(name):
            if ipaddress.ip_address(name) not in addresses:
                yield name
        elif not any(_covers(pattern, name) for pattern in dns):
            yield name


def warnings(chain: Sequence[x509.Certificate], names: Iterable[str], now: datetime) -> list[str]:
    """What is amiss with a certificate that can be used all the same."""
    own = chain[0]
    found = []
    if now > own.not_valid_after_utc - certificates.EXPIRES_SOON:
        days = (own.not_valid_after_utc - now).days
        found.append(
            f"the certificate in tlsCertFile expires in {days} days, at"
            f" {when(own.not_valid_after_utc)}: get a new one, then run `pulumi up`"
        )
    if len(chain) == 1 and own.issuer != own.subject:
        found.append(
            "tlsCertFile holds only the hub's own certificate: browsers that do not know its"
            f" issuer, {own.issuer.rfc4514_string()}, will refuse it; put the issuer's after it"
        )
    missing = ", ".join(uncovered(own, names))
    if missing:
        found.append(
            f"the certificate in tlsCertFile is not valid for {missing}: browsers will refuse it"
            " there"
        )
    return found


def read(config: Config, now: datetime) -> KeyPair | None:
    """Read the key and certificate that the operator brought; None to have both made."""
    chain = config.value(CERT_FILE)
    if chain:
        own = chain[0]
        if not config.check(CERT_FILE, lambda: _refuse_untimely(own, now)):
            chain = None
    given = [setting for setting in (KEY_FILE, KEY) if config.is_set(setting)]
    keys = [key for setting in (KEY_FILE, KEY) if (key := _key_of(config, setting, chain))]
    if len(given) > 1:
        config.clash(KEY_FILE, f"contradicts {KEY}", KEY_FILE.remove_command())
    if given and not config.is_set(CERT_FILE):
        config.clash(
            CERT_FILE,
            f"must be set when {given[0]} is",
            CERT_FILE.set_command(),
            f"or, to have both made: {given[0].remove_command()}",
        )
    if config.is_set(CERT_FILE) and not given:
        config.clash(
            KEY_FILE,
            f"must be set, or {KEY}, when {CERT_FILE} is",
            KEY_FILE.set_command(),
            f"or, to have both made: {CERT_FILE.remove_command()}",
        )
    if not chain or not keys:
        return None
    pem = keys[0].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return KeyPair(chain=chain, key_pem=pulumi.Output.secret(pem))


def _key_of(
    config: Config,
    setting: Setting[PrivateKeyTypes | None],
    chain: Sequence[x509.Certificate] | None,
) -> PrivateKeyTypes | None:
    key = config.value(setting)
    if key and chain and not config.check(setting, lambda: _refuse_other(key, chain[0])):
        return None
    return key
