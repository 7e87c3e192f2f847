"""A changed setting is in the audit log: who is called at night finds what an `up` has changed.

Hub and guard write their variables, and the guard what it reads off the stack's containers. So two
runs of the program show which lines there would be.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from docker.errors import NotFound
from zhub import audit
from zhub.guard.audit import Audit
from zhub.guard.declared import Declared

from components.settings.entries import SETTINGS
from tests.components.recorder import Recording, environment, labels, run, uploads
from tests.components.stacks import SITE
from tests.pki import Identity, quick_key


@dataclass(frozen=True)
class Line:
    """What a setting is changed to, and the line that shows it."""

    name: str
    """Of what has changed, in the line."""
    value: object
    """The new one; `PEM` or `PYTHON` for the name of such a file."""
    others: Mapping[str, object] = field(default_factory=dict)
    """What has to be set as well, before and after."""
    then: Mapping[str, object] = field(default_factory=dict)
    """What has to be set as well, afterwards; None for what must not be set."""


PEM, PYTHON = "of a certificate", "of Python"
GROUP = "cn=r,o=example"
FOLDER = {"name": "data", "groups": [GROUP], "path": "data"}
SHARED = {"sharedFolders": [FOLDER], "sharedRoot": "/srv/shared"}
SERVICE = {"name": "class-start", "scopes": ["read:servers"], "token": "a" * 40}
ROLE = {"name": "tutors", "scopes": ["read:servers"], "users": ["ada"]}
NOTEBOOK, HUB = "ZHUB_NOTEBOOK_IMAGE", "hub image"
SEARCH = {"ldapSearchBase": "o=example", "ldapDnTemplates": None}
ON_SWARM = {"registry": "registry.example.com", "homesPath": "/srv/homes/zhub"}
NO_SERVER = {key.removeprefix("zhub:"): None for key in SITE if key.startswith("zhub:ldap")} | {
    "adminUsers": None
}

#: All settings of which a change has a line, by their keys.
SHOWN: Mapping[str, Line] = {
    "port": Line("ZHUB_PORT", 8443),
    "basePath": Line("ZHUB_BASE_PATH", "/lab"),
    "bindAddress": Line("open at", "192.0.2.7"),
    "subdomainHost": Line("ZHUB_SUBDOMAIN_HOST", "hub.example.com"),
    "hstsSeconds": Line("ZHUB_HSTS_SECONDS", 300),
    "trustedProxies": Line("ZHUB_TRUSTED_PROXIES", ["192.0.2.8"]),
    "tlsCertFile": Line("certificate", PEM, then={"tlsKeyFile": PEM}),
    "ldapServer": Line("ZHUB_LDAP_SERVERS", "ldap3.example.com"),
    "ldapPort": Line("ZHUB_LDAP_PORT", 1636),
    "ldapTls": Line("ZHUB_LDAP_TLS", "starttls"),
    "ldapCaFile": Line("ZHUB_LDAP_CA_FILE", PEM),
    "ldapBindDn": Line("ZHUB_LDAP_BIND_DN", "racfid=OTHER,profiletype=user,o=example"),
    "ldapBindPassword": Line("ldapBindPassword", "another"),
    "ldapSearchBase": Line("ZHUB_LDAP_SEARCH_BASE", "o=other", then={"ldapDnTemplates": None}),
    "ldapNameAttributes": Line("ZHUB_LDAP_NAME_ATTRIBUTES", ["racfid"]),
    "ldapUserFilter": Line("ZHUB_LDAP_USER_FILTER", "(objectClass=person)", SEARCH),
    "ldapDnTemplates": Line("ZHUB_LDAP_DN_TEMPLATES", ["uid={username},o=example"]),
    "ldapAllowedGroups": Line("ZHUB_LDAP_ALLOWED_GROUPS", [GROUP]),
    "ldapAllowEveryone": Line("ZHUB_LDAP_ALLOW_EVERYONE", True, then={"ldapAllowedGroups": None}),
    "ldapAdminGroups": Line("ZHUB_LDAP_ADMIN_GROUPS", [GROUP]),
    "ldapGroupBase": Line("ZHUB_LDAP_GROUP_BASE", "o=example"),
    "ldapNestedGroups": Line("ZHUB_LDAP_NESTED_GROUPS", True),
    "ldapRecheck": Line("ZHUB_LDAP_RECHECK", 600),
    "demoDirectory": Line("ZHUB_LDAP_SERVERS", True, then=NO_SERVER),
    "tokenMaxAge": Line("ZHUB_TOKEN_MAX_AGE", 3600),
    "adminUsers": Line("ZHUB_ADMIN_USERS", ["ada"]),
    "adminAccess": Line("ZHUB_ADMIN_ACCESS", True),
    "siteName": Line("siteName", "Institute"),
    "contact": Line("contact", "4711"),
    "announcement": Line("announcement", "Closed on Sunday"),
    "terms": Line("terms", "Be kind.\nBe quiet."),
    "userMemory": Line("ZHUB_USER_MEMORY", "8G"),
    "userSharedMemory": Line("ZHUB_USER_SHARED_MEMORY", "2G"),
    "userCpus": Line("ZHUB_USER_CPUS", "0.5"),
    "userPids": Line("ZHUB_USER_PIDS", 1024),
    "userInternetAccess": Line("ZHUB_USER_INTERNET", False),
    "userAllowedNetworks": Line("ZHUB_USER_ALLOWED_NETWORKS", ["10.20.30.40"]),
    "userBlockedNetworks": Line("ZHUB_USER_BLOCKED_NETWORKS", ["192.0.2.0/24"]),
    "userNetworkPool": Line("ZHUB_USER_NETWORK_POOL", "10.214.0.0/16"),
    "maxServers": Line("ZHUB_MAX_SERVERS", 100),
    "usersMemory": Line("ZHUB_USERS_MEMORY", "64G"),
    "idleTimeout": Line("ZHUB_IDLE_TIMEOUT", 7200),
    "kernelIdleTimeout": Line("ZHUB_KERNEL_IDLE_TIMEOUT", 7200),
    "activityInterval": Line("ZHUB_ACTIVITY_INTERVAL", 90),
    "serverMaxAge": Line("ZHUB_SERVER_MAX_AGE", 86400),
    "startTimeout": Line("ZHUB_START_TIMEOUT", 600),
    "homesPath": Line("ZHUB_HOMES_PATH", "/srv/homes/zhub"),
    "homesDriver": Line("ZHUB_HOMES_DRIVER", "vendor/plugin:1"),
    "homesOptions": Line("ZHUB_HOMES_OPTIONS", ["a=b"], {"homesDriver": "vendor/plugin:1"}),
    "homeLimit": Line("ZHUB_HOME_LIMIT", "20G"),
    "userEnvironment": Line("ZHUB_USER_ENVIRONMENT", ["TZ=Asia/Tokyo"]),
    "userPipIndexUrl": Line("ZHUB_USER_ENVIRONMENT", "https://pip.example.com/simple"),
    "userNpmRegistry": Line("ZHUB_USER_ENVIRONMENT", "https://npm.example.com/"),
    "userCranMirror": Line("ZHUB_USER_ENVIRONMENT", "https://cran.example.com/"),
    "userGitMirrors": Line(
        "ZHUB_USER_ENVIRONMENT", ["https://github.com/=https://git.example.com/"]
    ),
    "sharedFolders": Line("ZHUB_SHARED_FOLDERS", [FOLDER], then={"sharedRoot": "/srv/shared"}),
    "sharedRoot": Line("ZHUB_SHARED_ROOT", "/srv/other", SHARED),
    "profiles": Line("ZHUB_PROFILES", [{"name": "small"}]),
    "hubMemory": Line("hubMemory", "2G"),
    "separateProxy": Line("ZHUB_SEPARATE_PROXY", True),
    "hubConfigFile": Line("ZHUB_CONFIG_FILE_SHA256", PYTHON),
    "hubServices": Line("hubServices tokens", [SERVICE]),
    "hubRoles": Line("ZHUB_ROLES", [ROLE]),
    "logDriver": Line("ZHUB_LOG_DRIVER", "journald"),
    "logOptions": Line("ZHUB_LOG_OPTIONS", ["max-size=20m"]),
    "logLevel": Line("ZHUB_LOG_LEVEL", "error"),
    "logFormat": Line("ZHUB_LOG_FORMAT", "json"),
    "engineSocket": Line("engineSocket", "/run/user/1000/docker.sock"),
    "swarm": Line("ZHUB_SWARM", True, ON_SWARM),
    "swarmNodes": Line("ZHUB_SWARM_NODES", "zhub=servers", {"swarm": True, **ON_SWARM}),
    "swarmEncryption": Line("ZHUB_SWARM_ENCRYPTION", True, {"swarm": True, **ON_SWARM}),
    "platform": Line(NOTEBOOK, "linux/amd64"),
    "baseImage": Line(NOTEBOOK, "debian:trixie"),
    "buildImage": Line(NOTEBOOK, "debian:trixie"),
    "notebookPackages": Line(NOTEBOOK, ["git"]),
    "notebookRequirements": Line(NOTEBOOK, []),
    "imageSource": Line(HUB, "https://git.example.com/hub"),
    "registry": Line(HUB, "registry.example.com"),
    "extraCaFile": Line(NOTEBOOK, PEM),
    "pipIndexUrl": Line(HUB, "https://pip.example.com/simple"),
    "npmRegistry": Line(HUB, "https://npm.example.com/"),
}

#: All others, and why there is none.
HIDDEN: Mapping[str, str] = {
    "hostname": "a certificate that Pulumi makes has it; beside one of your own, nothing does",
    "extraNames": "the same",
    "tlsKeyFile": "another key has another certificate",
    "tlsKey": "another key has another certificate",
    "protect": "only Pulumi goes by it",
    "retain": "only Pulumi goes by it",
    "prefix": "another one is another stack, with an audit log of its own",
    "docker:host": "on another engine, the audit log begins anew",
    "docker:certPath": "how Pulumi reaches the engine",
    "sameEngineAs": "how Pulumi reaches the engine",
    "registryUsername": "how Pulumi reaches the registry",
    "registryPassword": "how Pulumi reaches the registry",
}


def test_each_setting_has_a_line_or_a_reason() -> None:
    keys = {setting.key for setting in SETTINGS}
    assert not SHOWN.keys() & HIDDEN.keys()
    assert keys == SHOWN.keys() | HIDDEN.keys(), (
        "what does an `up` that changes it write into the audit log? docs/logs.md, `setting`"
    )


class Engine:
    """Has the containers that a run of the program declares, as an engine shows them."""

    def __init__(self, recording: Recording) -> None:
        self.found = {one.inputs["name"]: one for one in recording.all("Container")}

    def inspect_container(self, name: str) -> dict[str, Any]:
        if name not in self.found:
            raise NotFound(name)
        inputs = self.found[name].inputs
        return {
            "Config": {
                "Image": inputs["image"],
                "Labels": labels(self.found[name]),
                "Cmd": inputs.get("command"),
            },
            "HostConfig": {
                "Memory": int(inputs["memory"]) << 20,
                "PortBindings": {
                    str(at["internal"]): [{"HostIp": at["ip"], "HostPort": at["external"]}]
                    for at in inputs.get("ports", ())
                },
            },
            "Mounts": [
                {"Source": one.get("hostPath", ""), "Destination": one["containerPath"]}
                for one in inputs.get("volumes", ())
            ],
        }


def config_of(settings: Mapping[str, object], folder: Path) -> dict[str, str]:
    """A stack's config with these settings, and the files that they name."""
    config = dict(SITE)
    for key, given in settings.items():
        value: object = given
        if given == PEM:
            value = str(folder / ("of.key" if key == "tlsKeyFile" else "of.crt"))
        elif given == PYTHON:
            value = str(folder / "of.py")
        if value is None:
            config.pop(f"zhub:{key}", None)
        else:
            config[f"zhub:{key}"] = value if isinstance(value, str) else json.dumps(value)
    return config


