"""Judges certificates as OpenSSL in the hub will, before anything is made of them.

The hub serves with OpenSSL's security level 2, and verifies the directory with it
(images/hub/zhub/login/directory/tls.py). The numbers are those of SSL_CTX_set_security_level(3).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.dsa import DSAPublicKey
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID

from components.settings.parsing import RefusedError

E = TypeVar("E", bound=x509.ExtensionType)

#: How long before its end a certificate that nobody renews by itself is warned about.
EXPIRES_SOON = timedelta(days=30)

#: Bits of a key for 112 bits of security.
MIN_RSA_BITS = 2048
MIN_EC_BITS = 224

#: Digests of a signature with less than 112 bits of security.
WEAK_DIGESTS = {"md5", "sha1"}


def when(time: datetime) -> str:
    """A time as messages show it."""
    return f"{time:%Y-%m-%d %H:%M} UTC"


def outside_its_time(certificate: x509.Certificate, now: datetime) -> str | None:
    """Why a certificate is not valid now; None when it is."""
    if now < certificate.not_valid_before_utc:
        return f"is not valid before {when(certificate.not_valid_before_utc)}"
    if now > certificate.not_valid_after_utc:
        return f"expired at {when(certificate.not_valid_after_utc)}"
    return None


def weak_key(certificate: x509.Certificate) -> str | None:
    """Why the key of a certificate is refused; None when it is not."""
    try:
        key = certificate.public_key()
    except (UnsupportedAlgorithm, ValueError):
        return "has a key of a kind that TLS does not know"
    if isinstance(key, RSAPublicKey | DSAPublicKey) and key.key_size < MIN_RSA_BITS:
        kind = "RSA" if isinstance(key, RSAPublicKey) else "DSA"
        return (
            f"has a weak key: {kind} keys need {MIN_RSA_BITS} bits or more, this has {key.key_size}"
        )
    if isinstance(key, EllipticCurvePublicKey) and key.key_size < MIN_EC_BITS:
        return f"has a weak key: EC keys need {MIN_EC_BITS} bits or more, this has {key.key_size}"
    return None


def weak_signature(certificate: x509.Certificate) -> str | None:
    """Why the signature of a certificate is refused; None when it is not.

    Nobody looks at the signature that a certificate made of itself.
    """
    if certificate.issuer == certificate.subject:
        return None
    try:
        digest = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return "has a signature of a kind that TLS does not know"
    if digest and digest.name in WEAK_DIGESTS:
        return f"has a weak signature, made with {digest.name.upper()}: have it issued anew"
    return None


def is_ca(certificate: x509.Certificate) -> bool:
    """Whether a certificate may sign others, by the rules OpenSSL has when it is not strict.

    Those take a certificate of X.509 version 1 that signed itself, and one that has keyUsage but no
    basicConstraints.
    """
    usage = _extension(certificate, x509.KeyUsage)
    if usage and not usage.key_cert_sign:
        return False
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints:
        return constraints.ca
    alone = certificate.issuer == certificate.subject
    return usage is not None or (certificate.version is x509.Version.v1 and alone)


def _extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    """An extension; None also for a malformed one, which OpenSSL may take or not."""
    found = _with_its_flag(certificate, kind)
    return found.value if found else None


def _with_its_flag(certificate: x509.Certificate, kind: type[E]) -> x509.Extension[E] | None:
    try:
        return certificate.extensions.get_extension_for_class(kind)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return None


def _lacking(certificate: x509.Certificate) -> str:
    """What a CA's certificate lacks for Python from 3.13 on; empty for nothing, and if it is no CA.

    There, `ssl.create_default_context` has OpenSSL be strict, and libraries such as requests do the
    same. The rules are those of check_extensions in OpenSSL's crypto/x509/x509_vfy.c.
    """
    if not is_ca(certificate):
        return ""
    constraints = _with_its_flag(certificate, x509.BasicConstraints)
    lacking = [
        "" if constraints and constraints.critical else "critical basicConstraints",
        "" if _extension(certificate, x509.KeyUsage) else "keyUsage",
        "" if _extension(certificate, x509.SubjectKeyIdentifier) else "subjectKeyIdentifier",
    ]
    return " and ".join(filter(None, lacking))


def warnings_of_extra(trusted: Sequence[x509.Certificate]) -> list[str]:
    """What is amiss with the certificates in extraCaFile, which curl, git and others take."""
    return [
        f"extraCaFile: the certificate of {_name(one)} lacks {lacking}, so Python in users' servers"
        " refuses what this CA has issued, as do libraries such as requests (docs/packages.md):"
        " have the CA's certificate issued anew with it"
        for one in trusted
        if (lacking := _lacking(one))
    ]


def _not_for_servers(certificate: x509.Certificate) -> str | None:
    uses = _extension(certificate, x509.ExtendedKeyUsage)
    if uses is None or ExtendedKeyUsageOID.SERVER_AUTH in uses:
        return None
    return "is not for servers: its extendedKeyUsage lacks serverAuth"


def _useless(certificate: x509.Certificate, now: datetime) -> str | None:
    """Why nothing can be verified with a certificate that is trusted; None when something can."""
    return (
        outside_its_time(certificate, now) or weak_key(certificate) or _not_for_servers(certificate)
    )


def check_trusted(trusted: Sequence[x509.Certificate], now: datetime) -> None:
    """Make sure that one of the certificates can verify a server.

    The others do no harm: a file may hold a CA's old certificate beside its new one.

    Raises:
        RefusedError: none can, so that every login would fail.
    """
    reasons = []
    for certificate in trusted:
        reason = _useless(certificate, now)
        if reason is None:
            return
        reasons.append(f"{_name(certificate)} {reason}")
    raise RefusedError(f"nobody could log in, since it can verify no server: {'; '.join(reasons)}")


def warnings(trusted: Sequence[x509.Certificate], now: datetime) -> list[str]:
    """What is amiss with the certificates in ldapCaFile, which can be used all the same."""
    usable = [certificate for certificate in trusted if not _useless(certificate, now)]
    found = []
    if usable and not any(map(is_ca, usable)):
        names = ", ".join(map(_name, usable))
        found.append(
            f"ldapCaFile holds no CA certificate, only that of {names}: a server is trusted only"
            " while it shows this very one, and nobody can log in once it is renewed"
        )
    end = max((certificate.not_valid_after_utc for certificate in usable), default=None)
    if end and now > end - EXPIRES_SOON:
        found.append(
            f"the last certificate in ldapCaFile expires in {(end - now).days} days, at"
            f" {when(end)}: nobody can log in from then on"
        )
    return found


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or "a certificate without a subject"
