"""The settings in the hub's arguments and environment, and which values it refuses."""

from __future__ import annotations

import json
import re
import stat
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jupyterhub.utils import subdomain_hook_idna
from zhub import settings
from zhub.__main__ import take_files
from zhub.servers.spawner import UserSpawner
from zhub.settings import SettingsError, ldap
from zhub.settings.ldap import LdapTls
from zhub.state import logins

from tests.images.hub.zhub.settings.conftest import LDAP, problems

#: Every variable, with a wrong value.
WRONG = {
    "ZHUB_PORT": "443 and more",
    "ZHUB_LDAP_SERVERS": "not a host",
    "ZHUB_PREFIX": "Upper",
    "ZHUB_BASE_PATH": "site",
    "ZHUB_LDAP_PORT": "0",
    "ZHUB_LDAP_TLS": "ssl",
    "ZHUB_LDAP_CA_FILE": "/nowhere/ca.pem",
    "ZHUB_LDAP_DN_TEMPLATES": '["uid=alice,dc=example"]',
    "ZHUB_LDAP_BIND_PASSWORD_FILE": "/nowhere/password",
    "ZHUB_LDAP_SEARCH_BASE": "example.org",
    "ZHUB_LDAP_NAME_ATTRIBUTES": '["uid)(x"]',
    "ZHUB_LDAP_USER_FILTER": "(a=b))((c=d)",
    "ZHUB_LDAP_ADMIN_GROUPS": "cn=admins",
    "ZHUB_LDAP_GROUP_BASE": "groups",
    "ZHUB_LDAP_NESTED_GROUPS": "yes",
    "ZHUB_LDAP_RECHECK": "0",
    "ZHUB_LDAP_ALLOWED_GROUPS": "cn=jupyter",
    "ZHUB_LDAP_ALLOW_EVERYONE": "yes",
    "ZHUB_ADMIN_USERS": '["alice", 1]',
    "ZHUB_ADMIN_ACCESS": "perhaps",
    "ZHUB_USER_MEMORY": "2 GB",
    "ZHUB_USER_CPUS": "0",
    "ZHUB_USER_SHARED_MEMORY": "a quarter",
    "ZHUB_USER_PIDS": "-1",
    "ZHUB_PROFILES": '[{"name": "Large"}]',
    "ZHUB_USER_ENVIRONMENT": '{"JUPYTERHUB_USER": "bob"}',
    "ZHUB_USER_INTERNET": "False",
    "ZHUB_USER_NETWORK_POOL": "8.8.0.0/16",
    "ZHUB_MAX_SERVERS": "4097",
    "ZHUB_LOG_DRIVER": "json file",
    "ZHUB_LOG_OPTIONS": '{"env": "JUPYTERHUB_API_TOKEN"}',
    "ZHUB_LOG_LEVEL": "loud",
    "ZHUB_LOG_FORMAT": "xml",
    "ZHUB_IDLE_TIMEOUT": "1h",
    "ZHUB_KERNEL_IDLE_TIMEOUT": "299",
    "ZHUB_ACTIVITY_INTERVAL": "121",
    "ZHUB_SERVER_MAX_AGE": "60",
    "ZHUB_START_TIMEOUT": "0",
    "ZHUB_TOKEN_MAX_AGE": "0",
    "ZHUB_SUBDOMAIN_HOST": "https://hub.example.com",
    "ZHUB_HSTS_SECONDS": "1y",
    "ZHUB_TRUSTED_PROXIES": '["0.0.0.0/0"]',
}


def test_only_the_directory_has_no_default() -> None:
    environment: dict[str, str] = {}
    settings.add_arguments(environment, ["--port=11119", "--ldap=172.17.0.2"])
    found = settings.read(environment)
    assert (found.port, found.ldap.servers, found.ldap.port) == (11119, ("172.17.0.2",), 389)
    assert found.ldap.tls is LdapTls.NONE
    assert found.ldap.allow_everyone
    assert found.base_url == "/jupyterhub/"