def look(config: Mapping[str, str], folder: Path) -> set[str]:
    """Have hub and guard see a stack; returns what has changed since the last call."""
    recording = run(config)
    engine: Any = Engine(recording)
    prefix = "zhub-test"
    separate = config.get("zhub:separateProxy") == "true"
    files = uploads(engine.found[f"{prefix}-files"])
    for path, file in files.items():
        (folder / Path(path).name).write_text(file["content"])
    names = set()
    for role in ("hub", "guard"):
        variables = environment(engine.found[f"{prefix}-{role}"])
        for name in audit.FILES:
            if variables.get(name):
                variables[name] = str(folder / Path(variables[name]).name)
        names |= {name for name, *_ in audit.changes(variables, folder / f"{role}.json")}
    written = folder / "audit.log"
    written.unlink(missing_ok=True)
    Declared(engine, prefix, Audit(folder), folder, separate_proxy=separate).look()
    lines = written.read_text().splitlines() if written.exists() else []
    return names | {json.loads(line)["name"] for line in lines}


@pytest.mark.slow  # Each runs the whole program twice.
@pytest.mark.parametrize("key", SHOWN)
def test_a_changed_setting_is_seen(key: str, tmp_path: Path) -> None:
    Identity.create("hub.example.com", key=quick_key(), authority=True).write(tmp_path, "of")
    (tmp_path / "of.py").write_text("c.JupyterHub.x = True\n")
    line = SHOWN[key]
    after = {**line.others, **line.then, key: line.value}
    assert look(config_of(line.others, tmp_path), tmp_path) == set(), "nothing was there before"
    assert line.name in look(config_of(after, tmp_path), tmp_path)
