"""Which config is refused, and how: every mistake at once, each with the command that fixes it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import hypothesis
import pulumi
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from components.settings import address
from components.settings.config import Config
from components.settings.entries import SETTINGS
from tests.components.recorder import identity, run
from tests.components.stack_config import DEMO, NOW, SITE, fixed, read, refused, schema
from tests.pki import DAY, Identity, passphrase, quick_key
from toolchain.places import ROOT


@pytest.mark.parametrize("config", [SITE, DEMO], ids=["site", "demo"])
def test_these_stacks_are_fine(config: dict[str, str]) -> None:
    assert read(config)[1].problems == []


@pytest.mark.parametrize(
    "file", ["Pulumi.dev.yaml", "Pulumi.production.example.yaml"], ids=["dev", "example"]
)
def test_the_stack_files_are_fine(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = yaml.safe_load((ROOT / file).read_text())["config"]
    config = {key: v if isinstance(v, str) else json.dumps(v) for key, v in given.items()}
    for name in ("hub.example.com", "site-ca"):
        names = ("hub.example.com", "*.hub.example.com")
        year = timedelta(days=365)
        Identity.create(*names, key=quick_key(), end=year).write(tmp_path, name)
    (tmp_path / "site-ca.crt").rename(tmp_path / "site-ca.pem")
    # As its comments say.
    typed = {
        "zhub:tlsCertFile": ("zhub:tlsKey", (tmp_path / "hub.example.com.key").read_text()),
        "zhub:ldapBindDn": ("zhub:ldapBindPassword", "as typed"),
    }
    added = dict(secret for key, secret in typed.items() if key in config)
    monkeypatch.chdir(tmp_path)
    problems = read(config | added, secret=tuple(added))[1].problems
    assert [str(problem) for problem in problems] == []


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("port", "0", "not a whole number from 1 to 65535"),
        ("port", "65536", "not a whole number from 1 to 65535"),
        ("port", "", "not a whole number"),
        ("port", "1e4", "not a whole number"),
        ("port", "١١١١٩", "not a whole number"),
        *(
            ("port", str(port), "JupyterHub uses it itself")
            for port in (address.API_PORT, address.METRICS_PORT, address.HUB_PORT)
        ),
        ("hostname", "", "not a host name or address"),
        ("hostname", "hub_1.example.com", "not a host name or address"),
        ("hostname", "-hub", "not a host name or address"),
        ("hostname", "hub..example.com", "not a host name or address"),
        ("hostname", "10.0.0.256", "not a host name or address"),
        ("hostname", "https://hub.example.com", "not a host name or address"),
        ("hostname", f"{'a.' * 127}com", "not a host name or address"),
        ("bindAddress", "localhost", "not an IPv4 or IPv6 address"),
        ("basePath", "jupyter", "not a path such as /jupyter"),
        ("basePath", "/jupyter/", "not a path such as /jupyter"),
        ("basePath", "//x", "not a path such as /jupyter"),
        ("basePath", "/a b", "not a path such as /jupyter"),
        ("basePath", "/a/user", "has the part user"),
        ("platform", "linux/amd46", "not one of linux/s390x, linux/amd64, linux/arm64"),
        ("platform", "s390x", "not one of"),
        ("ldapServer", "ldap://ldap.example.com", "not a host name or address"),
        ("ldapServer", "ldap1.example.com,", "not a host name or address"),
        ("ldapServer", "ldap1.example.com:0", "not a whole number from 1 to 65535"),
        ("ldapServer", "ldap.example.com,LDAP.example.com", "given twice"),
        ("ldapPort", "70000", "not a whole number from 1 to 65535, or 0"),
        ("ldapTls", "tls", "not one of starttls, ldaps, none"),
        ("ldapAllowEveryone", "yes", "neither true nor false"),
        ("ldapCaFile", "no-such-file.pem", "no such file"),
        ("userMemory", "2", "not an amount of memory"),
        ("userMemory", "2GB", "not an amount of memory"),
        ("userMemory", "64M", "128M is the least"),
        ("hubMemory", "1g", "not an amount of memory"),
        ("userSharedMemory", "32M", "64M is the least"),
        ("userCpus", "0", "not a number of processors"),
        ("userCpus", "two", "not a number of processors"),
        ("userPids", "-1", "not a whole number"),
        ("usersMemory", "100", "not an amount of memory"),
        ("usersMemory", "64M", "128M is the least"),
        ("maxServers", "0", "not a whole number from 1 to 4096"),
        ("userNetworkPool", "10.213.0.0/28", "/24 or larger"),
        ("userNetworkPool", "10.213.0.1/16", "not an IPv4 network"),
        ("userNetworkPool", "8.8.0.0/16", "not a private network"),
        ("idleTimeout", "359", "not a whole number from 360 to 31536000, or 0"),
        ("kernelIdleTimeout", "299", "not a whole number from 300"),
        ("activityInterval", "121", "not a whole number from 30 to 120"),
        ("serverMaxAge", "60", "not a whole number from 3600"),
        ("startTimeout", "0", "not a whole number from 10"),
        ("tokenMaxAge", "0", "not a whole number from 300"),
        ("tokenMaxAge", "never", "not a whole number from 300"),
        ("subdomainHost", "localhost", "not a name of two parts or more"),
        ("subdomainHost", "192.0.2.7", "not a name of two parts or more"),
        ("subdomainHost", "*.example.com", "not a host name or address"),
        ("hstsSeconds", "1y", "not a whole number from 0"),
        ("userInternetAccess", "1", "neither true nor false"),
        ("protect", "True", "neither true nor false"),
        ("imageSource", "git.example.com/hub", "not an http:// or https:// address"),
        ("baseImage", "Debian Trixie", "not the name of an image"),
        ("buildImage", "debian:", "not the name of an image"),
        ("registry", "https://registry.example.com", "without https://"),
        ("extraCaFile", "no-such-file.pem", "no such file"),
        ("extraCaFile", str(ROOT / "Pulumi.yaml"), "does not hold certificates in PEM form"),
        ("extraCaFile", str(ROOT), "no such file"),
        ("extraCaFile", "x" * 300, "cannot be read"),
        ("extraCaFile", "\0", "no such file"),
        ("pipIndexUrl", "packages.example.com", "not an http:// or https:// address"),
        ("npmRegistry", "https://", "not an http:// or https:// address"),
        ("userPipIndexUrl", "packages.example.com", "not an http:// or https:// address"),
        ("userNpmRegistry", "none", "not an http:// or https:// address"),
        ("userCranMirror", "public", "not an http:// or https:// address"),
        ("engineSocket", "docker.sock", "not an absolute path"),
        ("docker:host", "z.example.com", "neither ssh://"),
        ("docker:host", "ssh://", "neither ssh://"),
        ("docker:host", "ssh://z:port", "not an address"),
        ("docker:host", "tcp://z", "neither ssh://"),
    ],
)
def test_a_wrong_value_is_refused_with_key_value_reason_and_command(
    key: str, value: str, reason: str
) -> None:
    full = key if ":" in key else f"zhub:{key}"
    said = refused(SITE | {full: value})
    first, command = said.split("\n    ")
    if len(value) < 100:
        assert first.startswith(f"{key} is {json.dumps(value)}: ")
    assert reason in first
    assert command.startswith(f"pulumi config set {key} ")


def test_without_a_service_account_no_token_may_outlive_a_day() -> None:
    said = refused(SITE | {"zhub:tokenMaxAge": "86401"})
    assert said.startswith("tokenMaxAge: is more than a day (86400), but without ldapBindDn")
    assert "pulumi config set tokenMaxAge 86400" in said
    for config in (
        SITE | {"zhub:tokenMaxAge": "86400"},
        DEMO | {"zhub:tokenMaxAge": "86401"},
        SITE,
    ):
        assert not read(config)[1].problems


@pytest.mark.parametrize(
    ("key", "items", "number", "reason"),
    [
        ("extraNames", ["hub", "a b"], 1, '"a b": not a host name or address'),
        ("extraNames", ["hub", "hub", "::1"], 1, '"hub": given twice'),
        ("ldapDnTemplates", ["uid=x,o=example"], 0, "does not hold {username} exactly once"),
        ("ldapDnTemplates", ["uid={user},o=example"], 0, "does not hold {username} exactly once"),
        ("ldapDnTemplates", ["uid={username.x},o=y"], 0, "does not hold {username} exactly once"),
        ("ldapDnTemplates", ["{username}", "{username}{username}"], 1, "exactly once"),
        ("ldapDnTemplates", ["uid={username},people"], 0, "not a DN such as uid={username},"),
        ("ldapNameAttributes", ["uid", "uid)(x"], 1, "not the name of an attribute"),
        ("ldapAdminGroups", ["admins"], 0, "not a DN"),
        ("ldapAdminGroups", ["cn=R+D,o=x"], 0, "plus, semicolon or quote has a \\ in front"),
        ("ldapAdminGroups", ['cn=the "old",o=x'], 0, "or quote has a \\ in front"),
        ("adminUsers", ["alice", "bob\n"], 1, "not a user's name"),
        ("userAllowedNetworks", ["10.2.0.0/16", "10.1.0.1/16"], 1, "not an IPv4 network"),
        ("userBlockedNetworks", ["192.0.2.1", "2001:db8::/32"], 1, "not an IPv4 network"),
        ("adminUsers", ["alice", "Alice"], 1, "given twice"),
        ("trustedProxies", ["192.0.2.1", "proxy.example.com"], 1, "not an IPv4 or IPv6 network"),
        ("trustedProxies", ["192.0.2.1/24"], 0, "not an IPv4 or IPv6 network"),
        ("trustedProxies", ["2001:db8::/64", "[::1]:443"], 1, "not an IPv4 or IPv6 network"),
        ("trustedProxies", ["0.0.0.0/0"], 0, "everybody's address"),
        ("trustedProxies", ["::/0"], 0, "everybody's address"),
        ("trustedProxies", ["::ffff:192.0.2.1"], 0, "write it as an IPv4 network"),
        ("trustedProxies", ["192.0.2.1", "192.0.2.1/32"], 1, "given twice"),
        ("notebookPackages", ["python3-numpy", "numpy; true"], 1, "not the name of a Debian"),
        ("notebookPackages", ["--reinstall"], 0, "not the name of a Debian package"),
        ("notebookPackages", ["python3-PIL"], 0, "not the name of a Debian package"),
        ("notebookRequirements", ["workplace", "ours"], 1, "requirements has no ours.txt"),
        ("notebookRequirements", ["../in"], 0, "no name of a set of packages; there are workplace"),
        ("notebookRequirements", ["\n"], 0, "no name of a set of packages; there are workplace"),
        ("notebookPackages", ["A" * 5000], 0, f'"{"A" * 99}: not the name of a Debian package'),
    ],
)
def test_a_wrong_item_is_named_and_fixed_in_its_place(
    key: str, items: list[str], number: int, reason: str
) -> None:
    said = refused(SITE | {f"zhub:{key}": json.dumps(items)})
    assert reason in said
    verb = "rm" if "given twice" in reason else "set"
    assert f"pulumi config {verb} --path '{key}[{number}]'" in said


@pytest.mark.parametrize(
    "dn",
    [
        r"cn=R\+D,ou=groups,dc=example",
        r"cn=Desk\, 7 \"old\" \3b,ou=groups,dc=example",
        "CN=Übung (2026) <x>, OU=Groups, DC=example",
        "cn=Desk 8+ou=desks,dc=example",
        'CN="Desk, 9",DC=example',
        r"cn=\#1,dc=example",
    ],
)
def test_groups_with_odd_names_are_taken(dn: str) -> None:
    assert read(SITE | {"zhub:ldapAdminGroups": json.dumps([dn])})[1].problems == []


def test_a_wrong_group_is_named() -> None:
    config = SITE | {"zhub:ldapAllowEveryone": "false", "zhub:ldapAllowedGroups": '["jupyter"]'}
    assert '"jupyter": not a DN such as cn=' in refused(config)


@pytest.mark.parametrize(
    "value", ["hub.example.com", '{"a": 1}', "[true]", "[", "[" * 100_000, "7"]
)
def test_what_is_no_list_is_removed_before_it_is_set(value: str) -> None:
    _, remove, add = refused(SITE | {"zhub:extraNames": value}).split("\n    ")
    assert remove == "pulumi config rm extraNames"
    assert add == "pulumi config set --path 'extraNames[0]' hub.example.com"


def test_digits_are_text_where_a_text_is_wanted() -> None:
    """`pulumi config set --path 'adminUsers[0]' 4711` writes a number."""
    folder = {"name": 2026, "mode": "read-only", "path": 2026}
    found, declared = read(
        DEMO
        | {
            "zhub:adminUsers": "[4711]",
            "zhub:sharedFolders": json.dumps([folder]),
            "zhub:sharedRoot": "/srv/shared",
        }
    )
    assert declared.problems == []
    assert found.login.admin_users == ("4711",)
    assert [(one.name, one.path) for one in found.users.folders.folders] == [
        ("2026", "/srv/shared/2026")
    ]


def test_all_mistakes_are_said_at_once_and_nothing_is_declared() -> None:
    wrong = {"port": "0", "hostname": "?", "platform": "z", "userCpus": "none", "idleTimeout": "x"}
    with pytest.raises(pulumi.RunError) as raised:
        run(SITE | {f"zhub:{key}": value for key, value in wrong.items()})
    said = str(raised.value)
    assert "nothing was changed" in said
    for key, value in wrong.items():
        assert f"{key} is {json.dumps(value)}: " in said
        assert f"pulumi config set {key} " in said


def test_every_setting_is_read_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry that nobody reads would be checked and then ignored."""
    monkeypatch.setattr(Config, "check_unread", lambda _: None)
    free = {"registryUsername"}
    for key in schema().keys() - free:
        _, config = read({f"zhub:{key}": "\x01 nothing takes this"})
        assert any(problem.subject.startswith(f"{key} ") for problem in config.problems), key
    said = refused(SITE | {"zhub:registryUsername": "x", "zhub:registry": "r.example.com"})
    assert said.startswith("registryPassword: must be set")