@pytest.mark.parametrize(
    ("path", "base"),
    [("", "/site/"), ("/", "/"), ("/a", "/a/"), ("/a/", "/a/"), ("/a/b-1.c", "/a/b-1.c/")],
)
def test_all_addresses_begin_with_the_base_path(path: str, base: str) -> None:
    variables = LDAP | {"ZHUB_PREFIX": "site", "ZHUB_BASE_PATH": path}
    assert settings.read(variables).base_url == settings.read_guard(variables).base_url == base


@pytest.mark.parametrize("path", ["a", "//a", "/a//", "/a b", "/%41", "/.."])
def test_what_is_no_base_path_is_refused(path: str) -> None:
    [problem] = problems(LDAP | {"ZHUB_BASE_PATH": path})
    assert problem.startswith(f"ZHUB_BASE_PATH is '{path}', but must be a path such as /jupyter")


def test_unsafe_settings_give_warnings(tmp_path: Path) -> None:
    clear, demo, everyone, unnoticed = settings.read(LDAP).warnings
    assert clear.startswith("PASSWORDS ARE SENT TO THE DIRECTORY IN CLEAR")
    assert demo.startswith("users log in as uid={username},ou=people,dc=example,dc=org")
    assert everyone.startswith("everyone whose password the directory accepts may log in")
    assert unnoticed.startswith("without a service account")
    (tmp_path / "password").touch()
    safe = {
        "ZHUB_LDAP_TLS": "starttls",
        "ZHUB_LDAP_ALLOWED_GROUPS": '["cn=jupyter"]',
        "ZHUB_LDAP_SEARCH_BASE": "o=example",
        "ZHUB_LDAP_BIND_DN": "cn=hub",
        "ZHUB_LDAP_BIND_PASSWORD_FILE": str(tmp_path / "password"),
    }
    assert not settings.read(LDAP | safe).warnings


def test_several_directories_keep_their_order() -> None:
    found = settings.read({"ZHUB_LDAP_SERVERS": "one.example.org, two.example.org"})
    assert found.ldap.servers == ("one.example.org", "two.example.org")


@pytest.mark.parametrize("server", ["one:two", "one:0", "one:65536", "::g", "one:", ":389"])
def test_invalid_servers_are_refused(server: str) -> None:
    (problem,) = problems({"ZHUB_LDAP_SERVERS": server})
    assert problem.startswith(f"--ldap is {server!r}, but must be one or more host names")


@pytest.mark.parametrize("server", ["one:1389", "10.0.0.1:1389", "::1", "2001:db8::1"])
def test_servers_by_address_and_port(server: str) -> None:
    assert settings.read({"ZHUB_LDAP_SERVERS": server}).ldap.servers == (server,)


def test_a_file_without_certificates_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    (problem,) = problems(LDAP | {"ZHUB_LDAP_CA_FILE": str(tmp_path / "ca.pem")})
    assert problem.endswith("but must be the path of a file of PEM certificates")


def test_the_default_port_follows_tls() -> None:
    assert settings.read(LDAP | {"ZHUB_LDAP_TLS": "ldaps"}).ldap.port == 636
    assert settings.read(LDAP | {"ZHUB_LDAP_TLS": "starttls"}).ldap.port == 389


def test_an_empty_variable_counts_as_unset() -> None:
    assert settings.read(LDAP | dict.fromkeys(WRONG, "") | LDAP) == settings.read(LDAP)


def test_users_host_names_are_at_the_hubs_port() -> None:
    assert settings.read(LDAP).subdomain_url == ""
    own = {"ZHUB_SUBDOMAIN_HOST": "hub.example.com", "ZHUB_PORT": "8443"}
    assert settings.read(LDAP | own).subdomain_url == "https://hub.example.com:8443"
    own["ZHUB_PORT"] = "443"
    assert settings.read(LDAP | own).subdomain_url == "https://hub.example.com", "as browsers do"


#: Names with all characters that the hub accepts, at both ends and in between.
USER_NAMES = st.from_regex(r"[a-z0-9@#$][a-z0-9@#$._-]{0,63}", fullmatch=True)


