"""The preview refuses the certificates that the hub would refuse later, and no others.

Each case is a file of real certificates. What the hub makes of it is seen in a TLS handshake with
its own context, by the Python that runs previews and by the one in the image.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import docker
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from components.settings import stack
from tests.built import Images
from tests.components.stack_config import SITE
from tests.images.hub import verdicts
from tests.pki import DAY, Identity
from toolchain.places import ROOT

# Makes many RSA keys, and lets a process of its own do the handshakes.
pytestmark = pytest.mark.slow

YEAR = 365 * DAY
PAST: dict[str, Any] = {"begin": -2 * DAY, "end": -DAY}
SHA1 = hashes.SHA1()  # noqa: S303 - what is refused
MD5 = hashes.MD5()  # noqa: S303 - the same
SHORT_EC = ec.SECP192R1()


@dataclass(frozen=True)
class Case:
    """What is in ldapCaFile or tlsCertFile, and what comes of it."""

    made: Callable[[], tuple[Sequence[Identity], Sequence[Identity]]]
    """The certificates trusted, none for the hub's own pair; and what is shown, own one first."""
    hub: str = ""
    """Part of what the hub says; nothing when it is content."""
    preview: str = ""
    """Part of what the preview refuses it with."""
    warning: str = ""
    """Part of what the preview warns of."""


@cache
def key_of(name: str) -> rsa.RSAPrivateKey:
    """The RSA key of that name, the same each time."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def identity(name: str, options: dict[str, Any]) -> Identity:
    if not options.keys() & {"bits", "key"}:
        options["key"] = key_of(name)
    return Identity.create(name, **options)


def authority(name: str = "Authority", **more: Any) -> Identity:
    return identity(name, {"authority": True, "end": YEAR} | more)


def server(issuer: Identity | None = None, **more: Any) -> Identity:
    return identity(verdicts.NAME, {"issuer": issuer, "end": YEAR} | more)


def below(root: Identity, **more: Any) -> tuple[Sequence[Identity], Sequence[Identity]]:
    """The authority is trusted; the server shows a certificate of it."""
    return [root], [server(root, **more)]


def intermediate_trusted(*, shows: bool) -> tuple[Sequence[Identity], Sequence[Identity]]:
    between = authority("Between", issuer=authority())
    return [between], [server(between), *([between] if shows else [])]


def chain(*, order: int = 1, **more: Any) -> Sequence[Identity]:
    root = authority()
    between = authority("Between", issuer=root, **more)
    return [server(between), *(between, root)[::order]]


def shown(
    certificates: Sequence[Identity],
) -> tuple[Sequence[Identity], Sequence[Identity]]:
    """The server shows a chain, whose root is trusted."""
    return [
        one for one in certificates if one.certificate.subject == one.certificate.issuer
    ], certificates


def sha1_below(*, trusted: int) -> tuple[Sequence[Identity], Sequence[Identity]]:
    """A root signed with SHA-1 an authority below it, or a server."""
    root = authority()
    if not trusted:
        return [root], [server(root).signed_with(SHA1, root)]
    between = authority("Between", issuer=root).signed_with(SHA1, root)
    return [root, between], [server(between)]


def leaf_trusted(*, self_signed: bool) -> tuple[Sequence[Identity], Sequence[Identity]]:
    own = server(None if self_signed else authority())
    return [own], [own]


def servers_chain_trusted() -> tuple[Sequence[Identity], Sequence[Identity]]:
    shown = chain()[:2]
    return shown, shown


def renewed() -> tuple[Sequence[Identity], Sequence[Identity]]:
    """The old certificate of an authority beside the new one, which has the same key."""
    old = authority(**PAST)
    new = authority(key=old.key)
    return [old, new, new], [server(new)]


OF_DIRECTORIES = {
    "good": Case(lambda: below(authority())),
    "chain": Case(lambda: shown(chain())),
    "chain in another order": Case(lambda: shown(chain(order=-1))),
    "no keyUsage": Case(lambda: below(authority(without=[x509.KeyUsage]))),
    "uncritical basicConstraints": Case(
        lambda: below(authority(uncritical=[x509.BasicConstraints]))
    ),
    "no basicConstraints": Case(lambda: below(authority(without=[x509.BasicConstraints]))),
    "neither": Case(
        lambda: below(authority(without=[x509.BasicConstraints, x509.KeyUsage])),
        hub="invalid CA certificate",
        warning="holds no CA certificate, only that of CN=Authority",
    ),
    "version 1": Case(lambda: below(Identity.version_1("Authority"))),
    "no subjectKeyIdentifier": Case(
        lambda: below(authority(without=[x509.SubjectKeyIdentifier, x509.AuthorityKeyIdentifier]))
    ),
    "no authorityKeyIdentifier": Case(
        lambda: below(authority(), without=[x509.AuthorityKeyIdentifier])
    ),
    "signed itself with SHA-1": Case(lambda: below(authority().signed_with(SHA1, None))),
    "an intermediate signed with SHA-1": Case(lambda: sha1_below(trusted=1)),
    "a server signed with SHA-1": Case(
        lambda: sha1_below(trusted=0), hub="CA signature digest algorithm too weak"
    ),
    "EC": Case(lambda: below(authority(key=ec.generate_private_key(ec.SECP256R1())))),
    "short RSA": Case(
        lambda: below(authority(bits=1024)),
        hub="CA certificate key too weak",
        preview="CN=Authority has a weak key: RSA keys need 2048 bits or more, this has 1024",
    ),
    "short EC": Case(
        lambda: below(authority(key=ec.generate_private_key(SHORT_EC))),
        hub="CA certificate key too weak",
        preview="CN=Authority has a weak key: EC keys need 224 bits or more, this has 192",
    ),
    "expired": Case(
        lambda: below(authority(**PAST)),
        hub="certificate has expired",
        preview="CN=Authority expired at",
    ),
    "not valid yet": Case(
        lambda: below(authority(begin=DAY)),
        hub="certificate is not yet valid",
        preview="CN=Authority is not valid before",
    ),
    "expires soon": Case(lambda: below(authority(end=9 * DAY)), warning="expires in 8 days"),
    "for people only": Case(
        lambda: below(authority(purposes=[ExtendedKeyUsageOID.CLIENT_AUTH])),
        hub="unsuitable certificate purpose",
        preview="its extendedKeyUsage lacks serverAuth",
    ),
    "for any purpose": Case(
        lambda: below(authority(purposes=[ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])),
        hub="unsuitable certificate purpose",
        preview="its extendedKeyUsage lacks serverAuth",
    ),
    "renewed and given twice": Case(renewed),
    "intermediate only": Case(lambda: intermediate_trusted(shows=False)),
    "intermediate only, shown as well": Case(lambda: intermediate_trusted(shows=True)),
    "the server's own, self-signed": Case(
        lambda: leaf_trusted(self_signed=True), warning="only that of CN=ldap.example.com"
    ),
    "the server's own": Case(
        lambda: leaf_trusted(self_signed=False), warning="only that of CN=ldap.example.com"
    ),
    "the server's chain": Case(servers_chain_trusted),
}


def own(identity: Identity, *issuers: Identity) -> tuple[Sequence[Identity], Sequence[Identity]]:
    """The hub's own pair."""
    return [], [identity, *issuers]


