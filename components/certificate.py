"""The key and certificate that a server shows: made by Pulumi, or brought by the operator."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_tls as tls
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from components.settings.keypair import KeyPair
from components.settings.parsing import is_address

#: As `openssl req -newkey rsa:2048 -x509 -days 365` makes them.
RSA_BITS = 2048
VALID_HOURS = 365 * 24

#: A certificate that expires within this time is made anew by `pulumi up`.
RENEWAL_HOURS = 30 * 24

#: Characters a common name may have (RFC 5280, ub-common-name). Clients go by the other names.
COMMON_NAME = 64


@dataclass(frozen=True, kw_only=True)
class CertificateArgs:
    names: tuple[str, ...]
    """DNS names and addresses it is valid for, at least one."""
    brought: KeyPair | None = None
    """The operator's own; None to have key and certificate made."""


class Certificate(pulumi.ComponentResource):
    """A key and its certificate. What Pulumi made, `pulumi up` renews before it expires.

    Between made and brought one may go back and forth: neither is protected.

    The key is a secret to Pulumi wherever it goes.
    """

    key_pem: pulumi.Output[str]
    certificate_pem: pulumi.Output[str]
    made_key_pem: pulumi.Output[str]
    """The key that Pulumi made, in use or not: a secret that stays when a brought one changes."""
    fingerprint: pulumi.Output[str]
    """SHA-256 of the certificate, as browsers show it."""
    fingerprints: pulumi.Output[str]
    """The same, and those of its issuers that are sent with it."""
    expires: pulumi.Output[str]
    """When the certificate expires (RFC 3339)."""

    def __init__(
        self, name: str, args: CertificateArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("zhub:certificate:Certificate", name, None, opts)
        # Also declared beside a brought pair, which then is what is used. Stacks made by older
        # releases have the key protected in their state, and Pulumi refuses to delete such a
        # resource, even where the program does not protect it any more: it has to be seen declared
        # without that. It costs nothing, and who goes back to a made certificate has the same key.
        key = tls.PrivateKey(
            name, algorithm="RSA", rsa_bits=RSA_BITS, opts=pulumi.ResourceOptions(parent=self)
        )
        self.made_key_pem = key.private_key_pem
        if args.brought:
            self.key_pem = args.brought.key_pem
            self.certificate_pem = pulumi.Output.from_input(args.brought.certificate_pem)
        else:
            certificate = tls.SelfSignedCert(
                name,
                private_key_pem=key.private_key_pem,
                subject=tls.SelfSignedCertSubjectArgs(common_name=args.names[0][:COMMON_NAME]),
                dns_names=[name for name in args.names if not is_address(name)],
                ip_addresses=[name for name in args.names if is_address(name)],
                allowed_uses=["digital_signature", "key_encipherment", "server_auth"],
                validity_period_hours=VALID_HOURS,
                early_renewal_hours=RENEWAL_HOURS,
                set_subject_key_id=True,
                opts=pulumi.ResourceOptions(parent=self),
            )
            self.key_pem = key.private_key_pem
            self.certificate_pem = certificate.cert_pem
        self.fingerprint = self.certificate_pem.apply(lambda pem: _fingerprints(pem)[0])
        self.fingerprints = self.certificate_pem.apply(lambda pem: ", ".join(_fingerprints(pem)))
        self.expires = self.certificate_pem.apply(_expires)
        # Without the key: nobody reads it there, and it would be in the state a second time.
        self.register_outputs(
            {"certificatePem": self.certificate_pem, "fingerprint": self.fingerprint}
        )


def _fingerprints(chain_pem: str) -> list[str]:
    chain = x509.load_pem_x509_certificates(chain_pem.encode())
    return [one.fingerprint(SHA256()).hex(":").upper() for one in chain]


def _expires(chain_pem: str) -> str:
    end = x509.load_pem_x509_certificate(chain_pem.encode()).not_valid_after_utc
    return end.isoformat().replace("+00:00", "Z")