@given(st.lists(USER_NAMES, unique=True, min_size=1))
@example(["a.b", "a-b", "a_b", "a--b", "ab", "@#$", "123", "1-", "x" * 64, "xn--a"])
def test_every_user_has_a_host_name_that_the_certificate_is_for(names: list[str]) -> None:
    """JupyterHub must escape it to one label, or the wildcard certificate would not match."""
    hosts = [subdomain_hook_idna(name, "hub.example.com", "user") for name in names]
    for host in hosts:
        label, _, rest = host.partition(".")
        assert rest == "hub.example.com"
        assert re.fullmatch("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", label)
    assert len(set(hosts)) == len(names)


def test_every_wrong_value_is_named_at_once() -> None:
    found = problems(WRONG)
    for name, value in WRONG.items():
        option = {"ZHUB_PORT": "--port", "ZHUB_LDAP_SERVERS": "--ldap"}.get(name, name)
        assert [text for text in found if text.startswith(f"{option} is {value!r}, ")], name
    assert len(found) == len(WRONG)


@pytest.mark.parametrize("port", ["0", "-1", "65536", "11119.0", "\u0661\u0661\u0661\u0661\u0669"])
def test_ports_out_of_range_or_malformed_are_refused(port: str) -> None:
    (problem,) = problems(LDAP | {"ZHUB_PORT": port})
    assert problem == f"--port is {port!r}, but must be a port number from 1 to 65535"


def test_a_missing_directory_is_a_problem() -> None:
    (problem,) = problems({})
    assert "no directory" in problem


def test_an_empty_option_is_not_a_default() -> None:
    environment: dict[str, str] = {}
    settings.add_arguments(environment, ["--port=", "--ldap="])
    port, ldap = problems(environment)
    assert port.startswith("--port is ' '")
    assert ldap.startswith("--ldap is ' '")


@pytest.mark.parametrize("argument", ["--prot=1", "--port", "11119", "--ldap"])
def test_other_arguments_are_refused(argument: str) -> None:
    with pytest.raises(SettingsError, match="is not an option; use --port=NUMBER"):
        settings.add_arguments({}, [argument])


@pytest.mark.parametrize("groups", ["", '["cn=jupyter"]'])
def test_nobody_and_everybody_by_accident_are_refused(groups: str) -> None:
    everyone = "true" if groups else "false"
    found = problems(
        LDAP | {"ZHUB_LDAP_ALLOWED_GROUPS": groups, "ZHUB_LDAP_ALLOW_EVERYONE": everyone}
    )
    assert [text for text in found if text.startswith("exactly one of")]


@pytest.mark.parametrize(
    "template",
    ["uid=alice", "{}", "{0}", "{username}{username}", "uid={username},{x}", "{username", "{{a}}"],
)
def test_dn_templates_that_could_not_be_filled_in_are_refused(template: str) -> None:

    (problem,) = problems(LDAP | {"ZHUB_LDAP_DN_TEMPLATES": json.dumps([template])})
    assert "with {username} once" in problem


@given(name=st.sampled_from(sorted(WRONG)), text=st.text(max_size=60))
def test_any_text_gives_settings_or_problems(name: str, text: str) -> None:
    found: list[str] = []
    with settings.collecting(found):
        settings.read(LDAP | {name: text})
    assert all(problem.strip() for problem in found)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"BIND_DN": "cn=hub"}, "BIND_PASSWORD_FILE must be set together"),
        ({"SEARCH_BASE": "dc=example"}, "exactly one of ZHUB_LDAP_BIND_DN"),
        ({"DN_TEMPLATES": '["{username}@example.org"]'}, "is not a DN: set ZHUB_LDAP_SEARCH_BASE"),
        ({"USER_FILTER": "(a=b)"}, "has no effect without ZHUB_LDAP_SEARCH_BASE"),
    ],
)
def test_conflicting_settings_are_named(more: dict[str, str], reason: str) -> None:
    (problem,) = problems(LDAP | {f"ZHUB_LDAP_{name}": value for name, value in more.items()})
    assert reason in problem


