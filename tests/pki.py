"""Keys and certificates for tests: an authority, and certificates that it signs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

DAY = timedelta(days=1)

_SIGNING = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True)
class Identity:
    """A key and its certificate; signs others when it is an authority."""

    key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @classmethod
    def create(
        cls,
        *names: str,
        issuer: Identity | None = None,
        authority: bool = False,
        begin: timedelta = -DAY,
        end: timedelta = DAY,
        bits: int = 2048,
    ) -> Identity:
        """Make a key and a certificate for DNS names and addresses; self-signed without issuer."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begin)
            .not_valid_after(now + end)
            .add_extension(
                x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            # RFC 5280, sections 4.2.1.1 to 4.2.1.3: Python requires these since 3.13.
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(
                    (issuer.key if issuer else key).public_key()
                ),
                critical=False,
            )
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
        )
        if authority:
            builder = builder.add_extension(_SIGNING, critical=True)
        certificate = builder.sign(issuer.key if issuer else key, hashes.SHA256())
        return cls(key, certificate)

    def write(
        self,
        folder: Path,
        name: str,
        encryption: KeySerializationEncryption | None = None,
    ) -> None:
        """Write `name`.key and `name`.crt."""
        folder.mkdir(parents=True, exist_ok=True)
        key = self.key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()
        )
        (folder / f"{name}.key").write_bytes(key)
        (folder / f"{name}.crt").write_bytes(self.certificate.public_bytes(Encoding.PEM))


def passphrase(text: str) -> KeySerializationEncryption:
    """Encryption of a key file."""
    return BestAvailableEncryption(text.encode())


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
