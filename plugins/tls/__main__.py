"""Run the `tls` plugin."""

from plugins.base import Provider
from plugins.properties import Property
from plugins.property_types import ANYTHING
from plugins.serving import main
from plugins.tls.private_key import PrivateKey
from plugins.tls.self_signed_cert import SelfSignedCert

main(
    Provider(
        "tls",
        "5.6.2",
        [PrivateKey, SelfSignedCert],
        # In the official plugin, only its functions use the proxy.
        [Property("proxy", ANYTHING, unsupported=True)],
    )
)