def issued_with(digest: hashes.MD5 | hashes.SHA1) -> Identity:
    issuer = authority()
    return server(issuer).signed_with(digest, issuer)


def weak_between(*, bits: int = 2048, sha1: bool = False) -> Sequence[Identity]:
    root = authority()
    between = authority("Between", issuer=root, bits=bits)
    return [server(between), between.signed_with(SHA1, root) if sha1 else between]


ONLY = "holds only the hub's own certificate: browsers that do not know its issuer, CN=Authority,"

OF_HUBS = {
    "self-signed": Case(lambda: own(server())),
    "its own alone": Case(lambda: own(server(authority())), warning=ONLY),
    "with its chain": Case(lambda: own(*chain()[:2])),
    "with its chain and the root": Case(lambda: own(*chain())),
    # A server can send it so, and some clients sort it.
    "chain in another order": Case(
        lambda: own(*chain(order=-1)), preview="certificate 1 in the file is not issued by"
    ),
    "EC": Case(lambda: own(server(key=ec.generate_private_key(ec.SECP256R1())))),
    "version 1": Case(
        lambda: own(Identity.version_1(verdicts.NAME)), warning="not valid for ldap.example.com"
    ),
    "signed itself with SHA-1": Case(lambda: own(server().signed_with(SHA1, None))),
    "short RSA": Case(
        lambda: own(server(bits=1024)),
        hub="EE_KEY_TOO_SMALL",
        preview="the certificate has a weak key: RSA keys need 2048 bits or more, this has 1024",
    ),
    "short EC": Case(
        lambda: own(server(key=ec.generate_private_key(SHORT_EC))),
        hub="EE_KEY_TOO_SMALL",
        preview="the certificate has a weak key: EC keys need 224 bits or more, this has 192",
    ),
    "signed with SHA-1": Case(
        lambda: own(issued_with(SHA1)),
        hub="CA_MD_TOO_WEAK",
        preview="the certificate has a weak signature, made with SHA1: have it issued anew",
    ),
    "signed with MD5": Case(
        lambda: own(issued_with(MD5)),
        hub="CA_MD_TOO_WEAK",
        preview="the certificate has a weak signature, made with MD5: have it issued anew",
    ),
    "short intermediate": Case(
        lambda: own(*weak_between(bits=1024)),
        hub="CA_KEY_TOO_SMALL",
        preview="certificate 2 in the file has a weak key",
    ),
    "intermediate signed with SHA-1": Case(
        lambda: own(*weak_between(sha1=True)),
        hub="CA_MD_TOO_WEAK",
        preview="certificate 2 in the file has a weak signature",
    ),
    "expired": Case(lambda: own(server(**PAST)), preview="expired at"),
    "not valid yet": Case(lambda: own(server(begin=DAY)), preview="is not valid before"),
}

