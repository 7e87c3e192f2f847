"""Dangerous changes of other resources, and the policy pack's report of each."""

from __future__ import annotations

import hashlib

import allowed

from tests.policy.worse_containers import Case

TMPFS = {"type": "tmpfs", "device": "tmpfs", "o": "uid=1001,gid=1000,mode=0751,size=64k"}
OVERLAY = {"type": "overlay", "device": "overlay", "o": "lowerdir=/,upperdir=/x,workdir=/y"}
VOLUMES: list[Case] = [
    *(
        (name, {"driverOpts": options}, "")
        for name in ("certs", "state", "guardsocket", "guardaudit")
        for options in (
            OVERLAY,
            TMPFS,
            {"type": "none", "o": "bind", "device": "/"},
            {"type": "none", "o": "bind", "device": "etc"},
            {"type": "nfs", "o": "addr=192.0.2.7", "device": ":/export"},
            {"type": "ext4", "device": "/dev/sda1"},
        )
    ),
    *(
        (name, {"driver": "vieux/sshfs"}, 'driver is "vieux/sshfs"; allowed: not set, "local"')
        for name in ("certs", "state", "guardsocket", "guardaudit")
    ),
    (
        "state",
        {"name": "zhub-other-state"},
        'name is "zhub-other-state"; allowed: "zhub-test-state"',
    ),
    ("state", {"labels": None}, "labels lacks label zhub.stack\nlabels lacks label zhub.role"),
    ("state", {"cluster": "x"}, ""),
]

NETWORKS: list[Case] = [
    *(
        ("hub", {"driver": driver}, f'driver is "{driver}"; allowed: not set, "bridge"')
        for driver in ("host", "macvlan", "ipvlan", "overlay", "none")
    ),
    ("hub", {"name": "bridge"}, 'name is "bridge"; allowed: "zhub-test-hub"'),
    ("hub", {"options": {"com.docker.network.bridge.name": "br0"}}, ""),
    ("hub", {"options": {"parent": "eth0"}}, ""),
    ("hub", {"ipamConfigs": [{"subnet": "192.0.2.0/24"}]}, ""),
    ("hub", {"ipamOptions": {"x": "y"}}, ""),
    ("hub", {"ipamDriver": "site"}, 'ipamDriver is "site"; allowed: not set, "default"'),
    ("hub", {"ipv6": True}, "ipv6 is true; allowed: not set, false"),
    ("hub", {"attachable": True}, ""),
    ("hub", {"ingress": True}, ""),
    ("directory", {"internal": False}, "internal is false; allowed: true"),
    ("directory", {"internal": None}, "internal is not set; allowed: true"),
]

#: Changes of properties in `build`.
BUILDS: list[Case] = [
    (
        "hub",
        {"platform": None},
        (
            "platform is not set; allowed: a platform such as linux/s390x"
            '\nplatform is not set; allowed: the one in "jupyter_hub_s390x:zhub-test"'
        ),
    ),
    (
        "hub",
        {"platform": "linux/amd64"},
        'platform is "linux/amd64"; allowed: the one in "jupyter_hub_s390x:zhub-test"',
    ),
    *(
        ("notebook", {"context": place}, f'context is "{place}"; allowed: "images"')
        for place in ("/", "..", "https://example.com/x.git")
    ),
    (
        "hub",
        {"dockerfile": "images/notebook/Dockerfile"},
        'dockerfile is "images/notebook/Dockerfile"; allowed: "images/hub/Dockerfile"',
    ),
    *(
        ("directory", change, "")
        for change in (
            {"network": "host"},
            {"network": "container:zhub-dev-guard"},
            {"addHosts": ["registry:192.0.2.7"]},
            {"target": "other"},
            {"cacheFrom": {"images": ["example.com/x"]}},
            {"ssh": ["default"]},
            {"secrets": ["id=x"]},
        )
    ),
    (
        "hub",
        {"builderVersion": "BuilderV1"},
        'builderVersion is "BuilderV1"; allowed: "BuilderBuildKit"',
    ),
    ("directory", {"args": {"LDAP_PASSWORD": "x"}}, 'args.LDAP_PASSWORD is "x"; allowed: not set'),
    (
        "directory",
        {"args": {"BASE_IMAGE": "-----BEGIN PRIVATE KEY-----"}},
        "args.BASE_IMAGE holds a secret, which would stay in the image's history",
    ),
    (
        "hub",
        {"args": {"PIP_INDEX_URL": "https://me:secret@pypi.example.com"}},
        "args.PIP_INDEX_URL holds a secret, which would stay in the image's history",
    ),
]