def test_every_example_and_default_is_taken() -> None:
    """What a message tells the operator to type must not be refused."""
    for setting in SETTINGS:
        setting.parse(setting.default_text)
        # What a file or a folder holds, no example can say.
        if setting.example and not setting.secret and not setting.key.endswith(("File", "Path")):
            item = {setting.member: setting.example} if setting.member else setting.example
            value = json.dumps([item]) if setting.is_list else setting.example
            setting.parse(value)


def test_no_setting_is_there_twice() -> None:
    """Such as one that a module has imported from another."""
    keys = [setting.key for setting in SETTINGS]
    assert sorted(keys) == sorted(set(keys))


def test_every_setting_has_a_type_a_description_and_a_default_that_fits() -> None:
    kinds = {"string": str, "integer": int, "boolean": bool, "array": list}
    for key, about in schema().items():
        assert type(about["default"]) is kinds[about["type"]], key
        assert about["description"], key
        assert "secret" not in about, f"{key}: Pulumi allows no default for secrets"


def test_the_documentation_has_every_setting_as_it_is() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", text, re.MULTILINE))
    assert rows.keys() == schema().keys()
    for key, about in schema().items():
        default = about["default"] if isinstance(about["default"], str) else None
        default = json.dumps(about["default"]) if default is None else default
        cells = [cell.strip().strip("`") for cell in rows[key].split("|")]
        assert cells == [about["type"], default, about["description"]], key


