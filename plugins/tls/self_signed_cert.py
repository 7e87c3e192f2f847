"""tls:index/selfSignedCert:SelfSignedCert."""

from __future__ import annotations

import hashlib
import ipaddress
import re
import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID, ObjectIdentifier

from plugins.calls import Call, CheckCall, Created, ResourceError
from plugins.properties import Object, Property
from plugins.property_types import STRING, Change, Failure, ListOf, Scalar, one_of
from plugins.resource import Resource
from plugins.tls.private_key import Key, algorithm_of
from plugins.values import UNKNOWN, Properties

KEY_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "cert_signing",
    "crl_signing",
    "encipher_only",
    "decipher_only",
)
# Sources: RFC 5280 section 4.2.1.12; the IPsec and vendor ones from Go's crypto/x509.
EXTENDED_KEY_USAGES = {
    "any_extended": "2.5.29.37.0",
    "server_auth": "1.3.6.1.5.5.7.3.1",
    "client_auth": "1.3.6.1.5.5.7.3.2",
    "code_signing": "1.3.6.1.5.5.7.3.3",
    "email_protection": "1.3.6.1.5.5.7.3.4",
    "ipsec_end_system": "1.3.6.1.5.5.7.3.5",
    "ipsec_tunnel": "1.3.6.1.5.5.7.3.6",
    "ipsec_user": "1.3.6.1.5.5.7.3.7",
    "timestamping": "1.3.6.1.5.5.7.3.8",
    "ocsp_signing": "1.3.6.1.5.5.7.3.9",
    "microsoft_server_gated_crypto": "1.3.6.1.4.1.311.10.3.3",
    "netscape_server_gated_crypto": "2.16.840.1.113730.4.1",
    "microsoft_commercial_code_signing": "1.3.6.1.4.1.311.2.1.22",
    "microsoft_kernel_code_signing": "1.3.6.1.4.1.311.61.1.1",
}
# In the order in which Go writes them into a name.
SUBJECT_FIELDS = {
    "country": NameOID.COUNTRY_NAME,
    "organization": NameOID.ORGANIZATION_NAME,
    "organizationalUnit": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "locality": NameOID.LOCALITY_NAME,
    "province": NameOID.STATE_OR_PROVINCE_NAME,
    "streetAddresses": NameOID.STREET_ADDRESS,
    "postalCode": NameOID.POSTAL_CODE,
    "commonName": NameOID.COMMON_NAME,
    "serialNumber": NameOID.SERIAL_NUMBER,
    "emailAddress": NameOID.EMAIL_ADDRESS,
}
SUBJECT = Object(
    "tls:index/SelfSignedCertSubject:SelfSignedCertSubject",
    tuple(
        Property(name, ListOf(STRING) if name == "streetAddresses" else STRING)
        for name in SUBJECT_FIELDS
    ),
)
_PEM = re.compile(r"-----BEGIN [A-Za-z ]+-----\n.+\n-----END [A-Za-z ]+-----\n?", re.DOTALL)
_HOURS = Scalar("integer", minimum=0)
# Here the bridge accepts strings for numbers, but not for booleans.
_FLAG = Scalar("boolean", converts=False)


