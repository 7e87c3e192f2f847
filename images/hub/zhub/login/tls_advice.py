"""What an operator can do where there is no TLS to the directory, and about whose certificate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

OUTDATED_DIGESTS = {"md5", "sha1"}


@dataclass(frozen=True)
class Advice:
    """What an operator can do where TLS does not come about."""

    said: str
    """Part of what OpenSSL or ldap3 says."""
    text: str
    of_ca: str = ""
    """What to do instead where the server's own certificate is not at fault: OpenSSL names none."""
    at_fault: Callable[[x509.Certificate], bool] = lambda _: True
    """Whether the server's own certificate is."""


def _untimely(own: x509.Certificate) -> bool:
    return not own.not_valid_before_utc <= datetime.now(UTC) <= own.not_valid_after_utc


def _outdated(own: x509.Certificate) -> bool:
    digest = own.signature_hash_algorithm
    return digest is not None and digest.name in OUTDATED_DIGESTS


def _not_for_servers(own: x509.Certificate) -> bool:
    try:
        uses = own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.SERVER_AUTH not in uses


#: The first that fits counts.
_ALL = (
    Advice(
        "has expired",
        "have the server's certificate renewed",
        "the CA's certificate has expired, not the server's: put the CA's new one into ldapCaFile",
        _untimely,
    ),
    Advice(
        "not yet valid",
        "wait, or set the clock of the engine's machine",
        "the CA's certificate is not valid yet: wait, or set the clock of the engine's machine",
        _untimely,
    ),
    Advice(
        "digest algorithm too weak",
        "have the server's certificate issued anew, signed with SHA-256 or better",
        "have the CA certificate that the server sends issued anew, signed with SHA-256 or better",
        _outdated,
    ),
    Advice(
        "unsuitable certificate purpose",
        "have the server's certificate issued anew: its extendedKeyUsage lacks serverAuth",
        "the CA's certificate is not for servers, its extendedKeyUsage lacks serverAuth: have the"
        " server's certificate issued by another CA, and put that one's into ldapCaFile",
        _not_for_servers,
    ),
    Advice(
        "EE certificate key too weak",
        "have the server's certificate issued anew, for an RSA key of 2048 bits or more",
    ),
    Advice(
        "CA certificate key too weak",
        "the CA's key is too short: have the server's certificate issued by a CA whose RSA key has"
        " 2048 bits or more, and put that one's certificate into ldapCaFile",
    ),
    Advice(
        "invalid CA",
        "the certificate that signed the server's is no CA certificate, by its basicConstraints or"
        " keyUsage: have it issued anew as one, or the server's by a CA",
    ),
    Advice("certificate is not valid for", "set ldapServer to a name that the certificate is for"),
    Advice(
        "self-signed certificate in certificate chain",
        "put the CA certificate at the end of the chain that the server sends into ldapCaFile",
    ),
    Advice(
        "self-signed", "the server's certificate is its own CA certificate: put it into ldapCaFile"
    ),
    Advice("unable to get", "put the certificate of the CA that issued it into ldapCaFile"),
    Advice(
        "certificate verify failed",
        "have the server's certificate or its CA's issued anew, so that it conforms to RFC 5280",
    ),
    Advice("protocolError", "the server has no StartTLS: enable it there, or set ldapTls to ldaps"),
    Advice(
        "", "no TLS on this port: does ldapPort fit ldapTls? LDAPS has its own port, usually 636"
    ),
)


def on(reason: str) -> Advice:
    """The advice on what OpenSSL or ldap3 say."""
    return next(advice for advice in _ALL if advice.said in reason)