def test_unknown_keys_are_refused_and_the_nearest_is_named() -> None:
    said = refused(SITE | {"zhub:ldapSever": "x"})
    assert said == (
        "ldapSever: no setting of this program; did you mean ldapServer?\n"
        "    pulumi config rm ldapSever"
    )
    assert "did you mean" not in refused(SITE | {"zhub:somethingElse": "x"})
    assert "pulumi config rm jupyterhub:port" in refused(SITE | {"jupyterhub:port": "1"})
    # These reach only half of the Docker provider.
    for key in ("docker:context", "docker:sshOpts"):
        assert f"pulumi config rm {key}" in refused(SITE | {key: "x"})


def test_pulumis_own_settings_are_pulumis_business() -> None:
    assert read(SITE | {"pulumi:disable-default-providers": '["docker"]'})[1].problems == []


@pytest.mark.parametrize(
    ("pool", "most", "larger"),
    [("10.5.0.0/24", 16, "/23"), ("10.4.0.0/22", 64, "/21"), ("10.5.0.0/16", 4096, "")],
)
def test_there_are_no_more_servers_than_networks_for_them(
    pool: str, most: int, larger: str
) -> None:
    config = SITE | {"zhub:userNetworkPool": pool}
    assert not read(config | {"zhub:maxServers": str(most)})[1].problems
    assert not read(config)[1].problems, "the default gives way"
    [problem] = read(config | {"zhub:maxServers": str(most + 1)})[1].problems
    if larger:
        assert f"{most + 1} servers, but userNetworkPool, {pool}, has {most}" in str(problem)
        assert f"a {larger}" in str(problem)
        assert problem.commands[0] == f"pulumi config set maxServers {most}"