@pytest.mark.parametrize("text", ["(a=b)", "(&(a=b)(!(c=d)))", r"(a=\28)", r"(a=\(b)"])
def test_possible_filters_are_accepted(text: str) -> None:
    assert ldap.balanced(text)


@pytest.mark.parametrize("text", ["", "a=b", "(a=b", "(a=b))", "(a=b)(c=d)", ")a=b(", "x(a=b)"])
def test_impossible_filters_are_refused(text: str) -> None:
    assert not ldap.balanced(text)


def test_jupyterhub_looks_users_up_again(config: Any, tmp_path: Path) -> None:
    (tmp_path / "password").touch()
    loaded = config(
        ZHUB_LDAP_BIND_DN="cn=hub",
        ZHUB_LDAP_BIND_PASSWORD_FILE=str(tmp_path / "password"),
        ZHUB_LDAP_RECHECK="60",
    )
    authenticator = loaded.DirectoryAuthenticator
    assert authenticator.auth_refresh_age == 60
    assert authenticator.auth_refresh_strict, "tokens of removed users would stay valid"
    assert authenticator.refresh_pre_spawn
    assert "recheck" in names(loaded)
    assert loaded.JupyterHub.token_expires_in_max_seconds == 30 * 86400


def names(loaded: Any) -> list[str]:
    """Return the names of JupyterHub's services."""
    return [service["name"] for service in loaded.JupyterHub.services]


def test_without_a_service_account_everything_ends_within_a_day(config: Any) -> None:
    loaded = config()
    assert loaded.DirectoryAuthenticator.auth_refresh_age == logins.LOOKS
    assert loaded.DirectoryAuthenticator.auth_refresh_strict
    assert "recheck" in names(loaded)
    assert loaded.JupyterHub.cookie_max_age_days == 1
    assert loaded.JupyterHub.token_expires_in_max_seconds == 86400
    assert config(ZHUB_TOKEN_MAX_AGE="600").JupyterHub.token_expires_in_max_seconds == 600
    # The check runs twice more before the day is over.
    assert logins.COUNTS + 2 * logins.LOOKS <= 86400


def test_without_a_timeout_there_is_no_culler(config: Any) -> None:
    assert names(config(ZHUB_IDLE_TIMEOUT="0")) == ["metrics", "recheck", "people"]


def test_who_scrapes_may_do_nothing_else(config: Any) -> None:
    [role] = [role for role in config().JupyterHub.load_roles if role["name"] == "metrics"]
    assert role == {"name": "metrics", "services": ["metrics"], "scopes": ["read:metrics"]}


def test_a_server_is_stopped_after_the_timeouts_that_are_set(config: Any) -> None:
    def options(**variables: str) -> list[str]:
        loaded = config(**variables)
        # To JupyterHub, 0 would mean that it does not look for missing routes either.
        assert "last_activity_interval" not in loaded.JupyterHub
        culler = loaded.JupyterHub.services[0]
        assert culler["name"] == "idle-culler"
        return list(culler["command"][5:])

    assert options() == ["--timeout=3600", "--max-age=0", "--cull-every=600"]
    assert options(ZHUB_IDLE_TIMEOUT="360", ZHUB_SERVER_MAX_AGE="86400") == [
        "--timeout=360",
        "--max-age=86400",
        "--cull-every=90",
    ]
    never = "--timeout=2147483648"
    assert options(ZHUB_IDLE_TIMEOUT="0", ZHUB_SERVER_MAX_AGE="3600")[0] == never
    given = {"ZHUB_KERNEL_IDLE_TIMEOUT": "600", "ZHUB_ACTIVITY_INTERVAL": "120"}
    assert config(**given).UserSpawner.environment == {
        "ZHUB_KERNEL_IDLE_TIMEOUT": "600",
        "JUPYTERHUB_ACTIVITY_INTERVAL": "120",
    }


def test_servers_get_the_sites_variables(config: Any) -> None:
    given = json.dumps({"TZ": "Europe/Berlin", "GIT_CONFIG_COUNT": "1"})
    spawner = config(ZHUB_USER_ENVIRONMENT=given).UserSpawner
    assert spawner.environment == {
        "TZ": "Europe/Berlin",
        "GIT_CONFIG_COUNT": "1",
        "ZHUB_KERNEL_IDLE_TIMEOUT": "0",
        "JUPYTERHUB_ACTIVITY_INTERVAL": "60",
    }


