"""Prints what the hub makes of certificates: of a directory's, and of its own.

Run by the tests' Python, and by that of the hub's image, with a folder that has one for each case.
"""

from __future__ import annotations

import json
import ssl
import sys
from pathlib import Path

from zhub.front import certificates
from zhub.login.directory.tls import verifying_context
from zhub.settings import SettingsError

NAME = "ldap.example.com"
"""Where the directory is."""


def of_directory(case: Path) -> str:
    """What the hub says in a TLS handshake with a directory; nothing when it is content."""
    return of_client(case, verifying_context(case / "ca.crt"))


def of_client(case: Path, context: ssl.SSLContext) -> str:
    """What a client says in a TLS handshake; nothing when it is content."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # What the server may show is not the hub's to say.
    serving.set_ciphers("ALL:@SECLEVEL=0")
    serving.load_cert_chain(case / "server.crt", case / "server.key")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname=NAME)
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, server]
    while waiting:
        for side in tuple(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return error.verify_message
            waiting.remove(side)
    return ""


def of_hub(case: Path) -> str:
    """What the hub says of its own key and certificate at its start; nothing when it is content."""
    try:
        certificates.find(case)
    except SettingsError as error:
        return str(error).replace(f"{case}/", "")
    return ""


def verdicts(folder: Path) -> dict[str, str]:
    """What is said in each case."""
    return {
        case.name: (of_directory if (case / "ca.crt").exists() else of_hub)(case)
        for case in sorted(folder.iterdir())
    }


if __name__ == "__main__":
    print(json.dumps(verdicts(Path(sys.argv[1]))))