def test_all_servers_together_may_take_what_one_takes_or_more() -> None:
    config = SITE | {"zhub:userMemory": "4G"}
    for size, taken in (("4G", 4096), ("1T", 1 << 20)):
        found, messages = read(config | {"zhub:usersMemory": size})
        assert not messages.problems
        assert found.users.all_memory == taken
    assert read(config)[0].users.all_memory is None
    [problem] = read(config | {"zhub:usersMemory": "4095M"})[1].problems
    assert "is less than userMemory (4096M), so that no server could start" in str(problem)
    assert problem.commands[0] == "pulumi config set usersMemory 4096M"


def test_without_the_internet_a_site_still_opens_its_own_networks() -> None:
    config = {
        "zhub:userInternetAccess": "false",
        "zhub:userAllowedNetworks": '["10.2.0.0/16"]',
    }
    settings, checked = read(SITE | config)
    assert not checked.problems
    assert settings.users.allowed_networks == ("10.2.0.0/16",)


@pytest.mark.parametrize("network", ["10.213.0.16/28", "10.213.0.0/16"])
def test_no_setting_opens_the_way_to_other_users(network: str) -> None:
    said = refused(SITE | {"zhub:userAllowedNetworks": f'["{network}"]'})
    assert said.startswith(f"userAllowedNetworks: holds {network}, which is in userNetworkPool")
    assert "pulumi config rm --path 'userAllowedNetworks[0]'" in said
    # Of a wider one the users' own is the narrower part, and stays closed.
    assert not read(SITE | {"zhub:userAllowedNetworks": '["10.0.0.0/8"]'})[1].problems


