"""Keys and certificates for tests: an authority, and certificates that it signs."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
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


Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def quick_key() -> ec.EllipticCurvePrivateKey:
    """A key that is not RSA: to make an RSA key, or to check one, takes longer than most tests."""
    return ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True)
class Identity:
    """A key and its certificate; signs others when it is an authority."""

    key: Key
    certificate: x509.Certificate

    @classmethod
    def create(  # noqa: PLR0913 - what certificates differ in
        cls,
        *names: str,
        issuer: Identity | None = None,
        authority: bool = False,
        begin: timedelta = -DAY,
        end: timedelta = DAY,
        bits: int = 2048,
        key: Key | None = None,
        purposes: Sequence[x509.ObjectIdentifier] = (),
        without: Collection[type[x509.ExtensionType]] = (),
        uncritical: Collection[type[x509.ExtensionType]] = (),
    ) -> Identity:
        """Make a key and a certificate for DNS names and addresses; self-signed without issuer.

        Args:
            names: the first is the subject's as well.
            issuer: who signs it.
            authority: whether it may sign others.
            begin: of its time, from now.
            end: of its time, from now.
            bits: of an RSA key.
            key: in place of a new RSA key.
            purposes: extendedKeyUsage; none for no such extension.
            without: extensions to leave out.
            uncritical: extensions that are not marked as critical.
        """
        key = key or rsa.generate_private_key(public_exponent=65537, key_size=bits)
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
        )
        # RFC 5280, sections 4.2.1.1 to 4.2.1.3: what Python asks of them from 3.13 on.
        signer = issuer.key if issuer else key
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (x509.SubjectAlternativeName([_general_name(name) for name in names]), False),
            (x509.BasicConstraints(ca=authority, path_length=None), True),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False),
            (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        ]
        if authority:
            extensions.append((_SIGNING, True))
        if purposes:
            extensions.append((x509.ExtendedKeyUsage(purposes), False))
        for extension, critical in extensions:
            if type(extension) not in without:
                marked = critical and type(extension) not in uncritical
                builder = builder.add_extension(extension, critical=marked)
        return cls(key, builder.sign(signer, hashes.SHA256()))

    @classmethod
    def version_1(cls, name: str) -> Identity:
        """Make a key and a self-signed certificate of X.509 version 1, which has no extensions."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        with tempfile.NamedTemporaryFile() as file:
            file.write(_pem(key, NoEncryption()))
            file.flush()
            request = ["openssl", "req", "-new", "-key", file.name, "-subj", f"/CN={name}"]
            sign = ["openssl", "x509", "-req", "-days", "365", "-signkey", file.name]
            asked = subprocess.run(request, check=True, capture_output=True).stdout
            signed = subprocess.run(sign, input=asked, check=True, capture_output=True).stdout
        certificate = x509.load_pem_x509_certificate(signed)
        assert certificate.version is x509.Version.v1
        return cls(key, certificate)

    def signed_with(self, digest: hashes.MD5 | hashes.SHA1, issuer: Identity | None) -> Identity:
        """The same, its signature made again with an outdated digest, as no library makes it."""
        signer = (issuer or self).key
        assert isinstance(signer, rsa.RSAPrivateKey)
        oids = {"sha256": "2a864886f70d01010b", "sha1": "2a864886f70d010105"}
        oids |= {"md5": "2a864886f70d010104"}  # RFC 8017, appendix A.2.4
        own, other = (bytes.fromhex(oids[name]) for name in ("sha256", digest.name))
        tbs = self.certificate.tbs_certificate_bytes.replace(own, other)
        signature = signer.sign(tbs, PKCS1v15(), digest)
        der = self.certificate.public_bytes(Encoding.DER).replace(own, other)
        signed = x509.load_der_x509_certificate(der[: -len(signature)] + signature)
        return Identity(self.key, signed)

    @property
    def pem(self) -> str:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def write(
        self,
        folder: Path,
        name: str,
        encryption: KeySerializationEncryption | None = None,
    ) -> None:
        """Write `name`.key and `name`.crt."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.key").write_bytes(_pem(self.key, encryption or NoEncryption()))
        (folder / f"{name}.crt").write_text(self.pem)


def _pem(key: Key, encryption: KeySerializationEncryption) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def passphrase(text: str) -> KeySerializationEncryption:
    """Encryption of a key file."""
    return BestAvailableEncryption(text.encode())


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
