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
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from components.settings import certificates, parsing
from components.settings.certificates import when
from components.settings.config import Config, remove_command
from components.settings.parsing import RefusedError, as_pem, is_address


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


def read_certificate(pem: bytes, now: datetime) -> list[x509.Certificate]:
    """The certificates of a file, the server's own first.

    Raises:
        RefusedError: when they are not usable now, not in the order TLS sends them in, or too weak
            for the hub's OpenSSL to serve with.
    """
    chain = parsing.certificates(pem)
    reason = certificates.outside_its_time(chain[0], now)
    if reason:
        raise RefusedError(f"the certificate {reason}")
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


def read_key(pem: bytes, chain: Sequence[x509.Certificate]) -> str:
    """The key of a file, in PEM form; it must be that of the chain's first certificate, if any.

    Raises:
        RefusedError: when it is no key, needs a passphrase or is another one's.
    """
    try:
        key = load_pem_private_key(pem, None)
    except TypeError:
        raise RefusedError("the key is encrypted, but the hub has no passphrase for it") from None
    except (ValueError, UnsupportedAlgorithm):
        raise RefusedError("the file does not hold a private key in PEM form") from None
    if chain and key.public_key() != chain[0].public_key():
        raise RefusedError("it is not the key of the certificate in tlsCertFile")
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


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
    told = []
    if now > own.not_valid_after_utc - certificates.EXPIRES_SOON:
        days = (own.not_valid_after_utc - now).days
        told.append(
            f"the certificate in tlsCertFile expires in {days} days, at"
            f" {when(own.not_valid_after_utc)}: get a new one, then run `pulumi up`"
        )
    if len(chain) == 1 and own.issuer != own.subject:
        told.append(
            "tlsCertFile holds only the hub's own certificate: browsers that do not know its"
            f" issuer, {own.issuer.rfc4514_string()}, will refuse it; put the issuer's after it"
        )
    missing = ", ".join(uncovered(own, names))
    if missing:
        told.append(
            f"the certificate in tlsCertFile is not valid for {missing}: browsers will refuse it"
            " there"
        )
    return told


def read(config: Config, now: datetime) -> KeyPair | None:
    """Read the key and certificate that the operator brought; None to have both made."""
    chain = config.value(
        "tlsCertFile",
        parsing.or_none(lambda path: read_certificate(parsing.content(path), now)),
    )
    keys = {
        "tlsKeyFile": config.value(
            "tlsKeyFile",
            parsing.or_none(lambda path: read_key(parsing.content(path), chain or [])),
        ),
        "tlsKey": config.value(
            "tlsKey", parsing.or_none(lambda pem: read_key(pem.encode(), chain or []))
        ),
    }
    given = list(filter(config.is_set, keys))
    if len(given) > 1:
        config.clash("tlsKeyFile", "contradicts tlsKey", remove_command("tlsKeyFile"))
    if given and not config.is_set("tlsCertFile"):
        config.clash(
            "tlsCertFile",
            f"must be set when {given[0]} is",
            config.set_command("tlsCertFile"),
            f"or, to have both made: {remove_command(given[0])}",
        )
    if config.is_set("tlsCertFile") and not given:
        config.clash(
            "tlsKeyFile",
            "must be set, or tlsKey, when tlsCertFile is",
            config.set_command("tlsKeyFile"),
            f"or, to have both made: {remove_command('tlsCertFile')}",
        )
    key = keys["tlsKeyFile"] or keys["tlsKey"]
    return KeyPair(chain=chain, key_pem=pulumi.Output.secret(key)) if chain and key else None