class TestSecrets:
    """Secrets are encrypted, and no message shows one."""

    def test_a_password_in_clear_is_refused_unseen(self) -> None:
        config = SITE | {
            "zhub:registry": "registry.example.com",
            "zhub:registryUsername": "builder",
            "zhub:registryPassword": "hunter2",
        }
        said = refused(config)
        assert said == (
            "registryPassword is [not shown]: stored in clear in the stack's file\n"
            "    pulumi config set --secret registryPassword"
        )
        assert read(config, secret=("zhub:registryPassword",))[1].problems == []

    def test_a_key_in_clear_is_refused_unseen(self, tmp_path: Path) -> None:
        identity("hub.example.com").write(tmp_path, "hub")
        key = (tmp_path / "hub.key").read_text()
        config = SITE | {"zhub:tlsCertFile": str(tmp_path / "hub.crt"), "zhub:tlsKey": key}
        said = refused(config)
        assert "pulumi config set --secret tlsKey < " in said
        assert "PRIVATE KEY" not in said
        assert "rubbish" not in str(read(SITE | {"zhub:tlsKey": "rubbish"})[1].problems)

    def test_a_key_where_a_file_name_belongs_is_not_shown(self, tmp_path: Path) -> None:
        identity("hub.example.com").write(tmp_path, "hub")
        config = SITE | {
            "zhub:tlsCertFile": str(tmp_path / "hub.crt"),
            "zhub:tlsKeyFile": (tmp_path / "hub.key").read_text(),
        }
        assert "PRIVATE KEY" not in refused(config)

    def test_an_address_with_a_password_is_refused_unseen(self) -> None:
        for key, url in (
            ("pipIndexUrl", "https://user:hunter2@packages.example.com/simple"),
            ("npmRegistry", "https://hunter2@packages.example.com/"),
            ("npmRegistry", "ftp://user:hunter2@packages.example.com/"),
        ):
            assert "hunter2" not in refused(SITE | {f"zhub:{key}": url})
        assert "hunter2" not in refused(SITE | {"docker:host": "ssh://ops:hunter2@z.example.com"})

    def test_an_encrypted_value_that_would_be_used_in_clear_is_refused_unseen(self) -> None:
        said = refused(SITE, secret=("zhub:ldapServer",))
        assert said == (
            "ldapServer is [not shown]: encrypted, but used where it can be read;"
            " set it without --secret\n    pulumi config set ldapServer ldap.example.com"
        )

    def test_credentials_without_a_registry(self) -> None:
        config = SITE | {"zhub:registryUsername": "x", "zhub:registryPassword": "hunter2"}
        problems = read(config, secret=("zhub:registryPassword",))[1].problems
        assert [problem.commands for problem in problems] == [
            ("pulumi config rm registryUsername",),
            ("pulumi config rm registryPassword",),
        ]
        assert "hunter2" not in str(problems)


