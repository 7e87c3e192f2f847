"""tls:index/privateKey:PrivateKey."""

from __future__ import annotations

import base64
import hashlib
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from plugins.calls import Call, Created, ResourceError
from plugins.properties import Property
from plugins.property_types import STRING, Scalar, one_of
from plugins.resource import Resource
from plugins.values import Properties

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
"""The private keys of the three algorithms."""

CURVES: dict[str, type[ec.EllipticCurve]] = {
    "P224": ec.SECP224R1,
    "P256": ec.SECP256R1,
    "P384": ec.SECP384R1,
    "P521": ec.SECP521R1,
}

# The id's input is trimmed of Go's white space, which differs from Python's (unicode.IsSpace).
_GO_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


class PrivateKey(Resource):
    """A private key, generated here and kept in the state."""

    token = "tls:index/privateKey:PrivateKey"
    schema_version = 1
    id_in_outputs = True
    properties: ClassVar = (
        Property("algorithm", one_of("RSA", "ECDSA", "ED25519"), required=True, replaces=True),
        Property("ecdsaCurve", one_of(*CURVES), replaces=True, output_default="P224"),
        Property(
            # Go and `cryptography` both refuse to generate a smaller key.
            "rsaBits",
            Scalar("integer", minimum=1024),
            replaces=True,
            output_default=2048,
        ),
        Property("privateKeyPem", STRING, output=True, secret=True),
        Property("privateKeyPemPkcs8", STRING, output=True, secret=True),
        Property("privateKeyOpenssh", STRING, output=True, secret=True),
        Property("publicKeyPem", STRING, output=True),
        Property("publicKeyOpenssh", STRING, output=True),
        Property("publicKeyFingerprintMd5", STRING, output=True),
        Property("publicKeyFingerprintSha256", STRING, output=True),
    )

    def create(self, inputs: Properties, call: Call) -> Created:
        outputs = self.planned(inputs)
        key = _generate(outputs)
        outputs |= _outputs(key)
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return Created(_id_of(public), outputs)

    def read(self, id: str, state: Properties, call: Call) -> Properties:
        if not state:
            raise ResourceError(
                "a private key cannot be imported, since its id does not contain the key. Use the "
                "key's PEM file directly instead"
            )
        return state


def algorithm_of(key: Key) -> str:
    """Return the provider's name of the key's algorithm."""
    if isinstance(key, rsa.RSAPrivateKey):
        return "RSA"
    return "ECDSA" if isinstance(key, ec.EllipticCurvePrivateKey) else "ED25519"


def _generate(outputs: Properties) -> Key:
    match outputs["algorithm"]:
        case "RSA":
            return rsa.generate_private_key(65537, outputs["rsaBits"])
        case "ECDSA":
            return ec.generate_private_key(CURVES[outputs["ecdsaCurve"]]())
        case _:
            return ed25519.Ed25519PrivateKey.generate()


def _outputs(key: Key) -> Properties:
    """Return the key in all of the resource's forms."""
    ed = isinstance(key, ed25519.Ed25519PrivateKey)
    public = key.public_key()
    outputs = {
        "privateKeyPem": _private_pem(
            key, PrivateFormat.PKCS8 if ed else PrivateFormat.TraditionalOpenSSL
        ),
        "privateKeyPemPkcs8": _private_pem(key, PrivateFormat.PKCS8),
        "publicKeyPem": public.public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        ).decode(),
        # OpenSSH has no P224.
        "privateKeyOpenssh": "",
        "publicKeyOpenssh": "",
        "publicKeyFingerprintMd5": "",
        "publicKeyFingerprintSha256": "",
    }
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP224R1):
        return outputs
    openssh = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    blob = base64.b64decode(openssh.split()[1])
    sha256 = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return outputs | {
        "privateKeyOpenssh": _private_pem(key, PrivateFormat.OpenSSH),
        "publicKeyOpenssh": f"{openssh}\n",
        "publicKeyFingerprintMd5": hashlib.md5(blob, usedforsecurity=False).digest().hex(":"),
        "publicKeyFingerprintSha256": f"SHA256:{sha256}",
    }


def _private_pem(key: Key, form: PrivateFormat) -> str:
    return key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()


def _id_of(public_der: bytes) -> str:
    text = public_der.decode(errors="surrogateescape").strip(_GO_SPACE)
    digest = hashlib.sha1(text.encode(errors="surrogateescape"), usedforsecurity=False)
    return digest.hexdigest()