IMAGES: list[Case] = [
    ("hub", {"buildOnPreview": True}, "buildOnPreview is true; allowed: not set, false"),
    ("hub", {"registry": {"server": "x", "token": "y"}}, 'registry.token is "y"; allowed: not set'),
]

SCRIPT = hashlib.sha256(b"docker run --privileged -v /:/host x").hexdigest()
READ = "Read what it does before you put its digest into policy/allowed.py"
VARIABLES = {"ZHUB_PREFIX": "zhub-test", "DOCKER_HOST": "ssh://ops@z.example.com"}
COMMANDS: list[Case] = [
    *(
        (
            "remove-notebooks",
            {when: "docker run --privileged -v /:/host x"},
            f"{when} is a script with the digest {SCRIPT}; allowed: {digest}. {READ}",
        )
        for when, digest in allowed.SCRIPTS.items()
    ),
    (
        "remove-notebooks",
        {"delete": None},
        f"delete is not set; allowed: a script with the digest {allowed.SCRIPTS['delete']}",
    ),
    *(
        ("remove-notebooks", change, "")
        for change in (
            {"update": "true"},
            {"triggers": ["x"]},
            {"interpreter": ["/bin/bash", "-c"]},
            {"dir": "/x"},
            {"stdin": "x"},
            {"assetPaths": ["**"]},
            {"archivePaths": ["**"]},
            {"logging": "none"},
        )
    ),
    *(
        (
            "remove-notebooks",
            {"environment": {**VARIABLES, name: "/x"}},
            f'environment.{name} is "/x"; allowed: not set',
        )
        for name in ("PATH", "LD_PRELOAD", "LD_LIBRARY_PATH", "BASH_ENV", "DOCKER_CONFIG", "ENV")
    ),
    (
        "remove-notebooks",
        {"environment": {**VARIABLES, "ZHUB_PREFIX": "zhub-other"}},
        'environment.ZHUB_PREFIX is "zhub-other"; allowed: "zhub-test"',
    ),
    (
        "remove-notebooks",
        {"environment": {**VARIABLES, "DOCKER_HOST": "ssh://-oProxyCommand=sh"}},
        'environment.DOCKER_HOST is "ssh://-oProxyCommand=sh"; allowed: the address of an engine',
    ),
    (
        "remove-notebooks",
        {"addPreviousOutputInEnv": True},
        "addPreviousOutputInEnv is true; allowed: false",
    ),
]

KEYS: list[Case] = [
    ("certificate", {"rsaBits": 1024}, "rsaBits is 1024; allowed: 2048, 3072, 4096"),
    ("certificate", {"algorithm": "ED25519"}, 'algorithm is "ED25519"; allowed: "RSA"'),
    ("certificate", {"x": "y"}, ""),
]
CERTIFICATES: list[Case] = [
    ("certificate", {"isCaCertificate": True}, ""),
    ("certificate", {"uris": ["spiffe://x"]}, ""),
    (
        "directory",
        {"allowedUses": ["cert_signing"]},
        (
            'allowedUses[0] is "cert_signing"; allowed: "digital_signature", "key_encipherment",'
            ' "server_auth"'
        ),
    ),
]
PROVIDERS: list[Case] = [
    ("engine", {"sshOpts": ["-oProxyCommand=sh"]}, ""),
    ("engine", {"keyMaterial": "x"}, ""),
    ("engine", {"context": "other"}, ""),
    ("engine", {"registryAuth": [{"address": "x"}]}, ""),
    ("engine", {"pluginDownloadURL": "https://example.com"}, ""),
    ("engine", {"__internal": {"pluginDownloadURL": "https://example.com"}}, ""),
    ("engine", {"host": "-oX"}, 'host is "-oX"; allowed: the address of an engine'),
]