def test_certificates_for_the_engine_are_for_tcp_alone(tmp_path: Path) -> None:
    for name in ("ca.pem", "cert.pem", "key.pem"):
        assert f"needs a file {name}: no such file" in refused(
            SITE | {"docker:host": "tcp://z.example.com:2376", "docker:certPath": str(tmp_path)}
        )
        (tmp_path / name).write_text("")
    config = SITE | {"docker:certPath": str(tmp_path)}
    for host in ("ssh://z.example.com", "unix:///var/run/docker.sock"):
        said = refused(config | {"docker:host": host})
        assert said.startswith("docker:certPath: is for engines at tcp:// addresses only")
        assert "pulumi config rm docker:certPath" in said
    settings, checked = read(config | {"docker:host": "tcp://z.example.com:2376"})
    assert not checked.problems
    assert settings.engine.cert_path == str(tmp_path)


def test_users_own_names_end_in_the_hubs() -> None:
    said = refused(SITE | {"zhub:subdomainHost": "users.example.com"})
    assert said.startswith("subdomainHost: must be the same as hostname, which is hub.example.com")
    assert "pulumi config set hostname users.example.com" in said
    # No name that a message could tell to put here.
    fixed(SITE | {"zhub:hostname": "localhost", "zhub:subdomainHost": "hub.example.com"}, set())
    settings, config = read(SITE | {"zhub:subdomainHost": "Hub.Example.com"})
    assert config.problems == []
    assert settings.address.certificate_names[:2] == ("hub.example.com", "*.hub.example.com")


def own_identity(*names: str, begin: timedelta = -DAY, end: timedelta) -> Identity:
    return Identity.create(*names, key=quick_key(), begin=begin, end=end)