CASES = {
    f"{whose}: {name}": case
    for whose, cases in (("directory", OF_DIRECTORIES), ("hub", OF_HUBS))
    for name, case in cases.items()
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one for each case."""
    folder = tmp_path_factory.mktemp("certificates")
    for name, case in CASES.items():
        trusted, shown = case.made()
        own = "server" if trusted else "hub"
        shown[0].write(folder / name, own)
        (folder / name / f"{own}.crt").write_text(joined(shown))
        if trusted:
            (folder / name / "ca.crt").write_text(joined(trusted))
    return folder


def joined(identities: Iterable[Identity]) -> str:
    return "".join(identity.pem for identity in identities)


@pytest.fixture(scope="module")
def said(folder: Path) -> dict[str, str]:
    """What the hub says, run by the Python that runs previews."""
    return verdicts.verdicts(folder)


@pytest.mark.parametrize("name", CASES)
def test_the_hub_says(name: str, said: dict[str, str]) -> None:
    hub = CASES[name].hub
    assert hub in said[name]
    assert bool(hub) == bool(said[name]), said[name]


@pytest.mark.parametrize("name", CASES)
def test_the_preview_says(name: str, folder: Path) -> None:
    case = CASES[name]
    config = SITE | {"zhub:hostname": verdicts.NAME}
    if (folder / name / "ca.crt").exists():
        key = "ldapCaFile"
        config["zhub:ldapCaFile"] = str(folder / name / "ca.crt")
    else:
        key = "tlsCertFile"
        config["zhub:tlsCertFile"] = str(folder / name / "hub.crt")
        config["zhub:tlsKeyFile"] = str(folder / name / "hub.key")
    # Not when the tests began: the certificates are younger.
    now = datetime.now(UTC)
    declared = stack.declared(config, ())
    settings = stack.read(declared, "test", now)
    if case.preview:
        (problem,) = map(str, declared.problems)
        assert problem.startswith(f"{key} is ")
        assert case.preview in problem
        return
    assert declared.problems == []
    warnings = [one for one in settings.warnings(now) if key in one]
    assert len(warnings) == bool(case.warning)
    assert case.warning in "".join(warnings)


#: Certificates that the hub takes, and what Python from 3.13 on misses in them.
LACKING = {
    "good": "",
    "chain": "",
    "EC": "",
    "the server's own, self-signed": "",
    "no keyUsage": "keyUsage",
    "uncritical basicConstraints": "critical basicConstraints",
    "no basicConstraints": "critical basicConstraints",
    "no subjectKeyIdentifier": "subjectKeyIdentifier",
    "version 1": "critical basicConstraints and keyUsage and subjectKeyIdentifier",
}


@pytest.mark.parametrize("name", LACKING)
def test_the_preview_warns_of_a_ca_that_python_in_users_servers_refuses(
    name: str, folder: Path
) -> None:
    case = folder / f"directory: {name}"
    strict = ssl.create_default_context(cafile=case / "ca.crt")
    # As the same call has it from Python 3.13 on.
    strict.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    refused = verdicts.of_client(case, strict)
    now = datetime.now(UTC)
    declared = stack.declared(SITE | {"zhub:extraCaFile": str(case / "ca.crt")}, ())
    warnings = [one for one in stack.read(declared, "test", now).warnings(now) if "extraCa" in one]
    assert len(warnings) == bool(refused) == bool(LACKING[name]), refused
    assert f" lacks {LACKING[name]}" in "".join(warnings) or not refused


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_refused_that_the_hub_takes_and_nothing_hidden_that_it_refuses(
    name: str, said: dict[str, str]
) -> None:
    """Where the two differ, it is for a reason that no preview can see, or that is named here."""
    differ = {
        "directory: a server signed with SHA-1": "what a server shows is not in the settings",
        "hub: chain in another order": "not every client sorts it",
        "hub: expired": "a hub that restarts must come up; who runs `up` can bring another",
        "hub: not valid yet": "a hub that restarts must come up; who runs `up` can bring another",
    }
    case = CASES[name]
    if name not in differ:
        assert bool(said[name]) == bool(case.preview) or (said[name] and case.warning)


@pytest.mark.engine
def test_the_python_in_the_image_says_the_same(
    engine: docker.DockerClient, images: Images, folder: Path, said: dict[str, str]
) -> None:
    script = ROOT / "tests" / "images" / "hub" / "verdicts.py"
    printed: bytes = engine.containers.run(
        images.hub,
        ["/verdicts.py", "/cases"],
        entrypoint="/opt/jupyter/bin/python3",
        platform="linux/s390x",
        volumes=[f"{folder}:/cases:ro", f"{script}:/verdicts.py:ro"],
        remove=True,
    )
    assert json.loads(printed) == said