class SelfSignedCert(Resource):
    """A self-signed certificate, replaced when its early renewal begins."""

    token = "tls:index/selfSignedCert:SelfSignedCert"
    id_in_outputs = True
    properties: ClassVar = (
        Property("privateKeyPem", STRING, required=True, replaces=True, secret=True),
        Property("privateKeyPemWo", STRING, unsupported=True),
        Property("privateKeyPemWoVersion", STRING, unsupported=True),
        Property(
            "allowedUses",
            ListOf(one_of(*sorted([*KEY_USAGES, *EXTENDED_KEY_USAGES]))),
            required=True,
            replaces=True,
        ),
        Property("validityPeriodHours", _HOURS, required=True, replaces=True),
        Property("earlyRenewalHours", _HOURS, output_default=0),
        Property("subject", SUBJECT, replaces=True),
        Property("dnsNames", ListOf(STRING), replaces=True),
        Property("ipAddresses", ListOf(STRING), replaces=True),
        Property("uris", ListOf(STRING), replaces=True),
        Property("isCaCertificate", _FLAG, replaces=True, output_default=False),
        Property("maxPathLength", Scalar("integer", minimum=-1), replaces=True, computed=True),
        Property("setSubjectKeyId", _FLAG, replaces=True, output_default=False),
        Property("setAuthorityKeyId", _FLAG, replaces=True, output_default=False),
        Property("certPem", STRING, output=True),
        Property("keyAlgorithm", STRING, output=True),
        Property("readyForRenewal", _FLAG, output=True, output_default=False),
        Property("validityStartTime", STRING, output=True),
        Property("validityEndTime", STRING, output=True),
    )

    def check(self, inputs: Properties, old: Properties, call: CheckCall) -> list[Failure]:
        failures = [*_subject_failures(inputs)]
        for name, parse in (
            ("dnsNames", _dns_name),
            ("ipAddresses", _ip_address),
            ("uris", _uri),
        ):
            for index, text in enumerate(_known_list(inputs.get(name))):
                try:
                    parse(text)
                except ValueError as error:
                    failures.append(Failure(f"{name}[{index}]", f'is "{text}": {error}'))
        uses = _known_list(inputs.get("allowedUses"))
        if {"encipher_only", "decipher_only"} & {*uses} and "key_agreement" not in uses:
            failures.append(
                Failure("allowedUses", "encipher_only and decipher_only need key_agreement too")
            )
        if not inputs.get("isCaCertificate"):
            if inputs.get("setAuthorityKeyId") is True and not inputs.get("setSubjectKeyId"):
                failures.append(Failure("setAuthorityKeyId", "needs setSubjectKeyId"))
            if inputs.get("maxPathLength") not in (None, UNKNOWN, -1, 0):
                failures.append(Failure("maxPathLength", "needs isCaCertificate"))
        return failures

    def diff(
        self, changes: list[Change], old: Properties, new: Properties, state: Properties
    ) -> list[Change]:
        # Very old states have the key's hash instead of the key: then this is no change of the key.
        if not _PEM.fullmatch(str(state.get("privateKeyPem", ""))):
            changes = [
                Change(c.path, c.kind, replaces=False) if c.path == "privateKeyPem" else c
                for c in changes
            ]
        if _ready_for_renewal(self.planned(new), state):
            changes.append(Change("readyForRenewal", "update", replaces=True, inputs=False))
        elif state.get("readyForRenewal"):
            # A refresh marked it as ready, and a shorter early renewal undoes that.
            changes.append(Change("readyForRenewal", "update", replaces=False, inputs=False))
        return changes

    def create(self, inputs: Properties, call: Call) -> Created:
        outputs = self.planned(inputs)
        key = _load_key(inputs["privateKeyPem"])
        serial = 1 + secrets.randbelow(2**128 - 1)
        start = datetime.now().astimezone()
        end = start + timedelta(hours=inputs["validityPeriodHours"])
        try:
            certificate = _certificate(outputs, key, serial, start, end)
        except (OverflowError, ValueError) as error:
            raise ResourceError(f"the certificate cannot be made: {error}") from error
        outputs |= {
            "certPem": certificate.public_bytes(Encoding.PEM).decode(),
            "keyAlgorithm": algorithm_of(key),
            "validityStartTime": _rfc3339(start),
            "validityEndTime": _rfc3339(end),
            "readyForRenewal": inputs["validityPeriodHours"] <= outputs["earlyRenewalHours"],
        }
        return Created(str(serial), outputs)

    def read(self, id: str, state: Properties, call: Call) -> Properties:
        if not state:
            raise ResourceError(
                "a certificate cannot be imported, since its id does not contain the certificate"
            )
        return {**state, "readyForRenewal": True} if _ready_for_renewal(state, state) else state

    def update(self, id: str, state: Properties, new: Properties, call: Call) -> Properties:
        # Only a change of `earlyRenewalHours` comes here, or the key of a state with its hash.
        return {**state, **self.planned(new)}


def _subject_failures(inputs: Properties) -> Iterator[Failure]:
    subject = inputs.get("subject", {})
    if subject is UNKNOWN:
        return
    if inputs.get("isCaCertificate") is True and not any(subject.values()):
        yield Failure("subject", "must have a name for a certificate authority")
    country = subject.get("country")
    if country not in (None, "", UNKNOWN) and len(country) != 2:
        yield Failure("subject.country", "must be a code of two letters")


def _ready_for_renewal(properties: Properties, state: Properties) -> bool:
    """Tell whether the early renewal of the certificate in `state` has begun."""
    early = properties.get("earlyRenewalHours", 0)
    if early is UNKNOWN or "validityEndTime" not in state:
        return False
    end = _from_rfc3339(state["validityEndTime"])
    return datetime.now().astimezone() >= end - timedelta(hours=early)


def _load_key(pem: str) -> Key:
    # The library's message may contain parts of the key, so it is not shown.
    unreadable = ResourceError(
        "privateKeyPem cannot be read: it must be an unencrypted RSA, ECDSA or ED25519 key in PEM "
        "form, which OpenSSH's own form is not"
    )
    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise unreadable from None
    if not isinstance(key, Key) or pem.lstrip().startswith("-----BEGIN OPENSSH"):
        raise unreadable
    return key