class TestBroughtCertificate:
    """The operator's own key and certificate are checked as far as that can be done."""

    def config(self, folder: Path, **files: str) -> dict[str, str]:
        names = {"tlsCertFile": "hub.crt", "tlsKeyFile": "hub.key"} | files
        return SITE | {f"zhub:{key}": str(folder / name) for key, name in names.items() if name}

    def warnings(self, config: dict[str, str]) -> list[str]:
        found, declared = read(config)
        assert [str(problem) for problem in declared.problems] == []
        others = ("ldap", "subdomainHost", "separateProxy")
        return [warning for warning in found.warnings(NOW) if not warning.startswith(others)]

    def refused(self, folder: Path, certificate: Identity) -> str:
        certificate.write(folder, "hub")
        return refused(self.config(folder))

    def test_a_good_one(self, tmp_path: Path) -> None:
        year = timedelta(days=365)
        own_identity("hub.example.com", end=year).write(tmp_path, "hub")
        assert self.warnings(self.config(tmp_path)) == []

    def test_only_one_of_the_files(self, tmp_path: Path) -> None:
        identity("hub.example.com").write(tmp_path, "hub")
        said = refused(self.config(tmp_path, tlsKeyFile=""))
        assert said.startswith("tlsKeyFile: must be set")
        said = refused(self.config(tmp_path, tlsCertFile=""))
        assert said.startswith("tlsCertFile: must be set when tlsKeyFile is")

    def test_both_kinds_of_key(self, tmp_path: Path) -> None:
        identity("hub.example.com").write(tmp_path, "hub")
        config = self.config(tmp_path) | {"zhub:tlsKey": (tmp_path / "hub.key").read_text()}
        [problem] = read(config, secret=("zhub:tlsKey",))[1].problems
        assert str(problem).startswith("tlsKeyFile: contradicts tlsKey")

    def test_missing_files(self, tmp_path: Path) -> None:
        _, config = read(self.config(tmp_path))
        assert [problem.subject.split()[0] for problem in config.problems] == [
            "tlsCertFile",
            "tlsKeyFile",
        ]

    def test_expired(self, tmp_path: Path) -> None:
        expired = own_identity("hub.example.com", begin=-timedelta(9), end=-timedelta(1))
        assert "the certificate expired at" in self.refused(tmp_path, expired)

    def test_not_valid_yet(self, tmp_path: Path) -> None:
        early = own_identity("hub.example.com", begin=timedelta(1), end=timedelta(9))
        assert "is not valid before" in self.refused(tmp_path, early)

    def test_expires_soon(self, tmp_path: Path) -> None:
        own_identity("hub.example.com", end=timedelta(days=29)).write(tmp_path, "hub")
        [warning] = self.warnings(self.config(tmp_path))
        assert "expires in 28 days" in warning or "expires in 29 days" in warning

    def test_for_another_name(self, tmp_path: Path) -> None:
        names = ("*.example.com", "hub.example.org", "192.0.2.1")
        own_identity(*names, end=timedelta(days=365)).write(tmp_path, "hub")
        config = self.config(tmp_path)
        more = '["hub.example.org", "a.b.example.com", "example.com", "192.0.2.1", "192.0.2.2"]'
        [warning] = self.warnings(config | {"zhub:extraNames": more})
        assert "not valid for a.b.example.com, example.com, 192.0.2.2:" in warning

    def test_for_users_own_names(self, tmp_path: Path) -> None:
        year = timedelta(days=365)
        config = self.config(tmp_path) | {"zhub:subdomainHost": "hub.example.com"}
        own_identity("hub.example.com", "*.hub.example.com", end=year).write(tmp_path, "hub")
        assert self.warnings(config) == []
        own_identity("hub.example.com", "*.example.com", end=year).write(tmp_path, "hub")
        said = refused(config)
        assert "needs a certificate for *.hub.example.com" in said
        assert "pulumi config set tlsCertFile hub.example.com.crt" in said
        assert "or pulumi config rm subdomainHost" in said

    def test_without_any_name(self, tmp_path: Path) -> None:
        year = timedelta(days=365)
        own_identity("hub.example.org", end=year).write(tmp_path, "hub")
        [warning] = self.warnings(self.config(tmp_path))
        assert "not valid for hub.example.com" in warning

    def test_another_ones_key(self, tmp_path: Path) -> None:
        identity("hub.example.com").write(tmp_path, "hub")
        identity("other.example.com").write(tmp_path, "other")
        said = refused(self.config(tmp_path, tlsKeyFile="other.key"))
        assert said.startswith("tlsKeyFile is ")
        assert "it is not the key of the certificate in tlsCertFile" in said

    def test_encrypted_key(self, tmp_path: Path) -> None:
        identity("hub.example.com").write(tmp_path, "hub", passphrase("secret"))
        assert "the key is encrypted" in refused(self.config(tmp_path))

    def test_weak_key(self, tmp_path: Path) -> None:
        assert "2048 bits or more, this has 1024" in self.refused(
            tmp_path, Identity.create("hub.example.com", bits=1024)
        )

    def test_mixed_up_files(self, tmp_path: Path) -> None:
        identity("hub.example.com").write(tmp_path, "hub")
        config = self.config(tmp_path, tlsCertFile="hub.key", tlsKeyFile="hub.crt")
        said = [str(problem) for problem in read(config)[1].problems]
        assert "does not hold certificates in PEM form" in said[0]
        assert "does not hold a private key in PEM form" in said[1]

    @pytest.mark.parametrize("order", ["right", "wrong"])
    def test_chain(self, tmp_path: Path, order: str) -> None:
        authority = Identity.create("ca.example.com", authority=True, key=quick_key())
        own = Identity.create("hub.example.com", issuer=authority, key=quick_key())
        own.write(tmp_path, "hub")
        authority.write(tmp_path, "ca")
        files = ["hub.crt", "ca.crt"] if order == "right" else ["ca.crt", "hub.crt"]
        chain = "".join((tmp_path / file).read_text() for file in files)
        (tmp_path / "chain.crt").write_text(chain)
        config = self.config(tmp_path, tlsCertFile="chain.crt")
        if order == "right":
            pair = read(config)[0].key_pair
            assert pair
            assert pair.certificate_pem == chain
        else:
            said = refused(config)
            assert "certificate 1 in the file is not issued by certificate 2" in said


@pytest.mark.parametrize(
    ("memory", "given", "shared"), [("2G", "", 512), ("128M", "", 64), ("4G", "4G", 4096)]
)
def test_a_quarter_of_the_memory_may_be_shared_where_nothing_is_set(
    memory: str, given: str, shared: int
) -> None:
    config = DEMO | {"zhub:userMemory": memory, "zhub:userSharedMemory": given}
    assert read(config)[0].users.shared_memory == shared