@pytest.mark.parametrize("given", ["[]", '{"ZHUB_X": ""}', '{"LD_PRELOAD": "x"}', '{"A": 1}', "{"])
def test_variables_by_which_servers_are_started_are_refused(given: str) -> None:
    [problem] = problems(LDAP | {"ZHUB_USER_ENVIRONMENT": given})
    assert "but must be a JSON object of texts" in problem


def test_a_timeout_that_would_stop_servers_in_use_is_refused() -> None:
    [problem] = problems(LDAP | {"ZHUB_IDLE_TIMEOUT": "359"})
    assert problem == "ZHUB_IDLE_TIMEOUT is '359', but must be seconds, 360 or more; 0 for never"


def test_limits_reach_the_container(config: Any) -> None:
    spawner = config(ZHUB_USER_MEMORY="512M", ZHUB_USER_CPUS="0.5", ZHUB_USER_PIDS="99").UserSpawner
    assert (spawner.mem_limit, spawner.cpu_limit) == ("512M", 0.5)
    host = spawner.extra_host_config
    assert (host["memswap_limit"], host["pids_limit"]) == ("512M", 99)
    assert host["cap_drop"] == ["ALL"]


@pytest.mark.parametrize("options", [{"tag": "{{.Name}}", "labels": "{"}, {"max-size": "10m"}])
def test_log_options_reach_the_container_as_they_are(config: Any, options: dict[str, str]) -> None:
    settings = config(ZHUB_LOG_DRIVER="syslog", ZHUB_LOG_OPTIONS=json.dumps(options)).UserSpawner
    spawner = UserSpawner(mock=True, extra_host_config=settings.extra_host_config)
    made = spawner._render_templates(spawner.extra_host_config, {"username": "alice"})
    assert made["log_config"] == {"Type": "syslog", "Config": options}


def test_jupyterhub_gets_exactly_who_may_log_in(config: Any) -> None:
    everyone = config().DirectoryAuthenticator
    members = config(ZHUB_LDAP_ALLOWED_GROUPS='["cn=jupyter"]').DirectoryAuthenticator
    assert (everyone.allow_all, everyone.allowed_groups) == (True, [])
    assert (members.allow_all, members.allowed_groups) == (False, ["cn=jupyter"])
    assert not everyone.allow_existing_users
    assert not members.allow_existing_users


def test_users_networks_come_from_the_pool(config: Any) -> None:
    options = config(ZHUB_USER_NETWORK_POOL="172.30.0.0/20").UserSpawner.network_options
    assert options["pool"] == IPv4Network("172.30.0.0/20")


def test_files_of_one_name_do_not_collide(tmp_path: Path) -> None:
    variables = ("ZHUB_LDAP_CA_FILE", "ZHUB_LDAP_BIND_PASSWORD_FILE")
    environment = {}
    for name in variables:
        given = tmp_path / name / "directory"
        given.parent.mkdir()
        given.write_text(name)
        environment[name] = str(given)
    private = tmp_path / "private"
    private.mkdir()
    take_files(environment, private)
    for name in variables:
        assert Path(environment[name]).parent == private
        assert Path(environment[name]).read_text() == name
        assert stat.S_IMODE(Path(environment[name]).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "prefix", ["site-user", "site-home", "a-home-b", "site-user-", "a-user-home"]
)
def test_a_prefix_cannot_be_another_hubs_and_its_users(prefix: str) -> None:
    (problem,) = problems(LDAP | {"ZHUB_PREFIX": prefix})
    assert "without 'user' or 'home' after a '-'" in problem


@pytest.mark.parametrize("prefix", ["home", "user", "homes-a", "a-users", "site.home"])
def test_other_prefixes_with_these_words_are_unique(prefix: str) -> None:
    assert settings.read(LDAP | {"ZHUB_PREFIX": prefix}).prefix == prefix