def _certificate(
    properties: Properties, key: Key, serial: int, start: datetime, end: datetime
) -> x509.Certificate:
    name = _name(properties.get("subject", {}))
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(start)
        .not_valid_after(end)
    )
    for extension, critical in _extensions(properties, key, subject_is_empty=not list(name)):
        builder = builder.add_extension(extension, critical)
    return builder.sign(key, _hash_for(key))


def _extensions(
    properties: Properties, key: Key, *, subject_is_empty: bool
) -> list[tuple[x509.ExtensionType, bool]]:
    """Return the extensions, each with whether it is critical."""
    result: list[tuple[x509.ExtensionType, bool]] = []
    uses = properties["allowedUses"]
    if {*uses} & {*KEY_USAGES}:
        names = {
            use: {"cert_signing": "key_cert_sign", "crl_signing": "crl_sign"}.get(use, use)
            for use in KEY_USAGES
        }
        flags = {name: use in uses for use, name in names.items()}
        result.append((x509.KeyUsage(**flags), True))
    extended = [EXTENDED_KEY_USAGES[use] for use in uses if use in EXTENDED_KEY_USAGES]
    if extended:
        oids = [ObjectIdentifier(oid) for oid in dict.fromkeys(extended)]
        result.append((x509.ExtendedKeyUsage(oids), False))
    is_ca = properties["isCaCertificate"]
    length = properties.get("maxPathLength", -1)
    result.append((x509.BasicConstraints(is_ca, length if is_ca and length >= 0 else None), True))
    key_id = _key_id(key)
    if is_ca or properties["setSubjectKeyId"]:
        result.append((x509.SubjectKeyIdentifier(key_id), False))
    if properties["setAuthorityKeyId"]:
        result.append((x509.AuthorityKeyIdentifier(key_id, None, None), False))
    names_of: list[x509.GeneralName] = [
        *map(_dns_name, properties.get("dnsNames", [])),
        *map(_ip_address, properties.get("ipAddresses", [])),
        *map(_uri, properties.get("uris", [])),
    ]
    if names_of:
        result.append((x509.SubjectAlternativeName(names_of), subject_is_empty))
    return result


def _name(subject: dict[str, Any]) -> x509.Name:
    parts = []
    for field, oid in SUBJECT_FIELDS.items():
        values = subject.get(field) or []
        attributes = [
            x509.NameAttribute(oid, value)
            for value in ([values] if isinstance(values, str) else values)
            if value
        ]
        if attributes:
            parts.append(x509.RelativeDistinguishedName(attributes))
    return x509.Name(parts)


def _dns_name(text: str) -> x509.DNSName:
    if not text:
        raise ValueError("must not be empty")
    return x509.DNSName(text)


def _ip_address(text: str) -> x509.IPAddress:
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id:
            raise ValueError("must not name a zone")
        # Go, and so the official provider, writes a mapped address as IPv4.
        return x509.IPAddress(address.ipv4_mapped or address)
    return x509.IPAddress(address)


def _uri(text: str) -> x509.UniformResourceIdentifier:
    if not text:
        raise ValueError("must not be empty")
    urlsplit(text)
    return x509.UniformResourceIdentifier(text)


def _key_id(key: Key) -> bytes:
    """Return the SHA-1 of the public key (RFC 5280 section 4.2.1.2, method 1)."""
    public = key.public_key()
    if isinstance(public, ed25519.Ed25519PublicKey):
        # The official provider hashes the key in an OCTET STRING, which the RFC does not require.
        raw = b"\x04\x20" + public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return hashlib.sha1(raw, usedforsecurity=False).digest()
    return x509.SubjectKeyIdentifier.from_public_key(public).digest


def _hash_for(key: Key) -> SHA256 | SHA384 | SHA512 | None:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return None
    if isinstance(key, rsa.RSAPrivateKey):
        return SHA256()
    if isinstance(key.curve, ec.SECP384R1):
        return SHA384()
    return SHA512() if isinstance(key.curve, ec.SECP521R1) else SHA256()


def _known_list(value: Any) -> list[str]:
    return [item for item in value if item is not UNKNOWN] if isinstance(value, list) else []


def _rfc3339(time: datetime) -> str:
    """Return the time as Go writes it: local offset, no trailing zeros in the fraction."""
    text = time.strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f"{time.microsecond:06}".rstrip("0")
    offset = time.isoformat()[-6:]
    return text + (f".{fraction}" if fraction else "") + ("Z" if offset == "+00:00" else offset)


def _from_rfc3339(text: str) -> datetime:
    # Go writes nanoseconds; Python reads no more than six digits.
    try:
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)).astimezone()
    except (TypeError, ValueError, OverflowError) as error:
        raise ResourceError("validityEndTime in the state is no RFC 3339 time") from error