def test_no_more_memory_can_be_shared_than_there_is() -> None:
    said = refused(DEMO | {"zhub:userSharedMemory": "3G"})
    assert said.startswith("userSharedMemory: is more than userMemory (2048M)")
    assert "pulumi config rm userSharedMemory" in said


def test_an_ipv6_address_is_put_in_brackets() -> None:
    assert read(SITE | {"zhub:hostname": "2001:DB8::1"})[0].address.url == (
        "https://[2001:db8::1]:11119/zhub-test"
    )


def keys() -> st.SearchStrategy[str]:
    known = st.sampled_from(
        [f"zhub:{key}" for key in schema()] + ["docker:host", "docker:certPath"]
    )
    unknown = st.from_regex(r"[a-z]{1,8}:[A-Za-z_.-]{1,12}", fullmatch=True)
    return st.one_of(known, known, known, unknown)


def values() -> st.SearchStrategy[str]:
    sensible = st.sampled_from(
        ["true", "false", "0", "1", "11119", "2G", "localhost", "10.0.0.1", "{username}"]
    )
    lists = st.lists(st.text(max_size=12) | sensible, max_size=3).map(json.dumps)
    anything = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=6,
    )
    return st.one_of(sensible, lists, st.text(max_size=40), anything.map(json.dumps))


def commands(problem_commands: tuple[str, ...]) -> Iterator[list[str]]:
    for line in problem_commands:
        words = shlex.split(line)
        yield words[words.index("pulumi") :]


@hypothesis.settings(deadline=None)
@example({"docker:certPath": "longer/than/a/file/name/" + "x" * 300}, set())
@given(st.dictionaries(keys(), values(), max_size=12), st.sets(keys(), max_size=3))
def test_any_config_makes_settings_or_messages_that_name_key_and_command(
    config: dict[str, str], secret: set[str]
) -> None:
    found, declared = read(config, secret=tuple(secret))
    names = {key.removeprefix("zhub:") for key in (*config, *secret)} | set(schema())
    for problem in declared.problems:
        assert problem.subject.split(" is ")[0] in names
        assert problem.reason
        assert "\n" not in problem.subject + problem.reason
        assert problem.commands
        for words in commands(problem.commands):
            assert words[:3] in (["pulumi", "config", "set"], ["pulumi", "config", "rm"])
            assert {word.partition("[")[0] for word in words} & names
        if f"zhub:{problem.subject.split()[0]}" in {
            "zhub:ldapBindPassword",
            "zhub:registryPassword",
            "zhub:tlsKey",
            *secret,
        }:
            assert problem.subject.endswith(" is [not shown]") or " " not in problem.subject
    if not declared.problems:
        assert found.address.url.startswith("https://")
        assert found.ldap or config["zhub:demoDirectory"] == "true"
        assert all(isinstance(warning, str) for warning in found.warnings(NOW))


@hypothesis.settings(deadline=None)
@given(st.data())
def test_the_command_of_a_message_fixes_what_it_is_about(data: st.DataObject) -> None:
    """Following the first command of every message leads to a config without mistakes."""
    fixed(SITE | data.draw(st.dictionaries(keys(), values(), max_size=6)), set())


class TestOneOrigin:
    def about(self, **config: str) -> list[str]:
        own = {f"zhub:{key}": value for key, value in config.items()}
        found, declared = read(SITE | own)
        assert not declared.problems
        words = ("subdomainHost", "adminAccess")
        return [warning for warning in found.warnings(NOW) if warning.startswith(words)]

    def test_where_others_come_in_it_is_said(self) -> None:
        [warning] = self.about()
        assert warning.startswith("subdomainHost is not set")
        assert warning.endswith("pulumi config set subdomainHost hub.example.com")

    def test_a_hub_without_a_name_needs_one(self) -> None:
        [warning] = self.about(hostname="192.0.2.1")
        assert warning.endswith("pulumi config set subdomainHost hub.example.com")

    def test_names_of_their_own_or_no_others_are_fine(self) -> None:
        assert not self.about(subdomainHost="hub.example.com", adminAccess="true")
        assert not self.about(bindAddress="127.0.0.1")

    def test_administrators_who_open_servers_are_warned_of_everywhere(self) -> None:
        [warning] = self.about(bindAddress="127.0.0.1", adminAccess="true")
        assert warning.startswith("adminAccess is set without subdomainHost")
        assert "pulumi config set adminAccess false" in warning
        assert len(self.about(adminAccess="true")) == 2
